"""The rules of the soak, and how they are checked: every message between agent and broker and at every unit.

1. Exactly one response to each delivered command. Delivered is what the agent has acknowledged to the broker (it does so
   after it has taken the command); on a connection that broke before, none or one. A response that was not acknowledged
   when the connection broke is sent again as it was: that is one response. Of commands that repeat each other at most one
   is carried out, and what is forbidden, malformed, retained or expired is refused with the right code.
2. A unit turns an output on only for a command that was delivered, was not refused, has no response yet, has not been spent
   on another turning on, and is not older than one that turned the output off and was confirmed.
3. A unit receives no setpoint above a limit, and no output goes on while a setpoint is above one, unless somebody turned the
   knob after the agent had looked.
4. Every `seq` of every channel reaches the broker, as state or in the backlog; never two different states with one `seq`.
5. A state that is published as present is one that the unit answered at that time, each answer once.
6. A response that says that something was done is right.

Every method may be called from any thread.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping

from tests.soak.books import Books, Identity, Sent, Setting, identity
from tests.soak.commands import Command
from tests.soak.outputs import Outputs
from tests.soak.responses import LATEST_RESPONSE, Responses
from tests.soak.states import States
from tests.soak.tap import Publish

#: s. An acknowledgement may have been on its way when the connection broke.
GRACE = 2.0


class Ledger:
    """Gets every event from the tap, the units and the soak, and checks the rules by it.

    :param complain: called with each violation, as soon as it is seen
    """

    def __init__(self, base: str, units: list[str], complain: Callable[[str], None]) -> None:
        self._books = Books(base, units, complain)
        self._responses = Responses(self._books)
        self._states = States(self._books)
        self._outputs = Outputs(self._books, self._states)
        self._connection = 0
        self._in_flight: dict[tuple[int, int], Sent] = {}
        self._lock = self._books.lock
        self.connected_since: float | None = None
        self.online: dict[str, bool] = dict.fromkeys(units, False)

    # For the table.

    @property
    def counts(self) -> collections.Counter[str]:
        """How often things happened, by their names."""
        return self._books.counts

    @property
    def outcomes(self) -> collections.Counter[str]:
        """How many responses had each code, or "ok"."""
        return self._responses.outcomes

    @property
    def kinds(self) -> collections.Counter[str]:
        """How many commands of each kind were delivered."""
        return self._responses.kinds

    @property
    def delays(self) -> Mapping[str, list[float]]:
        """Seconds from a command's delivery to its response, by kind."""
        return self._responses.delays

    # Called for the soak's own actions.

    def sending(self, command: Command) -> None:
        """A command is about to be published."""
        with self._lock:
            self._responses.sending(command)

    def turning_knob(self, unit: str, channel: int) -> None:
        """A setting is about to be changed at the unit. Called with the instrument's lock held."""
        with self._lock:
            self._books.channels[unit, channel].knob_turned = time.monotonic()

    def executed(
        self, unit: str, message: str, before: Mapping[int, Setting], after: Mapping[int, Setting], answer: str | None
    ) -> None:
        """A unit carried out a message. ``answer`` is None where there is none, or where it was garbled on its way."""
        with self._lock:
            self._outputs.executed(unit, message, before, after, answer)

    # Called by the tap.

    def connected(self, connection: int) -> None:
        """The agent has connected."""
        with self._lock:
            self._connection = connection
            self.connected_since = time.monotonic()
            self.counts["connections"] += 1

    def disconnected(self, connection: int) -> None:
        """A connection of the agent has ended."""
        with self._lock:
            self.connected_since = None
            now = time.monotonic()
            for key, sent in list(self._in_flight.items()):
                if key[0] == connection:
                    del self._in_flight[key]
                    may_come_again = sent.packet.topic.endswith(("/response", "/backlog"))
                    if may_come_again and (sent.acknowledged is None or now - sent.acknowledged < GRACE):
                        self._books.unsettled[identity(sent.packet)] += 1

    def delivered(self, connection: int, packet: Publish) -> None:
        """The broker hands a message to the agent."""
        if "set" not in self._books.levels(packet.topic) or (packet.retain and not packet.payload):
            return  # an empty retained payload removes a retained command
        with self._lock:
            self._responses.delivered(connection, packet)

    def agent_acknowledged(self, connection: int, mid: int) -> None:
        """The agent has taken a message."""
        with self._lock:
            self._responses.taken(connection, mid)

    def published(self, connection: int, packet: Publish) -> None:
        """The agent publishes a message."""
        with self._lock:
            self._in_flight[connection, packet.mid] = Sent(packet, connection)
            match self._books.levels(packet.topic):
                case [unit, index, "state" | "backlog" as kind] if unit in self.online:
                    self._states.published(connection, unit, int(index), kind == "backlog", packet)
                case [unit, "status"] if unit in self.online:
                    self.online[unit] = packet.payload == b"online"
                case [_, _, "event"]:
                    self.counts["events"] += 1
                case [*_, "response"]:
                    self._responses.answered(self._connection, packet)

    def broker_acknowledged(self, connection: int, mid: int) -> None:
        """The broker has taken a message."""
        with self._lock:
            sent = self._in_flight.get((connection, mid))
            if sent is None:
                return
            # Kept for a while: the acknowledgement may not reach the agent. `sweep` forgets it.
            sent.acknowledged = time.monotonic()
            match self._books.levels(sent.packet.topic):
                case [unit, index, "state" | "backlog"] if unit in self.online:
                    self._states.acknowledged(unit, int(index), sent.packet.payload)
                case [*_, "response"]:
                    self._responses.confirmed(sent.packet)

    def sweep(self) -> None:
        """Check for events that should have come by now. To be called about every second."""
        with self._lock:
            now = time.monotonic()
            for key, sent in list(self._in_flight.items()):
                if sent.acknowledged is not None and now - sent.acknowledged > GRACE:
                    del self._in_flight[key]
            if self.connected_since is not None and now - self.connected_since >= LATEST_RESPONSE / 4:
                self._responses.sweep(now)

    # At the end.

    def due(self) -> list[str]:
        """Everything that has not come yet: units that are not online, commands not answered, states not acknowledged."""
        with self._lock:
            due = [f"{unit} is not online" for unit, online in self.online.items() if not online]
            return due + self._responses.due() + self._states.due()

    def quiet(self) -> bool:
        """True if nothing is due."""
        return not self.due()

    def kept(self, samples: list[tuple[str, bytes]], responses: list[Identity]) -> None:
        """Take in what the agent kept on disk for its next start."""
        with self._lock:
            for topic, payload in samples:
                unit, index, _ = self._books.levels(topic)
                self._states.acknowledged(unit, int(index), payload)
                self.counts["kept for the next start"] += 1
            for response in responses:
                self._responses.kept(response)

    def close(self) -> None:
        """The last check: nothing more will come."""
        with self._lock:
            self._responses.close()
            self._states.close()

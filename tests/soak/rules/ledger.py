"""The rules of the soak, and how they are checked: every message between agent and broker and at every unit.

1. Exactly one response to each delivered command. Delivered is what the agent has acknowledged to the broker (it does so
   after it has taken the command); on a connection that broke before, none or one. A response that was not acknowledged
   when the connection broke is sent again as it was: that is one response. Of commands that repeat each other at most one
   is carried out, and what is forbidden, malformed, retained or expired is refused with the right code. A command that was
   acknowledged by an agent which was killed is answered by the next one.
2. A unit turns an output on only for a command that was delivered, was not refused, has no response yet, has not been spent
   on another turning on, and is not older than one that turned the output off and was confirmed.
3. A unit receives no setpoint above a limit, and no output goes on while a setpoint is above one, unless somebody turned the
   knob after the agent had looked.
4. Every `seq` of every channel reaches the broker, as state or in the backlog; never two different states with one `seq`.
5. A state that is published as present is one that the unit answered at that time, each answer once.
6. A response that says that something was done is right.
7. Nothing old: a command that the broker had for more than 2 s when it came to the agent, or that lay unread while the agent
   was stopped, is not carried out, unless it is an off.
8. Off is done: a unit that is well gets the message, and the sender is not told that it was refused.
9. What is refused has no effect: a ramp or a cycle is not given up for it.
10. `on_broker_loss` is kept: where the broker is away for long, the output was off since.
11. Nobody waits for anybody else: a unit that is well is polled.

Every method may be called from any thread.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping

from tests.soak.commands import Command
from tests.soak.rules.books import GRACE, NEVER, Books, Identity, Sent, Setting, identity
from tests.soak.rules.duties import Duties
from tests.soak.rules.outputs import Outputs
from tests.soak.rules.responses import LATEST_RESPONSE, Responses
from tests.soak.rules.states import States
from tests.soak.tap import Publish


class Ledger:
    """Gets every event from the tap, the units and the soak, and checks the rules by it.

    :param complain: called with each violation, as soon as it is seen
    """

    def __init__(self, base: str, units: list[str], complain: Callable[[str], None]) -> None:
        self._books = Books(base, units, complain)
        self._responses = Responses(self._books)
        self._states = States(self._books)
        self._outputs = Outputs(self._books, self._states)
        self._duties = Duties(self._books)
        self._connection = 0
        self._blocked: set[str] = {"no connection"}
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
            self._books.channel(unit, channel).knob_turned = time.monotonic()
            self._books.note(unit, f"a hand is on channel {channel}")

    def coupling(self, unit: str, what: str) -> None:
        """A setting that couples outputs is changed at the unit."""
        with self._lock:
            self._books.units[unit].coupled = time.monotonic()
            self._books.note(unit, what)

    def trouble(self, unit: str, what: str, *, lasts: bool = False) -> None:
        """Something happens to the unit or its link; if it ``lasts``, until `recovered`."""
        with self._lock:
            now = time.monotonic()
            book = self._books.units[unit]
            book.troubled, book.recovered = now, NEVER if lasts else max(now, book.recovered)
            self._books.note(unit, what)

    def recovered(self, unit: str) -> None:
        """What lasted is over."""
        with self._lock:
            self._books.units[unit].recovered = time.monotonic()
            self._books.note(unit, "recovered")

    def way(self, blocker: str, *, blocked: bool) -> None:
        """Something blocks the way from the broker to the agent, or does so no longer."""
        with self._lock:
            now = time.monotonic()
            (self._blocked.add if blocked else self._blocked.discard)(blocker)
            self._books.note_all(f"{blocker}: {'begins' if blocked else 'ends'}")
            if self._blocked and self._books.gone_since is None:
                self._books.gone_since = now
            if self._books.gone_since is not None:
                self._books.last_gone = now
            if not self._blocked:
                self._books.gone_since = None

    def noted(self, what: str) -> None:
        """Something happens to the agent that no rule makes an allowance for."""
        with self._lock:
            self._books.note_all(what)

    def agent_stops(self) -> None:
        """The agent is about to be stopped (SIGSTOP)."""
        with self._lock:
            self._stopped_since = time.monotonic()
            self._books.running_since = NEVER
            self._books.note_all("the agent is stopped")

    def agent_goes_on(self) -> None:
        """The agent is about to go on (SIGCONT)."""
        with self._lock:
            now = time.monotonic()
            self._books.stops.append((now - self._stopped_since, time.time()))
            self._books.running_since = now
            if self._books.gone_since is not None:
                self._books.gone_since = now
            self._books.note_all("the agent goes on")
            self._responses.stopped(self._stopped_since)

    def agent_killed(self, unwritten_since: float | None) -> None:
        """The agent was killed (SIGKILL), and is dead.

        :param unwritten_since: since when its disk took nothing, if it did not
        """
        with self._lock:
            now = time.monotonic()
            since = now - GRACE if unwritten_since is None else unwritten_since - GRACE
            self._books.kills.append((time.time(), time.time() - (now - since)))
            self._books.running_since = NEVER
            self._responses.killed(now if unwritten_since is None else since)
            self.online = dict.fromkeys(self.online, False)
            self._books.note_all("the agent is killed")

    def agent_starts(self) -> None:
        """The agent is about to be started again."""
        with self._lock:
            self._books.running_since = time.monotonic()
            if self._books.gone_since is not None:
                self._books.gone_since = time.monotonic()
            self._books.note_all("the agent is started")

    def accepted(self, number: int, moment: float) -> None:
        """The broker acknowledged a command to its sender."""
        with self._lock:
            self._responses.accepted(number, moment)

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
            self.way("no connection", blocked=False)

    def disconnected(self, connection: int) -> None:
        """A connection of the agent has ended."""
        with self._lock:
            if connection == self._connection:
                self.connected_since = None
                self.way("no connection", blocked=True)
            now = time.monotonic()
            for key, sent in list(self._in_flight.items()):
                if key[0] == connection:
                    del self._in_flight[key]
                    may_come_again = sent.packet.topic.endswith(("/response", "/backlog"))
                    if may_come_again and (sent.acknowledged is None or now - sent.acknowledged < GRACE):
                        self._books.unsettled[identity(sent.packet)] += 1

    def delivered(self, connection: int, packet: Publish) -> None:
        """The broker hands a message to the agent."""
        if "set" not in self._books.levels(packet.topic):
            return
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
            self._duties.sweep(now)
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

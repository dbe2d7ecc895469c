"""The messages that `watch` reads from the broker, and the fleet that follows from them."""

from __future__ import annotations

import contextlib
import queue
import time

from pydantic import ValidationError

from agent.cli.watching.complaints import AgentWarning, Warnings
from agent.cli.watching.rows import ChannelView
from agent.cli.watching.seen import Seen
from agent.cli.watching.snapshot import Refusals, Snapshot, snapshot
from agent.client.connection import QUIET, QUIET_WITHOUT_RETAINED, BrokerError, Client, LinkChange, Message
from agent.client.fleet import Fleet, natural
from agent.client.request import Target
from agent.protocol.messages import LeaseState, Response
from agent.protocol.topics import AgentTopic, ChannelTopic, UnitTopic

#: Messages that are taken before the user's keys are looked at again.
_AT_ONCE = 2000


class Feed:
    """What the broker tells, as far as it was taken in. ``lost``: why the broker is gone; None while it is there.

    ``published``: the channels of which a state has come.
    """

    def __init__(self, client: Client, target: Target | None) -> None:
        self.fleet = Fleet(client.topics)
        self.seen = Seen()
        self.refusals = Refusals()
        self.warnings = Warnings(None if target is None else target.unit)
        self.lost: str | None = None
        self.published: set[tuple[str, int]] = set()
        self._client = client
        self._target = target
        self._new_warnings: list[AgentWarning] = []

    def begin(self) -> None:
        """Subscribe, and take in what the broker has retained.

        :raises BrokerError: the broker refuses the subscription
        """
        topics = self._client.topics
        unit = None if self._target is None else self._target.unit
        self._client.subscribe(Fleet.filters(topics, unit))
        # A user who may not read these can watch all the same.
        for wanted in ([topics.response(unit or "+"), topics.response(unit or "+", "+")], [topics.agent_log("+")]):
            with contextlib.suppress(BrokerError):
                self._client.subscribe(wanted)
        self.wait(QUIET if self._client.retains else QUIET_WITHOUT_RETAINED)

    def wait(self, quiet: float) -> None:
        """Take in all that comes until nothing has come for so long (s), at most for eight times as long."""
        end = time.monotonic() + 8 * quiet
        while (now := time.monotonic()) < end:
            try:
                item = self._client.inbox.get(timeout=min(quiet, end - now))
            except queue.Empty:
                return
            self._take([item])
            if isinstance(item, Message) and not item.retain:
                end = min(end, now + quiet)  # units that are polled are never quiet

    def take(self) -> bool:
        """Take in what has come. False if that was nothing."""
        items: list[Message | LinkChange] = []
        with contextlib.suppress(queue.Empty):
            while len(items) < _AT_ONCE:
                items.append(self._client.inbox.get_nowait())
        self._take(items)
        return bool(items)

    def wait_for_message(self, seconds: float) -> None:
        """Wait up to so long (s) for a message, and take in what has come."""
        with contextlib.suppress(queue.Empty):
            self._take([self._client.inbox.get(timeout=seconds)])
            self.take()

    def _take(self, items: list[Message | LinkChange]) -> None:
        now = time.monotonic()
        for item in items:
            if isinstance(item, LinkChange):
                if item.reason is not None and self.lost is None:
                    self.seen.interrupt(now)
                self.lost = item.reason
            else:
                self._message(item, now)

    def _message(self, message: Message, now: float) -> None:
        match self._client.topics.parse_published(message.topic):
            case UnitTopic(_, "response") | ChannelTopic(_, _, "response"):
                with contextlib.suppress(ValidationError):
                    self.refusals.take(Response.model_validate_json(message.payload), now)
            case AgentTopic(agent, "log"):
                if (warning := self.warnings.take(agent, message.payload)) is not None:
                    self._new_warnings.append(warning)
                    del self._new_warnings[:-20]
            case ChannelTopic(_, _, "state"):
                self._state(message, now)
            case _:
                self.fleet.update(message.topic, message.payload)

    def _state(self, message: Message, now: float) -> None:
        place = self.fleet.update(message.topic, message.payload)
        if place is None or place[1] is None:
            return
        key = place[0], place[1]
        self.published.add(key)
        self.seen.take(self.fleet.units[place[0]].states[place[1]], now, retained=message.retain)

    def snapshot(self, now: float) -> Snapshot:
        """The fleet, or the part of it that is watched, as it is now (s, monotonic)."""
        return snapshot(self.fleet, self.seen, self.refusals, now, target=self._target, lost=self.lost)

    def lease_of(self, view: ChannelView) -> LeaseState | None:
        """The lease on a channel; None while the broker is gone."""
        return None if self.lost is not None else self.fleet.lease_of(view.state.psu, view.state.index)

    def new_warnings(self) -> list[AgentWarning]:
        """The agents' warnings since the last call."""
        found, self._new_warnings = self._new_warnings, []
        return found

    def absence(self) -> str | None:
        """The sentence that the unit or channel that is watched is not there, and what is; None where it may be there, as it
        may be on a broker that keeps no messages.

        :raises BrokerError: the broker can't be asked
        """
        target = self._target
        if target is None or not self._client.retains:
            return None
        every = {unit for units in self.fleet.agent_units.values() for unit in units} | self.fleet.units.keys()
        if target.unit not in every:
            asked = Fleet(self._client.topics)
            for message in self._client.retained(Fleet.filters(self._client.topics)):
                asked.update(message.topic, message.payload)
            every |= asked.units.keys() | {unit for units in asked.agent_units.values() for unit in units}
            if not every:
                base, address = self._client.topics.base, self._client.address
                return f"there is no unit {target.unit}: no agent has published anything under {base}/ on {address}"
            return f"there is no unit {target.unit}; there {_are(sorted(every, key=natural))}"
        unit = self.fleet.units.get(target.unit)
        if unit is None or target.channel is None:
            return None
        names = {index: state.name for index, state in unit.states.items()}
        if unit.info is not None:
            names |= {channel.index: channel.name for channel in unit.info.channels}
        if not names or target.channel in {str(index) for index in names} | set(names.values()):
            return None
        told = [f"{index} ({name})" if name else str(index) for index, name in sorted(names.items())]
        return f"{target.unit} has no channel {target.channel}; it has {', '.join(told)}"


def _are(names: list[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names[:most])}{more}"

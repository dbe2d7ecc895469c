"""The messages that `watch` reads from the broker, and the fleet that follows from them."""

from __future__ import annotations

import contextlib
import queue
import time

from pydantic import ValidationError

from agent.cli.watching.agent_warnings import AgentWarning, Warnings
from agent.cli.watching.rows import ChannelView
from agent.cli.watching.seen import Seen
from agent.cli.watching.snapshot import Refusals, Snapshot, snapshot
from agent.client import existing
from agent.client.connection import QUIET, QUIET_WITHOUT_RETAINED, BrokerError, Client, LinkChange, Message
from agent.client.fleet import Fleet
from agent.client.request import Target
from agent.protocol.messages import LeaseState, Response
from agent.protocol.topics import AgentTopic, ChannelTopic, UnitTopic

#: Messages that are taken before the user's keys are looked at again.
_AT_ONCE = 2000


class Feed:
    """The fleet as the broker has told of it so far. ``lost``: why the broker is gone; None while it is there.

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

    def take(self) -> None:
        """Take in what has come."""
        items: list[Message | LinkChange] = []
        with contextlib.suppress(queue.Empty):
            while len(items) < _AT_ONCE:
                items.append(self._client.inbox.get_nowait())
        self._take(items)

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
            case UnitTopic(unit, "response") | ChannelTopic(unit, _, "response"):
                with contextlib.suppress(ValidationError):
                    response = Response.model_validate_json(message.payload)
                    if response.psu == unit:
                        self.refusals.take(response, now)
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
        target, topics = self._target, self._client.topics
        if target is None or not self._client.retains:
            return None
        fleet = self.fleet
        if target.unit not in existing.units(fleet):
            fleet = Fleet(topics)
            for message in self._client.retained(Fleet.filters(topics)):
                fleet.update(message.topic, message.payload)
            if not existing.units(fleet):
                where = f"under {topics.base}/ on {self._client.address}"
                return f"there is no unit {target.unit}: no agent has published anything {where}"
        return existing.misnamed(fleet, target) or None

"""The fleet as it is now, for several threads: what the topics tell, since when, and feeds of what comes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from pydantic import ValidationError

from agent.client import existing
from agent.client.connection import LONGEST_READING, QUIET, QUIET_WITHOUT_RETAINED, LinkChange, Message
from agent.client.errors import BrokerError, NobodyAnsweredError, NotAllowedError, OfflineError, RefusedError
from agent.client.feeds import Feed
from agent.client.fleet import Fleet, without_values
from agent.client.request import Target
from agent.client.shared import SharedClient
from agent.protocol.messages import ChannelInfo, ChannelState, Event, UnitInfo
from agent.protocol.topics import AgentTopic, ChannelTopic, UnitTopic

#: States of a channel that a second delivery of one of them may come behind.
_RECENT_STATES = 64

_Wanted = Callable[[ChannelState | Event], bool]


class LiveFleet:
    """What is known of the units that somebody has asked for.

    `handle` is for the connection's thread; all else for any thread. The topics of a unit are subscribed to when it is asked for
    first, which takes some `QUIET` s.
    """

    def __init__(self, connection: SharedClient) -> None:
        """``connection``: calls `handle` once it is open."""
        self._connection = connection
        self._changed = threading.Condition()
        self._following = threading.Lock()
        self._followed: set[str | None] = set()
        self._known = Fleet(connection.topics)
        self._version = 0
        self._settled = True
        self._retained_at = 0.0  # time.monotonic, when the last retained message came, or was asked for
        # time.monotonic, when a channel's last state came that was not retained
        self._came: dict[tuple[str, int], float] = {}
        self._marks: dict[str, deque[int]] = {}  # hashes of the newest states, by topic
        self._last_events: deque[tuple[str, bytes]] = deque(maxlen=64)
        self._absent: set[str] = set()
        self._states: dict[Feed[ChannelState], tuple[_Wanted, bool]] = {}
        self._events: dict[Feed[Event], _Wanted] = {}

    # In the connection's thread.

    def handle(self, item: Message | LinkChange) -> None:
        """Take in one message, or a change of the connection."""
        with self._changed:
            if isinstance(item, Message):
                self._take(item)
            else:
                self._retained_at, self._settled = time.monotonic(), False
                if item.reason is not None:
                    self._forget()
            self._version += 1
            self._changed.notify_all()

    def _forget(self) -> None:
        """Without the broker no state is known to be present."""
        for unit in self._known.units.values():
            self._tell_absent(unit.name)
        self._known = Fleet(self._connection.topics)
        self._came.clear()
        self._marks.clear()
        self._absent.clear()

    def _take(self, message: Message) -> None:
        fleet = self._known
        if message.retain:
            self._retained_at = time.monotonic()
        meaning = self._connection.topics.parse_published(message.topic)
        if isinstance(meaning, ChannelTopic) and meaning.kind == "event":
            if not message.retain and (message.topic, message.payload) not in self._last_events:
                self._last_events.append((message.topic, message.payload))
                self._tell_event(message.payload)
            return
        is_state = isinstance(meaning, ChannelTopic) and meaning.kind == "state"
        if is_state:
            # A broker may deliver a message once for each of two filters that match it, and the second time behind newer ones.
            recent = self._marks.setdefault(message.topic, deque(maxlen=_RECENT_STATES))
            mark = hash(message.payload)
            if mark in recent:
                return
            recent.append(mark)
        told = fleet.update(message.topic, message.payload)
        if is_state and told is not None:
            unit, index = told
            assert index is not None
            state = next(state for state in fleet.present(unit) if state.index == index)
            if not message.retain:
                self._came[unit, index] = message.at
            self._tell(state, is_new=not message.retain)
        elif isinstance(meaning, AgentTopic) and meaning.kind == "status":
            for name in fleet.units:
                self._note_presence(name)
        elif isinstance(meaning, UnitTopic) and meaning.kind in ("status", "info"):
            self._note_presence(meaning.unit)

    def _note_presence(self, unit: str) -> None:
        if self._known.why_absent(unit) is not None:
            if unit not in self._absent:
                self._absent.add(unit)
                self._tell_absent(unit)
        elif unit in self._absent:
            self._absent.discard(unit)
            for state in self._known.present(unit):  # those that came before it was known that the unit is there
                self._tell(state, is_new=False)

    def _tell_absent(self, unit: str) -> None:
        known = self._known.units.get(unit)
        for state in () if known is None else known.states.values():
            self._tell(without_values(state), is_new=True)

    def _tell(self, state: ChannelState, *, is_new: bool) -> None:
        for feed, (wanted, new_only) in list(self._states.items()):
            if (is_new or not new_only) and wanted(state):
                feed.put(state)

    def _tell_event(self, payload: bytes) -> None:
        try:
            event = Event.model_validate_json(payload)
        except ValidationError:
            return  # another program's message on these topics
        for feed, wanted in list(self._events.items()):
            if wanted(event):
                feed.put(event)

    # In any thread.

    @property
    def version(self) -> int:
        """A number that is another one after each message."""
        with self._changed:
            return self._version

    def await_change(self, version: int, timeout: float) -> bool:
        """Wait until something has come since ``version``, up to `timeout` s; False if nothing has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version != version, max(0.0, timeout))

    def follow(self, unit: str | None) -> None:
        """See to it that all that is known of a unit, or of the whole fleet (None), is here.

        :raises BrokerError: there is no connection, or the broker does not let this user read
        """
        connection = self._connection
        connection.check()
        with self._following:
            if not self._followed & {unit, None}:
                connection.subscribe([connection.topics.event(unit or "+", "+")], qos=1)
                connection.subscribe(Fleet.filters(connection.topics, unit))
                self._expect_retained()  # the broker's answer to the subscription may have taken longer than `QUIET`
                self._followed.add(unit)
        self._settle()

    def _expect_retained(self) -> None:
        with self._changed:
            self._retained_at, self._settled = time.monotonic(), False

    def _settle(self) -> None:
        """Wait until what is retained has come."""
        connection = self._connection
        pause = QUIET if connection.retains else QUIET_WITHOUT_RETAINED
        deadline = time.monotonic() + LONGEST_READING
        with self._changed:
            while not self._settled:
                now = time.monotonic()
                left = min(self._retained_at + pause, deadline) - now
                if left <= 0:
                    self._settled = True
                else:
                    self._changed.wait(left)

    def states(self, unit: str | None = None, channel: str | None = None) -> list[ChannelState]:
        """See `Supplies.states`."""
        self.follow(unit)
        with self._changed:
            found = self._known.channels(unit, channel)
        self._connection.check()
        return found

    def info(self, unit: str) -> UnitInfo:
        """The unit's info.

        :raises NobodyAnsweredError: no agent has published one
        :raises BrokerError: there is no connection
        """
        self.follow(unit)
        with self._changed:
            known = self._known.units.get(unit)
            info = None if known is None else known.info
        self._connection.check()
        if info is None:
            instead = self.what_exists(Target(unit)) or "Is the name right, and is its agent running?"
            raise NobodyAnsweredError(f"nothing is known of {unit}. {instead}")
        return info

    def what_exists(self, target: Target) -> str:
        """A sentence on what there is instead of a unit or a channel, or why it does not answer; empty if nothing is known."""
        connection = self._connection
        with contextlib.suppress(BrokerError):
            self.follow(target.unit)
            connection.subscribe([connection.topics.every_info])
            self._expect_retained()
            self._settle()
        with self._changed:
            return existing.told(self._known, target)

    def channel_info(self, target: Target) -> ChannelInfo:
        """What is known of a channel's ratings and limits.

        :raises RefusedError: ``unknown_channel``
        :raises OfflineError: the unit has not told its channels yet
        :raises NobodyAnsweredError: no agent has published anything of the unit
        :raises BrokerError: there is no connection
        """
        info = self.info(target.unit)
        for channel in info.channels:
            if target.channel in (str(channel.index), channel.name):
                return channel
        if not info.channels:
            raise OfflineError(f"{target.unit}: {info.reason or 'its channels are not known yet'}")
        raise RefusedError("unknown_channel", existing.no_channel(target, {c.index: c.name for c in info.channels}))

    def known_index(self, unit: str, channel: str) -> int | None:
        """The number of a channel, by its number or name; None where it is not known here."""
        with self._changed:
            known = self._known.units.get(unit)
            if known is None:
                return None
            listed = known.info.channels if known.info is not None else []
            found = {(one.index, one.name) for one in listed}
            found |= {(one.index, one.name) for one in known.states.values()}
        return next((index for index, name in sorted(found) if channel in (str(index), name)), None)

    def fresh(self, target: Target, *, max_age: float, timeout: float) -> ChannelState:
        """See `ChannelClient.state`."""
        index = self.channel_info(target).index
        now = time.monotonic()
        deadline = now + timeout
        with self._changed:
            is_recent = self._came.get((target.unit, index), 0.0) > now - max_age
        if is_recent:
            state = self._next_state(target, index, now - max_age, deadline)
        else:
            state = self._next_state(target, index, self.ask_to_poll(target), deadline)
            if state is not None:  # it may be of a poll that was under way at the call, and had read the unit before it
                state = self._next_state(target, index, self.ask_to_poll(target), deadline)
        if state is None:
            raise NobodyAnsweredError(f"no new state of {target} came within {timeout:g} s")
        return state

    def _next_state(self, target: Target, index: int, after: float, deadline: float) -> ChannelState | None:
        """The channel's state, as soon as one has come after a moment; None if none has until ``deadline``."""
        with self._changed:
            while True:
                self._connection.check()
                why = self._known.why_absent(target.unit)
                if why is not None:
                    raise OfflineError(f"{target.unit} is offline: {why}")
                if self._came.get((target.unit, index), 0.0) > after:
                    state = self._known.units[target.unit].states.get(index)
                    if state is not None and state.online:
                        return state
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def ask_to_poll(self, target: Target) -> float:
        """Ask the agent to poll the unit now, and to publish what it reads.

        Returns a moment (`time.monotonic`): what came before it had reached the broker before the question.

        :raises NobodyAnsweredError: the broker says that no agent listens
        :raises BrokerError: there is no connection
        """
        topic = self._connection.topics.get(target.unit, target.channel)
        try:
            return self._connection.publish(topic, b"", expiry=1.0)
        except NotAllowedError:  # a user who may only read waits for the next poll
            return time.monotonic()

    def feed_states(self, target: Target | None, *, new_only: bool = False) -> Feed[ChannelState]:
        """A feed of states. ``new_only``: without those that are known already.

        :raises BrokerError: there is no connection
        """
        unit = None if target is None else target.unit
        self.follow(unit)

        def closed(feed: Feed[ChannelState]) -> None:
            with self._changed:
                self._states.pop(feed, None)

        feed = Feed(closed)
        with self._changed:
            if not new_only:
                for state in self._known.channels(unit, None if target is None else target.channel):
                    feed.put(state)
            self._states[feed] = _matcher(target), new_only
        return feed

    def feed_events(self, target: Target | None) -> Feed[Event]:
        """A feed of events.

        :raises BrokerError: there is no connection
        """
        self.follow(None if target is None else target.unit)

        def closed(feed: Feed[Event]) -> None:
            with self._changed:
                self._events.pop(feed, None)

        feed = Feed(closed)
        with self._changed:
            self._events[feed] = _matcher(target)
        return feed

    def close(self) -> None:
        """End all feeds."""
        with self._changed:
            states, events = list(self._states), list(self._events)
        for feed in states:
            feed.close()
        for happened in events:
            happened.close()


def _matcher(target: Target | None) -> _Wanted:
    def wanted(item: ChannelState | Event) -> bool:
        return target is None or (
            item.psu == target.unit and (target.channel is None or target.channel in (str(item.index), item.name))
        )

    return wanted

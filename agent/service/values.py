"""Each value of a channel's state on a topic of its own, for tools that read no JSON, where the configuration asks for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from agent.protocol import fields
from agent.protocol.messages import ChannelInfo, ChannelState, UnitInfo
from agent.protocol.report import Report
from agent.protocol.topics import ChannelTopic, Topics
from agent.store.published import PublishedUnits
from agent.unit.sampling.deadband import ROUNDING, Deadbands, PublishSettings

#: s between two values of what grows all the time while an output is on: energy and charge.
METERS_INTERVAL = 10.0
_METERS = ("energy", "charge")
_MEASURED = ("voltage", "current")


class ValueSession(Protocol):
    """The part of the MQTT session that `PlainValues` needs."""

    def keep_values(self, values: Mapping[str, bytes]) -> None:
        """Publish plain values, retained; an empty one removes what is there. Returns at once."""

    def forget(self, topic: str) -> None:
        """Publish nothing more on a retained topic, and do not remove what is there."""


class _Channel:
    """The values that were published last of one channel."""

    __slots__ = ("_deadbands", "_places", "_told", "_told_at", "_told_numbers", "_topics")

    def __init__(self, topics: Mapping[str, str], channel: ChannelInfo, deadband: Deadbands) -> None:
        """:param topics: by field"""
        self._topics = topics
        self._told: dict[str, bytes] = {}
        self._told_numbers: dict[str, float] = {}
        self._told_at = -math.inf  # of the meters, s
        self.become(channel, deadband)

    def become(self, channel: ChannelInfo, deadband: Deadbands) -> None:
        """Publish what moves by more than this from now on, with the digits of the channel as it is now."""
        volts, amperes = channel.voltage_resolution, channel.current_resolution
        self._places = {"V": fields.decimals(volts), "A": fields.decimals(amperes)}
        self._deadbands = {
            "voltage": volts if deadband.voltage is None else deadband.voltage,
            "current": amperes if deadband.current is None else deadband.current,
            "power": deadband.power,
        }

    def news(self, state: ChannelState, now: float) -> dict[str, bytes]:
        """The values of a state that are to be published, by topic; they are taken for published from now on."""
        told = self._told
        found = {}
        has_moved = False  # volts or amperes, so that the watts go with them
        are_meters_due = now - self._told_at >= METERS_INTERVAL
        for field, topic in self._topics.items():
            payload = fields.plain(state, field, self._places)
            before = told.get(field)
            if payload == before:
                continue
            if before and payload:
                is_change = are_meters_due if field in _METERS else self._is_change(field, state, has_moved=has_moved)
                if not is_change:
                    continue
            has_moved = has_moved or field in _MEASURED
            told[field] = found[topic] = payload
            if field in self._deadbands and payload:
                self._told_numbers[field] = getattr(state, field)
            elif field in _METERS:
                self._told_at = now
        return found

    def _is_change(self, field: str, state: ChannelState, *, has_moved: bool) -> bool:
        """True for a known value that is to be published in the place of another known one."""
        if field not in self._deadbands:
            return True
        deadband = self._deadbands[field]
        if deadband is None:
            return has_moved
        value: float = getattr(state, field)
        return abs(value - self._told_numbers[field]) > deadband * ROUNDING


class _Unit:
    """One unit whose values are published. The lock keeps anything from being published after they were removed."""

    __slots__ = ("channels", "deadband", "is_gone", "lock")

    def __init__(self, deadband: Deadbands) -> None:
        self.deadband = deadband
        self.channels: dict[int, _Channel] = {}
        self.is_gone = False
        self.lock = threading.Lock()


class PlainValues:
    """An `Outlet` that publishes each value of a state that has changed. For any thread; nothing waits.

    A unit is in the records before anything of it is published, so that a later run can remove it.
    """

    #: Nothing waits here.
    congested = False

    def __init__(
        self,
        topics: Topics,
        session: ValueSession,
        records: PublishedUnits,
        units: Mapping[str, PublishSettings],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param units: name → what counts as a change, of every unit whose values are published"""
        self._topics = topics
        self._session = session
        self._records = records
        self._clock = clock
        self._foreign: set[str] = set()  # units whose topics were another agent's
        self._units = {name: _Unit(settings.deadband) for name, settings in units.items()}

    def report(self, report: Report) -> None:
        """Publish what has changed."""
        if report.info is not None:
            self._follow(report.info)
        if report.states and (unit := self._units.get(report.states[0].psu)) is not None:
            self._publish(unit, report.states)

    def _follow(self, info: UnitInfo) -> None:
        name = info.psu
        unit = self._units.get(name)
        if unit is None:
            if name in self._foreign:  # the agent that served it until now may have had them published
                self._foreign.discard(name)
                self._records.remember(name, [channel.index for channel in info.channels])
            self.remove(name)  # an earlier configuration may have had them published
            return
        known = self._records.channels(name) or ()
        self._records.remember(name, [channel.index for channel in info.channels])
        with unit.lock:
            # An earlier run may have published them, and maybe this one can't reach the unit: what it was is not known now.
            lost = [] if info.online else [index for index in known if index not in unit.channels]
            for channel in info.channels:
                if (own := unit.channels.get(channel.index)) is not None:
                    own.become(channel, unit.deadband)
                else:
                    unit.channels[channel.index] = _Channel(
                        self._topics_of(name, channel.index), channel, unit.deadband
                    )
            if lost:
                self._session.keep_values(self._removals(name, lost))

    def _publish(self, unit: _Unit, states: Iterable[ChannelState]) -> None:
        now = self._clock()
        values: dict[str, bytes] = {}
        with unit.lock:
            if unit.is_gone:
                return
            for state in states:
                if (channel := unit.channels.get(state.index)) is not None:
                    values |= channel.news(state, now)
            if values:
                self._session.keep_values(values)

    def serve(self, units: Mapping[str, PublishSettings]) -> tuple[list[str], list[str]]:
        """Publish the values of these units from now on, and remove those of all others.

        :return: the units that are new here, of which each is to report its info and then its states; and those that were
        """
        before = self._units
        self._units = {name: before.get(name) or _Unit(settings.deadband) for name, settings in units.items()}
        for name, settings in units.items():
            unit = self._units[name]
            with unit.lock:
                unit.deadband = settings.deadband
        for name in before.keys() - units.keys():
            with before[name].lock:
                before[name].is_gone = True
            self.remove(name)
        return sorted(units.keys() - before.keys()), sorted(before.keys() - units.keys())

    def forget(self, topic: str) -> None:
        """Publish nothing more on a retained topic, which is another agent's from now on; with a state the channel's values."""
        self._session.forget(topic)
        published = self._topics.parse_published(topic)
        if isinstance(published, ChannelTopic) and published.kind == "state":
            for value in self._topics_of(published.unit, published.channel).values():
                self._session.forget(value)

    def remove(self, name: str) -> None:
        """Remove a unit's values from the broker, if this agent had published any there."""
        channels = self._records.channels(name)
        if channels is not None:
            self._session.keep_values(self._removals(name, channels))
            self._records.forget(name)

    def disown(self, name: str) -> None:
        """Take note that another agent publishes on the unit's topics from now on: nothing there is removed by this one."""
        self._records.forget(name)
        self._foreign.add(name)
        if (unit := self._units.get(name)) is not None:
            with unit.lock:
                unit.channels = {}

    def _topics_of(self, name: str, index: int | str) -> dict[str, str]:
        return {field: self._topics.value(name, index, field) for field in fields.LEVELS}

    def _removals(self, name: str, channels: Iterable[int]) -> dict[str, bytes]:
        topics = [topic for index in channels for topic in self._topics_of(name, index).values()]
        return dict.fromkeys(topics, fields.UNKNOWN)

"""From a poll's readings to the states and events of the channels: numbered, timed, with energy and charge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.instruments.driver import Profile, Reading
from agent.protocol.messages import ChannelState, Event
from agent.unit.changes import Changes
from agent.unit.gate import Readings
from agent.unit.limits.channel import Channel
from agent.unit.meters import Meter
from agent.unit.sampling.deadband import Deadband, PublishSettings

_MILLISECOND = timedelta(milliseconds=1)
_FURTHEST_AHEAD = timedelta(seconds=1)
#: s; or three intervals. Over a longer time between two samples nothing is integrated.
_LONGEST_GAP = 5.0


@dataclass(frozen=True, slots=True)
class Present:
    """A channel now: its newest reading, None while the unit is away; its power (W), energy (Wh) and charge (Ah), if known."""

    channel: Channel
    model: str | None
    reading: Reading | None
    power: float | None
    energy: float | None
    charge: float | None


class _Track:
    """The state of one channel that is kept between its samples."""

    __slots__ = (
        "channel",
        "deadband",
        "is_metered",
        "is_negative",
        "meter",
        "moment",
        "power",
        "reading",
        "seq",
        "settings",
        "state",
        "time",
        "told",
        "told_at",
        "told_power",
    )

    def __init__(self, channel: Channel, meter: Meter, seq: int, settings: PublishSettings | None) -> None:
        self.meter = meter
        self.seq = seq
        self.settings = settings
        # The newest. It is kept while the unit is away, so that what changes meanwhile becomes an event.
        self.reading: Reading | None = None
        self.moment: float | None = None  # of the reading; None while the unit is away
        self.power: float | None = None
        self.time: datetime | None = None  # of the reading, too
        self.state: ChannelState | None = None  # None for a reading that is not published
        # The reading that was published last, and its moment; None if the next one is published whatever it tells.
        self.told: Reading | None = None
        self.told_at = 0.0
        self.told_power: float | None = None
        self.become(channel)

    def become(self, channel: Channel) -> None:
        self.channel = channel
        volts = channel.range("voltage_limit")
        self.is_negative = volts is not None and volts.max <= 0
        # Of an output that is not measured 0 Wh would be a guess.
        self.is_metered = channel.output.tells is None or "energy" in channel.output.tells
        self.deadband = None if self.settings is None else Deadband(self.settings.deadband, channel.output)
        self.told = None


class Samples:
    """The samples of one unit: every channel's count, meter and newest reading.

    Only `meters`, `counts` and `present` are for other threads.
    """

    __slots__ = (
        "_agent",
        "_changes",
        "_last_time",
        "_latest",
        "_longest_gap",
        "_meters",
        "_model",
        "_publish",
        "_seqs",
        "_spaced",
        "_tracks",
        "_unit",
    )

    def __init__(
        self,
        *,
        agent: str,
        unit: str,
        interval: float,
        changes: Changes,
        meters: Mapping[int, Meter],
        counts: Mapping[int, int] | None = None,
        publish: PublishSettings | None = None,
    ) -> None:
        """``meters``: with the totals that were saved. ``counts``: how many samples the channels had before.

        ``publish``: which samples become states; None for all of them.
        """
        self._agent = agent
        self._unit = unit
        self._changes = changes
        self._meters = dict(meters)
        self._longest_gap = max(_LONGEST_GAP, 3 * interval)
        self._spaced = interval > 0
        self._publish = publish if publish is not None and publish.changes_only else None
        # A heartbeat comes with the poll that is nearest to it.
        self._latest = 0.0 if publish is None else publish.heartbeat - interval / 2
        self._model: str | None = None
        self._tracks: dict[int, _Track] = {}
        self._seqs = dict(counts or {})
        self._last_time: datetime | None = None

    def adopt(self, profile: Profile, channels: Iterable[Channel]) -> None:
        """Take samples of these channels from now on."""
        self._model = profile.model
        tracks = {}
        for channel in channels:
            index = channel.index
            track = self._tracks.get(index)
            if track is None:
                meter = self._meters.setdefault(index, Meter())
                track = _Track(channel, meter, self._seqs.get(index, 0), self._publish)
            else:
                track.become(channel)
            tracks[index] = track
        # Both are replaced, not changed: `counts` and `present` may read them in another thread.
        self._seqs = self.counts()
        self._tracks = tracks

    def forget(self) -> None:
        """Forget the last readings: another unit is at the address, so a difference from them is no change."""
        self._changes.forget()
        for track in self._tracks.values():
            track.reading = None

    def take(
        self, readings: Readings, now: datetime, moment: float, *, is_wanted: bool = True
    ) -> tuple[list[ChannelState], list[Event]]:
        """The states of a poll that are to be published, and the events since the one before.

        :param is_wanted: every channel's state is, whatever it tells
        :param now: when the unit's answer arrived; the time of the states is a millisecond after the last ones' at least
        :param moment: the same by `agent.timing.system_clock` (s)
        """
        now = self._time_after_the_last(now)
        model, changes = self._model, self._changes
        is_wanted = is_wanted or self._publish is None
        states: list[ChannelState] = []
        events: list[Event] = []
        for index, reading in readings.items():
            track = self._tracks[index]
            before, channel, meter = track.reading, track.channel, track.meter
            voltage, current = reading.voltage, reading.current
            power: float | None = None
            if voltage is not None and current is not None:
                power = _power(voltage, current, track.is_negative)
            if power is None or current is None or reading.state is False:
                meter.pause()
            else:
                meter.add(moment, power, current, self._longest_gap)
            track.reading, track.moment, track.power, track.time = reading, moment, power, now
            if is_wanted or self._is_news(track, reading, power, moment):
                states.append(self._state(track, reading, now, moment))
            else:
                track.state = None
            # Without the first two, which are measured: they change all the time, and are no events.
            if before is not None and (before[2:] != reading[2:] or changes.has_notes):
                events += changes.between(channel, now, model, before, reading)
        return states, events

    def _is_news(self, track: _Track, reading: Reading, power: float | None, moment: float) -> bool:
        told, deadband = track.told, track.deadband
        if told is None or deadband is None or not 0 <= moment - track.told_at < self._latest:
            return True
        return deadband.is_left(told, reading, track.told_power, power)

    def _state(self, track: _Track, reading: Reading, now: datetime, moment: float) -> ChannelState:
        """The state of a reading, which is to be published."""
        meter, channel = track.meter, track.channel
        track.seq += 1
        track.told, track.told_at, track.told_power = reading, moment, track.power
        track.state = state = ChannelState(
            time=now,
            seq=track.seq,
            agent=self._agent,
            psu=self._unit,
            index=channel.index,
            name=channel.name,
            model=self._model,
            online=True,
            state=reading.state,
            voltage=reading.voltage,
            current=reading.current,
            power=track.power,
            voltage_limit=reading.voltage_limit,
            current_limit=reading.current_limit,
            mode=reading.mode,
            tripped=reading.tripped,
            voltage_protection=reading.voltage_protection,
            current_protection=reading.current_protection,
            current_protection_level=reading.current_protection_level,
            voltage_protection_state=reading.voltage_protection_state,
            energy=meter.energy if track.is_metered else None,
            charge=meter.charge if track.is_metered else None,
        )
        return state

    def lost(self, now: datetime) -> list[ChannelState]:
        """The states of a unit that can't be reached: of its channels only energy and charge so far are known."""
        states = []
        for index, track in self._tracks.items():
            track.meter.pause()
            track.moment = track.told = None
            track.seq += 1
            track.state = ChannelState(
                time=now,
                seq=track.seq,
                agent=self._agent,
                psu=self._unit,
                index=index,
                name=track.channel.name,
                model=self._model,
                online=False,
                energy=track.meter.energy if track.is_metered else None,
                charge=track.meter.charge if track.is_metered else None,
            )
            states.append(track.state)
        return states

    def newest(self, index: int) -> tuple[Reading, float] | None:
        """The newest reading of a channel and its moment; None while the unit is away."""
        track = self._tracks[index]
        return None if track.reading is None or track.moment is None else (track.reading, track.moment)

    def are_off(self, indices: Iterable[int], since: float) -> bool:
        """True if the unit said after that moment (`agent.timing.system_clock`) that all these channels are off."""
        newest = map(self.newest, indices)
        return all(found is not None and found[1] > since and found[0].state is False for found in newest)

    def publish_newest(self, indices: Iterable[int]) -> list[ChannelState]:
        """The states of those channels whose newest reading was not published; they are to be published now."""
        tracks = map(self._tracks.__getitem__, indices)
        return [
            self._state(track, track.reading, track.time, track.moment or 0.0)
            for track in tracks
            if track.state is None and track.reading is not None and track.time is not None
        ]

    def state(self, index: int) -> ChannelState:
        """The newest state of a channel, which has to have one: see `publish_newest`."""
        state = self._tracks[index].state
        assert state is not None
        return state

    @property
    def has_states(self) -> bool:
        """True once a state of a channel was made."""
        return any(track.state is not None or track.reading is not None for track in self._tracks.values())

    def counts(self) -> dict[int, int]:
        """How many published samples each channel had, those included that the unit does not have any more."""
        return self._seqs | {index: track.seq for index, track in self._tracks.items()}

    def meters(self) -> dict[int, Meter]:
        """From any thread: copies of the channels' meters, those included that the unit has not shown yet."""
        return {index: meter.copy() for index, meter in list(self._meters.items())}

    def present(self) -> list[Present]:
        """From any thread: every channel as it is now."""
        model, found = self._model, []
        for track in self._tracks.values():
            reading = track.reading if track.moment is not None else None
            # Not `track.power`, which may be of the reading before or after this one.
            power: float | None = None
            if reading is not None and reading.voltage is not None and reading.current is not None:
                power = _power(reading.voltage, reading.current, track.is_negative)
            energy, charge = (track.meter.energy, track.meter.charge) if track.is_metered else (None, None)
            found.append(Present(track.channel, model, reading, power, energy, charge))
        return found

    def credit(self, totals: Mapping[int, tuple[float, float]]) -> None:
        """From any thread, once: add energy (Wh) and charge (Ah) of an earlier run, by channel, which became known late."""
        for index, (energy, charge) in totals.items():
            self._meters.setdefault(index, Meter()).credit(energy, charge)

    def _time_after_the_last(self, now: datetime) -> datetime:
        """Now, or a millisecond after the last sample if that is later: some databases identify a sample by its time.

        A unit that is polled without a pause may answer more than once a millisecond: its times stay as they are.
        """
        last = self._last_time
        # Commands in a row may put it some ms ahead; by more than that the clock was set back.
        if self._spaced and last is not None and -_FURTHEST_AHEAD < now - last < _MILLISECOND:
            now = last + _MILLISECOND
        self._last_time = now
        return now


def _power(voltage: float, current: float, is_negative: bool) -> float:
    """W, to the microwatt. A negative output delivers its power at negative volts. + 0.0: no -0.0."""
    return round((abs(voltage) if is_negative else voltage) * current, 6) + 0.0

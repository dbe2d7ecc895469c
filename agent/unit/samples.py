"""From a poll's readings to the states and events of the channels: numbered, timed, with energy and charge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from agent.instruments.driver import Profile, Reading
from agent.protocol.messages import ChannelState, Event
from agent.unit.changes import Changes
from agent.unit.gate import Readings
from agent.unit.limits.channel import Channel
from agent.unit.meters import Meter

_MILLISECOND = timedelta(milliseconds=1)
_FURTHEST_AHEAD = timedelta(seconds=1)
#: s; or three intervals. Over a longer time between two samples nothing is integrated.
_LONGEST_GAP = 5.0


class _Track:
    """The state of one channel that is kept between its samples."""

    __slots__ = ("channel", "is_metered", "is_negative", "meter", "moment", "reading", "seq", "state")

    def __init__(self, channel: Channel, meter: Meter, seq: int) -> None:
        self.meter = meter
        self.seq = seq
        # The newest. It is kept while the unit is away, so that what changes meanwhile becomes an event.
        self.reading: Reading | None = None
        self.moment: float | None = None  # of the reading; None while the unit is away
        self.state: ChannelState | None = None
        self.become(channel)

    def become(self, channel: Channel) -> None:
        self.channel = channel
        volts = channel.range("voltage_limit")
        self.is_negative = volts is not None and volts.max <= 0
        # Of an output that is not measured 0 Wh would be a guess.
        self.is_metered = channel.output.tells is None or "energy" in channel.output.tells


class Samples:
    """The samples of one unit: every channel's count, meter and newest reading.

    Only `meters` and `counts` are for other threads.
    """

    __slots__ = (
        "_agent",
        "_changes",
        "_last_time",
        "_longest_gap",
        "_meters",
        "_model",
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
    ) -> None:
        """``meters``: with the totals that were saved. ``counts``: how many samples the channels had before."""
        self._agent = agent
        self._unit = unit
        self._changes = changes
        self._meters = dict(meters)
        self._longest_gap = max(_LONGEST_GAP, 3 * interval)
        self._spaced = interval > 0
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
                track = _Track(channel, meter, self._seqs.get(index, 0))
            else:
                track.become(channel)
            tracks[index] = track
        # Both are replaced, not changed: `counts` may read them in another thread.
        self._seqs = self.counts()
        self._tracks = tracks

    def forget(self) -> None:
        """Forget the last readings: another unit is at the address, so a difference from them is no change."""
        self._changes.forget()
        for track in self._tracks.values():
            track.reading = None

    def take(self, readings: Readings, now: datetime, moment: float) -> tuple[list[ChannelState], list[Event]]:
        """The states of a poll, and the events since the one before.

        :param now: when the unit's answer arrived; the time of the states is a millisecond after the last ones' at least
        :param moment: the same by `agent.timing.system_clock` (s)
        """
        now = self._time_after_the_last(now)
        model, agent, unit = self._model, self._agent, self._unit
        changes = self._changes
        states: list[ChannelState] = []
        events: list[Event] = []
        for index, reading in readings.items():
            track = self._tracks[index]
            before, channel, meter = track.reading, track.channel, track.meter
            voltage, current = reading.voltage, reading.current
            power: float | None = None
            if voltage is not None and current is not None:
                # To the microwatt. A negative output delivers its power at negative volts. + 0.0: no -0.0.
                power = round((abs(voltage) if track.is_negative else voltage) * current, 6) + 0.0
            if power is None or current is None or reading.state is False:
                meter.pause()
            else:
                meter.add(moment, power, current, self._longest_gap)
            track.seq += 1
            track.reading, track.moment = reading, moment
            track.state = state = ChannelState(
                time=now,
                seq=track.seq,
                agent=agent,
                psu=unit,
                index=index,
                name=channel.name,
                model=model,
                online=True,
                state=reading.state,
                voltage=voltage,
                current=current,
                power=power,
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
            states.append(state)
            # Without the first two, which are measured: they change all the time, and are no events.
            if before is not None and (before[2:] != reading[2:] or changes.has_notes):
                events += changes.between(channel, now, model, before, reading)
        return states, events

    def lost(self, now: datetime) -> list[ChannelState]:
        """The states of a unit that can't be reached: of its channels only energy and charge so far are known."""
        states = []
        for index, track in self._tracks.items():
            track.meter.pause()
            track.moment = None
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

    def state(self, index: int) -> ChannelState:
        """The newest state of a channel, which has to have one."""
        state = self._tracks[index].state
        assert state is not None
        return state

    @property
    def has_states(self) -> bool:
        """True once a state of a channel was made."""
        return any(track.state is not None for track in self._tracks.values())

    def counts(self) -> dict[int, int]:
        """How many samples each channel had, those included that the unit does not have any more."""
        return self._seqs | {index: track.seq for index, track in self._tracks.items()}

    def meters(self) -> dict[int, Meter]:
        """From any thread: copies of the channels' meters, those included that the unit has not shown yet."""
        return {index: meter.copy() for index, meter in list(self._meters.items())}

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

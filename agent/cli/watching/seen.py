"""The states that were seen: how old the newest of each channel is, and what moved within the last minute.

Pure: the caller gives the time, by a clock that nobody sets (s).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from agent.protocol.messages import ChannelState

#: s that a sparkline covers.
WINDOW = 60.0
#: s without a state after which a channel's values are old, where nobody knows how often it is published.
UNKNOWN_SPACING_LIMIT = 60.0
#: s; no limit is below it: a busy network holds a message up for a moment.
_SHORTEST_LIMIT = 5.0
_POLLS = 3
#: Spacings of states that are kept of a channel, to know how often it is published in truth.
_SPACINGS = 5
#: Less movement than this part of the value is drawn as a flat line: noise is no news. And in V and A, around zero.
_FLAT_PART = 0.01
_FLAT = {"V": 0.01, "A": 0.002}
#: V and A that no supply has; with such figures of another program no line can be drawn.
_ABSURD = 1e9
#: The height of a flat line: not where two steps meet.
_FLAT_AT = 5 / 16
#: The quantity that is shown is changed for another one that moves this many times as much.
_MOVES_MORE = 2.0

#: A unit and a number.
Channel = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Trend:
    """The course of one quantity of a channel. ``heights``: 0 to 1 for each part of the time, None where nothing was seen."""

    symbol: Literal["V", "A"]
    heights: tuple[float | None, ...]


@dataclass(slots=True)
class _Track:
    """One channel as it was seen. ``values``: when (s), V and A; None for a moment from which on nothing is known."""

    state: ChannelState
    arrived: float
    confirmed: bool
    spacings: deque[float] = field(default_factory=lambda: deque(maxlen=_SPACINGS))
    values: deque[tuple[float, tuple[float | None, float | None] | None]] = field(default_factory=deque)
    symbol: Literal["V", "A"] = "A"


class Seen:
    """The states that were seen of each channel, and when. Not for several threads."""

    def __init__(self) -> None:
        self._tracks: dict[Channel, _Track] = {}
        #: Of each agent: a moment of its own clock (s), and when it was that (s, ours). Its clock may be wrong by any amount.
        self._clocks: dict[str, tuple[float, float]] = {}

    def take(self, state: ChannelState, now: float, *, retained: bool) -> None:
        """Take in a state that has come.

        :param now: s
        :param retained: the broker had kept it, so that it may be of any age
        """
        told = state.time.timestamp()
        clock = self._clocks.get(state.agent)
        if not retained or clock is None or told - clock[0] > now - clock[1]:
            self._clocks[state.agent] = (told, now)
        key = (state.psu, state.index)
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track(state, now, confirmed=not retained)
        else:
            if track.confirmed and not retained:
                track.spacings.append(now - track.arrived)
            track.state, track.arrived, track.confirmed = state, now, track.confirmed or not retained
        if not state.online:
            track.values.append((now, None))
        elif not retained:  # else nobody saw when it was so
            track.values.append((now, (state.voltage, state.current)))
        while len(track.values) > 1 and track.values[1][0] <= now - WINDOW:
            track.values.popleft()

    def interrupt(self, now: float) -> None:
        """Note that from now on (s) nothing is seen of any channel, as the broker is gone. Its retained messages come anew."""
        for track in self._tracks.values():
            track.values.append((now, None))
            track.spacings.clear()
            track.confirmed = False

    def limit(self, channel: Channel, usual: float | None) -> float:
        """The age (s) from which on the channel's values are old.

        :param usual: s between two states as its agent tells it; None where that is not known
        """
        track = self._tracks.get(channel)
        seen = median(track.spacings) if track is not None and track.spacings else 0.0
        if usual is None:
            return max(UNKNOWN_SPACING_LIMIT, _POLLS * seen)
        return max(_SHORTEST_LIMIT, _POLLS * max(usual, seen))

    def age(self, channel: Channel, now: float) -> float:
        """The age (s) of a channel's newest state, at least: since it has come, and by its agent's own clock."""
        track = self._tracks.get(channel)
        if track is None:
            return 0.0
        age = now - track.arrived
        if not track.confirmed and (clock := self._clocks.get(track.state.agent)) is not None:
            age = max(age, clock[0] - track.state.time.timestamp() + now - clock[1])
        return age

    def trend(self, channel: Channel, now: float, cells: int, limit: float) -> Trend | None:
        """The course of the quantity that moved more in the last minute; None where nothing was seen of it.

        :param cells: how many parts the minute has
        :param limit: s for which a value holds until the next one
        """
        track = self._tracks.get(channel)
        if track is None or cells < 1:
            return None
        courses: dict[Literal["V", "A"], list[float | None]] = {
            "V": _course(track, 0, now, cells, limit),
            "A": _course(track, 1, now, cells, limit),
        }
        moved = {symbol: _moved(course, _FLAT[symbol]) for symbol, course in courses.items()}
        other: Literal["V", "A"] = "V" if track.symbol == "A" else "A"
        if moved[other] > max(_FLAT_PART, _MOVES_MORE * moved[track.symbol]):
            track.symbol = other
        course = courses[track.symbol]
        if all(value is None for value in course):
            course = courses[other]
            if all(value is None for value in course):
                return None
            return Trend(other, _heights(course, _FLAT[other]))
        return Trend(track.symbol, _heights(course, _FLAT[track.symbol]))


def _course(track: _Track, which: int, now: float, cells: int, limit: float) -> list[float | None]:
    """The mean of a quantity in each cell, the newest last. The cells stand still while time goes on: no flicker."""
    width = WINDOW / cells
    last = math.floor(now / width)
    first = last - cells + 1
    sums, counts = [0.0] * cells, [0] * cells
    values = list(track.values)
    held: list[float | None] = [None] * cells
    for i, (moment, pair) in enumerate(values):
        value = None if pair is None else pair[which]
        if value is None or not abs(value) < _ABSURD:  # as NaN isn't, either
            continue
        cell = math.floor(moment / width) - first
        if 0 <= cell < cells:
            sums[cell] += value
            counts[cell] += 1
        until = min(moment + limit, now if i + 1 == len(values) else values[i + 1][0])
        # Until the next value, or as long as it may be taken for present.
        for later in range(max(0, cell + 1), min(cells, math.ceil(until / width) - first)):
            held[later] = value
    return [sums[i] / counts[i] if counts[i] else held[i] for i in range(cells)]


def _moved(course: Sequence[float | None], least: float) -> float:
    """How far the values went, as a part of the largest one."""
    known = [value for value in course if value is not None]
    if not known:
        return 0.0
    return (max(known) - min(known)) / max(least / _FLAT_PART, *(abs(value) for value in known))


def _heights(course: Sequence[float | None], least: float) -> tuple[float | None, ...]:
    known = [value for value in course if value is not None]
    low, high = min(known), max(known)
    flat = max(least, _FLAT_PART * max(abs(low), abs(high)))
    if high - low < flat:  # a flat line, in the middle of a step
        middle = (low + high) / 2
        low, high = middle - _FLAT_AT * flat, middle + (1 - _FLAT_AT) * flat
    span = high - low
    return tuple(None if value is None else (value - low) / span for value in course)

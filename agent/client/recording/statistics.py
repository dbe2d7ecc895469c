"""The summary of one channel: how long, how many samples, energy and charge, lowest, mean and highest values."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agent.protocol.messages import ChannelState

#: The quantities with a lowest, a mean and a highest value, and their unit symbols.
MEASURED = {"voltage": "V", "current": "A", "power": "W"}
#: s; or three intervals of the unit. Over a longer time between two samples nothing is integrated, as in the agent's own meters.
LONGEST_GAP = 5.0
#: Gaps of a channel into which late samples still are integrated.
_MOST_GAPS = 1000


class _Point(NamedTuple):
    """What a sample adds to the integrals. ``time`` in ms; None for a value that is not known."""

    run: object
    seq: int
    time: int
    values: tuple[float | None, ...]  # as in `MEASURED`
    is_on: bool


@dataclass(slots=True)
class Extent:
    """The values of one quantity. ``mean``: over time where samples follow each other, else over the samples."""

    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    count: int = 0
    area: float = 0.0
    seconds: float = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        if self.minimum is None or value < self.minimum:
            self.minimum = value
        if self.maximum is None or value > self.maximum:
            self.maximum = value
        self.total += value
        self.count += 1

    @property
    def mean(self) -> float | None:
        """None without a value."""
        if self.seconds > 0:
            return self.area / self.seconds
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Statistics:
    """Of one channel. ``energy`` (Wh) and ``charge`` (Ah): from the samples. ``counted_…``: from the agent's counters.

    ``longest_gap`` in s. ``is_step``: the unit publishes changes only, so a value stands until the next sample.
    ``recorded``: s in which samples follow each other.
    """

    name: str = ""
    longest_gap: float = LONGEST_GAP
    is_step: bool = False
    samples: int = 0
    late: int = 0
    first: int | None = None  # ms
    last: int | None = None
    recorded: float = 0.0
    energy: float = 0.0
    charge: float = 0.0
    counted_energy: float | None = None
    counted_charge: float | None = None
    extents: tuple[Extent, Extent, Extent] = field(default_factory=lambda: (Extent(), Extent(), Extent()))
    _newest: _Point | None = None
    _gaps: deque[list[_Point]] = field(default_factory=lambda: deque(maxlen=_MOST_GAPS))
    _counters: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)  # the last ones of each agent

    def add(self, state: ChannelState, time: int, run: object, *, late: bool) -> None:
        """Take one sample. ``time`` in ms; ``run``: samples of different runs do not follow each other."""
        self.samples += 1
        self.name = state.name
        self.first = time if self.first is None or time < self.first else self.first
        self.last = time if self.last is None or time > self.last else self.last
        values = (state.voltage, state.current, state.power)
        for extent, value in zip(self.extents, values, strict=True):
            if value is not None:
                extent.add(value)
        point = _Point(run, state.seq, time, values, state.online and state.state is not False)
        if late:
            self.late += 1
            self._fill(point)
            return
        newest, self._newest = self._newest, point
        if newest is not None:
            if newest.run is run and newest.seq + 1 == state.seq:
                self._integrate(newest, point)
            elif newest.run is run:
                self._gaps.append([newest, point])
        self._count(state)

    def _fill(self, point: _Point) -> None:
        for gap in self._gaps:
            left, right = gap
            if left.run is point.run and left.seq < point.seq < right.seq:
                if left.seq + 1 == point.seq:
                    self._integrate(left, point)
                if point.seq + 1 == right.seq:
                    self._integrate(point, right)
                    self._gaps.remove(gap)
                else:
                    gap[0] = point
                return

    def _integrate(self, left: _Point, right: _Point) -> None:
        seconds = (right.time - left.time) / 1000
        if not 0 < seconds <= self.longest_gap:
            return
        self.recorded += seconds
        for extent, before, after in zip(self.extents, left.values, right.values, strict=True):
            if before is not None and after is not None:
                extent.area += (before if self.is_step else (before + after) / 2) * seconds
                extent.seconds += seconds
        power, current = (left.values[2], right.values[2]), (left.values[1], right.values[1])
        if not (left.is_on and (right.is_on or self.is_step)):
            return
        if power[0] is not None and power[1] is not None:
            self.energy += max(0.0, power[0] if self.is_step else (power[0] + power[1]) / 2) * seconds / 3600
        if current[0] is not None and current[1] is not None:
            mean = abs(current[0]) if self.is_step else (abs(current[0]) + abs(current[1])) / 2
            self.charge += mean * seconds / 3600

    def _count(self, state: ChannelState) -> None:
        # Each agent has counters of its own. One that fell was set anew; what it counted before is not known.
        energy, charge = self._counters.get(state.agent, (None, None))
        if energy is not None and state.energy is not None:
            self.counted_energy = (self.counted_energy or 0.0) + max(0.0, state.energy - energy)
        if charge is not None and state.charge is not None:
            self.counted_charge = (self.counted_charge or 0.0) + max(0.0, state.charge - charge)
        self._counters[state.agent] = (
            energy if state.energy is None else state.energy,
            charge if state.charge is None else state.charge,
        )

    @property
    def duration(self) -> float:
        """s from the first to the last sample."""
        return 0.0 if self.first is None or self.last is None else (self.last - self.first) / 1000

    def as_json(self) -> dict[str, Any]:
        """The figures, with the units in the names; None for what is not known."""
        figures: dict[str, Any] = {
            "duration_s": round(self.duration, 3),
            "recorded_s": round(self.recorded, 3),
            "samples": self.samples,
            "late": self.late,
            "energy_wh": round(self.energy, 9) if self.extents[2].count else None,
            "charge_ah": round(self.charge, 9) if self.extents[1].count else None,
            "agent_energy_wh": _rounded(self.counted_energy),
            "agent_charge_ah": _rounded(self.counted_charge),
        }
        for quantity, extent in zip(MEASURED, self.extents, strict=True):
            figures[quantity] = {
                "min": extent.minimum,
                "mean": _rounded(extent.mean),
                "peak": extent.maximum,
                "unit": MEASURED[quantity],
            }
        return figures


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 9)

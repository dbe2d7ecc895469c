"""Energy and charge of a channel, integrated from its samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Point:
    moment: float
    power: float
    current: float


class Meter:
    """Watt-hours and ampere-hours by the trapezoidal rule. Time without samples adds nothing."""

    __slots__ = ("_charge", "_energy", "_last")

    def __init__(self, energy: float = 0.0, charge: float = 0.0) -> None:
        self._energy = energy
        self._charge = charge
        self._last: _Point | None = None

    @property
    def energy(self) -> float:
        """Wh, to the microwatt-hour."""
        return round(self._energy, 6)

    @property
    def charge(self) -> float:
        """Ah, to the microampere-hour."""
        return round(self._charge, 6)

    def add(self, moment: float, power: float, current: float, longest_gap: float) -> None:
        """Take a sample of an output that is on: its moment (s), W and A. After more than ``longest_gap`` (s) it starts anew.

        Neither ever falls: the noise around zero of an output without a load is no energy that comes back.
        """
        point = _Point(moment, power, abs(current))
        if self._last is not None and 0 < moment - self._last.moment <= longest_gap:
            hours = (moment - self._last.moment) / 3600
            self._energy += max(0.0, self._last.power + point.power) / 2 * hours
            self._charge += (self._last.current + point.current) / 2 * hours
        self._last = point

    def pause(self) -> None:
        """The unit can't be reached, or the output is off: what comes before the next sample adds nothing."""
        self._last = None

    def copy(self) -> Meter:
        return Meter(self._energy, self._charge)

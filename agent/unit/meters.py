"""Energy and charge of a channel, integrated from its samples."""

from __future__ import annotations


class Meter:
    """Energy (Wh) and charge (Ah) by the trapezoidal rule. Time without samples adds nothing."""

    __slots__ = ("_charge", "_current", "_earlier", "_energy", "_moment", "_power")

    def __init__(self, energy: float = 0.0, charge: float = 0.0) -> None:
        """Begin at these totals, in Wh and Ah."""
        self._energy = energy
        self._charge = charge
        self._earlier = (0.0, 0.0)
        self._moment: float | None = None  # of the sample before; with its power and current
        self._power = 0.0
        self._current = 0.0

    @property
    def energy(self) -> float:
        """Wh, to the microwatt-hour."""
        return round(self._energy + self._earlier[0], 6)

    @property
    def charge(self) -> float:
        """Ah, to the microampere-hour."""
        return round(self._charge + self._earlier[1], 6)

    def add(self, moment: float, power: float, current: float, longest_gap: float) -> None:
        """Take a sample of an output that is on: its moment (s), W and A. After more than ``longest_gap`` (s) it starts anew.

        Neither total ever falls: noise around zero of an output without a load is not energy that flows back.
        """
        current = abs(current)
        if self._moment is not None and 0 < moment - self._moment <= longest_gap:
            hours = (moment - self._moment) / 3600
            self._energy += max(0.0, self._power + power) / 2 * hours
            self._charge += (self._current + current) / 2 * hours
        self._moment, self._power, self._current = moment, power, current

    def credit(self, energy: float, charge: float) -> None:
        """Add totals (Wh, Ah) of an earlier run, which became known late. From any thread, once."""
        self._earlier = (energy, charge)  # one store, so that no sample that is added meanwhile is lost

    def pause(self) -> None:
        """Add nothing for the time until the next sample: the unit can't be reached, or the output is off."""
        self._moment = None

    def copy(self) -> Meter:
        """A meter with the same totals, which starts anew."""
        return Meter(self._energy + self._earlier[0], self._charge + self._earlier[1])

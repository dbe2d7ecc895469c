"""Loads on a simulated output, and the operating point at which supply and load agree.

All loads are pure functions of voltage, current limit and time (seconds since the instrument was made), so that a run
with the same clock and seed gives the same figures.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

_SHORT_CIRCUIT_OHM = 0.005  # leads and binding posts


class OperatingPoint(NamedTuple):
    """V and A at the terminals, and which of the two the supply regulates (UR: neither)."""

    voltage: float
    current: float
    mode: Literal["CV", "CC", "UR"]


class Load(ABC):
    """Something on the terminals of one output."""

    @abstractmethod
    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """The operating point of a supply set to ``voltage`` V (>= 0) and ``current_limit`` A with this load at ``time`` s."""


@dataclass(frozen=True, slots=True)
class Open(Load):
    """Nothing connected."""

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """The voltage that is set, and no current."""
        return OperatingPoint(voltage, 0.0, "CV")


@dataclass(frozen=True, slots=True)
class Resistor(Load):
    """A resistance in ohms.

    :raises ValueError: it is not above 0
    """

    resistance: float

    def __post_init__(self) -> None:
        if not self.resistance > 0:
            raise ValueError(f"a resistance must be above 0 ohm, not {self.resistance}")

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """By Ohm's law, in CC above the current limit."""
        current = voltage / self.resistance
        if current <= current_limit:
            return OperatingPoint(voltage, current, "CV")
        return OperatingPoint(current_limit * self.resistance, current_limit, "CC")


class Short(Resistor):
    """A short circuit, of the few milliohms that leads have."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_SHORT_CIRCUIT_OHM)


@dataclass(frozen=True, slots=True)
class ConstantCurrent(Load):
    """A sink of so many A. The voltage of a supply that can't deliver them drops to 0."""

    current: float

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """The voltage that is set, or 0 V in CC if the sink takes more than the limit."""
        return _sink(max(self.current, 0.0), voltage, current_limit)


@dataclass(frozen=True, slots=True)
class ConstantPower(Load):
    """A converter's input, in watts; a resistor below ``minimum_voltage``, as converters that start are."""

    power: float
    minimum_voltage: float = 1.0

    def __post_init__(self) -> None:
        if not (self.power > 0 and self.minimum_voltage > 0):
            raise ValueError("power and minimum voltage must be above 0")

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """The voltage that is set, or the resistor's point where the converter is off."""
        if voltage >= self.minimum_voltage and self.power / voltage <= current_limit:
            return OperatingPoint(voltage, self.power / voltage, "CV")
        # A supply that can't give what is drawn at its voltage can't at the lower one either.
        converter_off = Resistor(self.minimum_voltage**2 / self.power)
        return converter_off.operating_point(min(voltage, self.minimum_voltage), current_limit, time)


@dataclass(frozen=True, slots=True)
class Unregulated(Load):
    """Another load, with a supply that regulates neither its voltage nor its current, as at too low a mains voltage."""

    load: Load

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """The load's point at nine tenths of the voltage, neither in CV nor in CC."""
        return self.load.operating_point(0.9 * voltage, current_limit, time)._replace(mode="UR")


@dataclass(frozen=True, slots=True)
class Square(Load):
    """Two loads in turn, such as a device that sleeps and wakes. ``duty`` is ``first``'s share of ``period`` s."""

    first: Load
    second: Load
    period: float = 10.0
    duty: float = 0.5

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """The point of the load whose turn it is."""
        load = self.first if time % self.period < self.duty * self.period else self.second
        return load.operating_point(voltage, current_limit, time)


@dataclass(frozen=True, slots=True)
class Wander(Load):
    """A sink whose current changes like a random walk, within ``mean`` ± ``amplitude`` A.

    It is value noise of four octaves rather than a walk, so that the figure at a time depends on that time and ``seed``
    alone, however often or seldom it is asked for. It may go from one end to the other in ``period`` s.
    """

    mean: float
    amplitude: float
    period: float = 10.0
    seed: int = 0

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        """As of a sink of the current at ``time``."""
        noise = scale = 0.0
        for octave in range(4):
            position = time / self.period * 2**octave
            step, fraction = math.floor(position), position % 1.0
            fraction *= fraction * (3 - 2 * fraction)
            low, high = _hash(self.seed, octave, step), _hash(self.seed, octave, step + 1)
            noise += (low + (high - low) * fraction) / 2**octave
            scale += 1 / 2**octave
        return _sink(max(self.mean + self.amplitude * noise / scale, 0.0), voltage, current_limit)


def _sink(current: float, voltage: float, current_limit: float) -> OperatingPoint:
    if voltage <= 0:
        return OperatingPoint(0.0, 0.0, "CV")
    if current <= current_limit:
        return OperatingPoint(voltage, current, "CV")
    return OperatingPoint(0.0, current_limit, "CC")


def _hash(seed: int, octave: int, step: int) -> float:
    """-1 to 1, evenly spread, from three whole numbers (the finalizer of splitmix64)."""
    mask = 0xFFFF_FFFF_FFFF_FFFF
    value = (seed * 0x9E3779B97F4A7C15 + octave * 0xD1B54A32D192ED03 + step * 0x8CB92BA72F3D8DD7) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) / mask * 2 - 1

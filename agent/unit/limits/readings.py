"""The meaning of a reading: an output may be on, delivers, or measures more than its trip levels."""

from __future__ import annotations

from agent.instruments.driver import Reading

#: By how much a measured value may be wrong: a part of it, and V. Bench supplies are more accurate than that.
_ACCURACY, _OFFSET = 0.002, 0.01
#: V, and the part of its setting, above which the voltage of an output that was turned off means that it may still be on.
_LEAST, _LIVE = 0.1, 0.1


def may_be_on(reading: Reading) -> bool:
    """True unless the unit says that the output is off. An output whose state can't be read may always be on."""
    return reading.state is not False


def is_live(reading: Reading) -> bool:
    """True if an output that was turned off has so much voltage that it may still be on; or it has not discharged yet."""
    return reading.voltage is not None and abs(reading.voltage) > max(_LEAST, _LIVE * abs(reading.voltage_limit or 0.0))


def is_on(reading: Reading) -> bool:
    """True if an output is on: as the unit says, or, where it can't tell, by the voltage that it measures."""
    return is_live(reading) if reading.state is None else reading.state


def delivers(reading: Reading, resolution: float) -> bool:
    """True if an output measures a voltage and a current; ``resolution``: the current that counts as none (A)."""
    return is_live(reading) and reading.current is not None and abs(reading.current) > resolution


def measures_above(reading: Reading, level: float) -> bool:
    """True if the magnitude of the measured voltage is above that of a level (V) by more than it may be wrong by."""
    return reading.voltage is not None and abs(reading.voltage) > abs(level) * (1 + _ACCURACY) + _OFFSET


def measures_more_current(reading: Reading, level: float, resolution: float) -> bool:
    """True if the magnitude of the measured current is above that of a level (A) by more than it may be wrong by.

    :param resolution: of the current (A)
    """
    return reading.current is not None and abs(reading.current) > abs(level) * (1 + _ACCURACY) + resolution

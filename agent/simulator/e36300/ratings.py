"""The outputs of each model, and the words for what an output does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Trip = Literal["OVP", "OCP", "OTP"]
Mode = Literal["CV", "CC", "UR", "OFF"]
Quantity = Literal["voltage", "current", "protection"]
Pairing = Literal["OFF", "PAR", "SER"]
"""Outputs 2 and 3 on their own, in parallel or in series."""

Inhibit = Literal["OFF", "LIVE", "LATC"]
"""Ignore the signal, follow it, or stay off after it until the protection is cleared."""

PROTECTION_MIN: Final = 0.5
"""V, the lowest over-voltage protection level of every output."""

DECIMALS: Final = 3
"""Of volts and amperes that are set."""


@dataclass(frozen=True, slots=True)
class OutputRating:
    """The range of one output, in V and A. After libsigrok's table, read from an E36312A with ``VOLT? MAX`` and ``CURR? MIN``."""

    name: str
    voltage_max: float
    current_rating: float
    current_max: float
    current_min: float
    protection_max: float
    sign: int = 1


_P6V_5A = OutputRating("P6V", 6.18, 5.0, 5.15, 0.002, 6.6)
_P25V_1A = OutputRating("P25V", 25.75, 1.0, 1.03, 0.001, 27.5)
_N25V_1A = OutputRating("N25V", 25.75, 1.0, 1.03, 0.001, 27.5)
_MINUS_25V_1A = OutputRating("N25V", 25.75, 1.0, 1.03, 0.001, 27.5, sign=-1)
_P6V_10A = OutputRating("P6V", 6.18, 10.0, 10.3, 0.002, 6.6)
_P25V_2A = OutputRating("P25V", 25.75, 2.0, 2.06, 0.001, 27.5)
_N25V_2A = OutputRating("N25V", 25.75, 2.0, 2.06, 0.001, 27.5)

MODELS: Final[Mapping[str, tuple[OutputRating, ...]]] = {
    "E36311A": (_P6V_5A, _P25V_1A, _MINUS_25V_1A),
    "E36312A": (_P6V_5A, _P25V_1A, _N25V_1A),
    "E36313A": (_P6V_10A, _P25V_2A, _N25V_2A),
}
"""Outputs have the names that INSTrument:SELect takes; on E36312A and E36313A, N25V is a positive output too."""

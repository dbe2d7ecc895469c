"""The models, their scales, and where the registers stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Map:
    """The registers of a series. ``power_up``: 1 for an output that comes back by itself."""

    voltage_set: int
    current_set: int
    voltage: int
    current: int
    power: int
    input_voltage: int
    keypad_lock: int
    protection: int
    mode: int
    output: int
    ovp: int
    ocp: int
    power_up: int


@dataclass(frozen=True, slots=True)
class ModelData:
    """One model: its signature, V, A, and how often a V and an A are counted. ``has_ranges``: its ampere by its range."""

    map: Map
    signature: int
    volts: float
    amps: float
    per_volt: int
    per_amp: int
    has_ranges: bool = False


RD_MAP: Final = Map(8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 82, 83, 68)
DPS_MAP: Final = Map(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 82, 83, 87)
#: Registers of the RD60xx alone.
SERIAL_HIGH, SERIAL_LOW, FIRMWARE, TEMPERATURE, RANGE = 1, 2, 3, 5, 20
CALIBRATION, SYSTEM = range(54, 63), 256
#: Registers of the DPS alone.
MODEL, VERSION = 11, 12

MODELS: Final[Mapping[str, ModelData]] = {
    "RD6006": ModelData(RD_MAP, 60062, 60, 6, 100, 1000),
    "RD6006P": ModelData(RD_MAP, 60065, 60, 6, 1000, 10000),
    "RD6012": ModelData(RD_MAP, 60121, 60, 12, 100, 100),
    "RD6012P": ModelData(RD_MAP, 60125, 60, 12, 1000, 1000, has_ranges=True),
    "RD6018": ModelData(RD_MAP, 60181, 60, 18, 100, 100),
    "RD6024": ModelData(RD_MAP, 60241, 60, 24, 100, 100),
    "DPS3005": ModelData(DPS_MAP, 3005, 30, 5, 100, 1000),
    "DPS5005": ModelData(DPS_MAP, 5005, 50, 5, 100, 1000),
    "DPH5005": ModelData(DPS_MAP, 5205, 50, 5, 100, 1000),
    "DPS5015": ModelData(DPS_MAP, 5015, 50, 15, 100, 100),
    "DPS5020": ModelData(DPS_MAP, 5020, 50, 20, 100, 100),
    "DPS8005": ModelData(DPS_MAP, 8005, 80, 5, 100, 1000),
}

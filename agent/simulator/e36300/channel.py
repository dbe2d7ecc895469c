"""One output: its settings, the load connected to it, its operating point and its trips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.simulator.e36300.ratings import Mode, OutputRating, Trip
from agent.simulator.instrument import StatusRegister
from agent.simulator.loads import Load, Open

ALL_BITS: Final = 32767
"""Every bit of a status register."""

_MODE_BITS: Final[Mapping[Mode, int]] = {"CC": 1, "CV": 2, "UR": 0, "OFF": 0}
_TRIP_BITS: Final[Mapping[Trip, int]] = {"OVP": 1 << 9, "OCP": 1 << 10, "OTP": 1 << 4}


@dataclass(slots=True)
class Settings:
    """The settings of one output that ``*RST`` resets and ``*SAV`` saves. V without their sign, A, s."""

    voltage: float
    current: float
    voltage_triggered: float
    current_triggered: float
    protection: float
    voltage_step: float = 0.1
    current_step: float = 0.1
    protection_enabled: bool = True
    current_protection: bool = False
    current_protection_delay: float = 0.0
    current_protection_start: str = "SCH"
    voltage_mode: str = "FIX"
    current_mode: str = "FIX"
    sense: str = "INT"
    rise_delay: float = 0.0
    fall_delay: float = 0.0
    output: bool = False

    @classmethod
    def of(cls, rating: OutputRating) -> Settings:
        """The settings after ``*RST``."""
        return cls(0.0, rating.current_rating, 0.0, rating.current_rating, rating.protection_max)


@dataclass(slots=True)
class SimulatedChannel:
    """One output with its load. Volts are without their sign; times are the instrument's, in s."""

    number: int
    rating: OutputRating
    settings: Settings
    load: Load = field(default_factory=Open)
    trip: Trip | None = None
    restore: bool = False  # the output was on when it tripped
    voltage: float = 0.0  # at the terminals
    current: float = 0.0
    mode: Mode = "OFF"
    changed_at: float = 0.0
    limiting_since: float | None = None
    switched_at: float = float("-inf")
    initiated: bool = False
    inhibited: bool = False  # disabled by a signal at the digital port
    status: StatusRegister = field(default_factory=lambda: StatusRegister(ALL_BITS))

    @property
    def output(self) -> bool:
        """The output is switched on and not disabled by a trip or a signal."""
        return self.settings.output and self.trip is None and not self.inhibited

    def advance(self, now: float) -> None:
        """Find the operating point at ``now``, and trip where a protection's condition is met."""
        settings = self.settings
        delay = settings.rise_delay if settings.output else settings.fall_delay
        live = settings.output if now >= self.switched_at + delay else not settings.output
        if not live or self.trip is not None or self.inhibited:
            self.voltage = self.current = 0.0
            self.mode, self.limiting_since = "OFF", None
        else:
            self.voltage, self.current, self.mode = self.load.operating_point(settings.voltage, settings.current, now)
            self._protect(now)
        condition = _TRIP_BITS[self.trip] if self.trip else 0
        self.status.update(condition | _MODE_BITS[self.mode])

    def trip_by(self, cause: Trip) -> None:
        """Latch a trip: the output is disabled until it is cleared."""
        self.restore = self.settings.output
        self.trip = cause
        self.voltage = self.current = 0.0
        self.mode, self.limiting_since = "OFF", None

    def clear_trip(self, *, restore: bool) -> None:
        """End a trip. With ``restore`` the output is switched on again if it was on before."""
        self.trip = None
        self.settings.output = self.restore and restore
        self.switched_at = float("-inf")

    def reset(self, now: float) -> None:
        """``*RST``: settings as after power-on, no trip. The load stays connected."""
        self.settings = Settings.of(self.rating)
        self.trip, self.restore, self.initiated, self.inhibited = None, False, False, False
        self.changed_at, self.limiting_since, self.switched_at = now, None, float("-inf")

    def _protect(self, now: float) -> None:
        settings = self.settings
        if settings.protection_enabled and self.voltage > settings.protection + 1e-9:
            self.trip_by("OVP")
        elif self.mode != "CC":
            self.limiting_since = None
        elif settings.current_protection:
            if self.limiting_since is None:
                self.limiting_since = now
            start = self.changed_at if settings.current_protection_start == "SCH" else self.limiting_since
            if now - start >= settings.current_protection_delay:
                self.trip_by("OCP")

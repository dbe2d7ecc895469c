"""Outputs with loads on them, for supplies of any language: settings, switches, operating points and trips."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from agent.simulator.base import Instrument
from agent.simulator.loads import Load, Open
from agent.simulator.scpi import ScpiError

Trip = Literal["OVP", "OCP", "OTP"]
Mode = Literal["CV", "CC", "UR", "OFF"]

TOLERANCE: Final = 1e-9
"""V or A by which two values may differ and be the same."""


@dataclass(frozen=True, slots=True)
class Rating:
    """One output as its manual describes it, in V and A without sign, and its settings after power-on.

    ``voltage_max``, ``current_max``: of the settings. ``ovp_max``, ``ocp_max``: of the protection levels; None: it has none.
    ``power_max``: W that it gives at most, at a voltage and a current below both settings then, which is neither CV nor CC.
    """

    voltage_max: float
    current_max: float
    ovp_max: float | None = None
    ocp_max: float | None = None
    name: str = ""
    sign: int = 1
    current: float = 0.0
    current_min: float = 0.0
    protection_min: float = 0.0
    power_max: float | None = None


@dataclass(slots=True)
class Output:
    """One output. Volts are without their sign. ``trips_in_cc``: an electronic fuse, which trips instead of limiting."""

    number: int
    rating: Rating
    load: Load = field(default_factory=Open)
    voltage_set: float = 0.0
    current_set: float = 0.0
    on: bool = False
    ovp_level: float = 0.0
    ovp_on: bool = False
    ocp_level: float = 0.0
    ocp_on: bool = False
    trips_in_cc: bool = False
    trip: Trip | None = None
    was_on: bool = False  # when it tripped
    voltage: float = 0.0  # at the terminals
    current: float = 0.0
    mode: Mode = "OFF"

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Settings as after power-on, off, no trip. The load stays connected."""
        rating = self.rating
        self.voltage_set, self.current_set, self.on = 0.0, rating.current, False
        self.ovp_level, self.ovp_on = rating.ovp_max or 0.0, False
        self.ocp_level, self.ocp_on = rating.ocp_max or 0.0, False
        self.trips_in_cc, self.trip, self.was_on = False, None, False

    def advance(self, now: float, live: bool) -> None:
        """Find the operating point at ``now`` s, and trip where a protection's condition is met."""
        if live and self.trip is None:
            self.voltage, self.current, self.mode = self._operating_point(now)
            if self.ovp_on and self.voltage > self.ovp_level + TOLERANCE:
                self.trip = "OVP"
            elif (self.ocp_on and self.current > self.ocp_level + TOLERANCE) or (
                self.trips_in_cc and self.mode == "CC"
            ):
                self.trip = "OCP"
        if not live or self.trip is not None:
            self.voltage = self.current = 0.0
            self.mode = "OFF"

    def _operating_point(self, now: float) -> tuple[float, float, Mode]:
        point = self.load.operating_point(self.voltage_set, self.current_set, now)
        most = self.rating.power_max
        if most is None or point.voltage * point.current <= most + TOLERANCE:
            return point
        low, high = 0.0, point.voltage
        for _ in range(60):
            middle = (low + high) / 2
            point = self.load.operating_point(middle, self.current_set, now)
            low, high = (low, middle) if point.voltage * point.current > most else (middle, high)
        return point.voltage, point.current, "UR"

    def clear_trip(self, *, restore: bool) -> None:
        """End a trip. With ``restore`` the output is switched on again if it was on before."""
        if self.trip is not None:
            self.trip = None
            self.on = self.was_on and restore


class Supply(Instrument):
    """A supply with outputs, without its language. ``outputs[1]`` is output 1. Options not here are the language's.

    :param loads: the load of each output; nothing is connected to the others
    :param noise: readings flicker in their last digits, by the random numbers of ``seed``
    :raises ValueError: the model is not known
    :raises KeyError: a load is on an output that isn't there
    """

    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {}
    manufacturer: ClassVar[str] = ""
    serial_form: ClassVar[str] = "{}"
    """A serial number of the series, by a number of eight digits."""
    transports: ClassVar[frozenset[str]] = frozenset({"socket", "vxi11", "serial"})
    """The transports of the real one, of ``socket``, ``vxi11``, ``hislip`` and ``serial``."""
    off_by_trip: ClassVar[bool] = True
    """A trip opens the output's switch, so that it stays off when the trip is cleared."""

    def __init__(
        self,
        model: str,
        *,
        serial: str,
        loads: Mapping[int, Load] | None = None,
        noise: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if model not in self.models:
            raise ValueError(f"no such model to simulate: {model!r}; there are {', '.join(self.models)}")
        super().__init__(**options)
        self.model = model
        self.serial = serial
        self.outputs = {number: Output(number, rating) for number, rating in enumerate(self.models[model], 1)}
        for number, load in (loads or {}).items():
            self.outputs[number].load = load
        gauss = random.Random(seed).gauss
        self._noise: Callable[[float], float] = (lambda deviation: gauss(0.0, deviation)) if noise else _no_noise
        self.reset()

    # --- people at the bench, and events

    def set_load(self, channel: int, load: Load) -> None:
        """Connect another load to an output.

        :raises KeyError: there is no such output
        """
        with self.lock:
            self.outputs[channel].load = load
            self.advance()

    def trip(self, channel: int, cause: Trip) -> None:
        """Make a protection trip as if its condition had occurred and gone.

        :raises KeyError: there is no such output
        """
        with self.lock:
            output = self.outputs[channel]
            output.trip = cause
            self._tripped(output)
            self.advance()

    def turn(self, channel: int, voltage: float, current: float) -> None:
        """Set an output at the front panel to so many V (without sign) and A.

        :raises KeyError: there is no such output
        """
        with self.lock:
            self.outputs[channel].voltage_set, self.outputs[channel].current_set = voltage, current
            self.advance()

    def press_output(self, channel: int, on: bool) -> None:
        """Switch an output at the front panel, with all that its key reaches.

        :raises KeyError: there is no such output
        """
        with self.lock:
            self.switch([self.outputs[channel]], on)
            self.advance()

    # --- for the language

    def measured_voltage(self, output: Output, deviation: float = 0.0002) -> float:
        """V at the terminals with their sign, as the meter shows them."""
        return output.voltage * output.rating.sign + self._noise(deviation)

    def measured_current(self, output: Output, deviation: float = 0.0001) -> float:
        """A, as the meter shows them."""
        return output.current + self._noise(deviation)

    def switch(self, outputs: Iterable[Output], on: bool) -> None:
        """Switch outputs. An output that has tripped stays off."""
        for output in outputs:
            output.on = on and (output.trip is None or not self.off_by_trip)

    def is_live(self, output: Output) -> bool:
        """True if all switches between an output and its terminals are closed."""
        return output.on

    def reset(self) -> None:
        """Settings as after power-on."""
        for output in self.outputs.values():
            output.reset()

    def advance(self) -> None:
        """Bring every output up to the present time."""
        now = self.time
        for output in self.outputs.values():
            tripped = output.trip
            output.advance(now, self.is_live(output))
            if output.trip is not None and tripped is None:
                self._tripped(output)

    def _tripped(self, output: Output) -> None:
        output.was_on = output.on
        if self.off_by_trip:
            output.on = False


def within(value: float, low: float, high: float) -> float:
    """The value, to a tenth of a mV or mA.

    :raises ScpiError: -222, it is not between the two
    """
    if not low - TOLERANCE <= value <= high + TOLERANCE:
        raise ScpiError(-222)
    return round(value, 4)


def plain(value: float, places: int) -> str:
    """A number with so many decimals, and never a minus sign before zero."""
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _no_noise(_deviation: float) -> float:
    return 0.0

"""One unit: its registers over an output with a load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from agent.simulator.base import Framing
from agent.simulator.riden.frames import check_sum, cut_rtu, sealed
from agent.simulator.riden.registers import (
    DPS_MAP,
    FIRMWARE,
    MODEL,
    MODELS,
    RANGE,
    SERIAL_HIGH,
    SERIAL_LOW,
    TEMPERATURE,
    VERSION,
)
from agent.simulator.supply import TOLERANCE, Output, Rating, Supply

_READ, _WRITE, _WRITE_MANY = 3, 6, 16
_ILLEGAL_FUNCTION, _ILLEGAL_VALUE = 1, 3
_PROTECTION = {None: 0, "OVP": 1, "OCP": 2, "OTP": 0}
_LOW_RANGE, _LOW_RANGE_AMPS, _LOW_RANGE_PER_AMP = 0, 6.0, 10000
#: One that the firmware answers at once; it is silent where more are asked for.
_MOST_REGISTERS = 42


class _IllegalValueError(Exception):
    """The number of a setting is out of its range."""


def _ratings(*names: str) -> dict[str, tuple[Rating, ...]]:
    found = {name: data for name, data in MODELS.items() if name.startswith(names)}
    return {
        name: (Rating(data.volts, data.amps, ovp_max=data.volts + 2, ocp_max=data.amps * 1.02, current=1.0),)
        for name, data in found.items()
    }


class Riden(Supply):
    """A unit of an RD60xx model. A message is a frame without its check sum, an answer a whole frame.

    ``written``: the registers and numbers that were written, in their order, refused ones too. ``is_silent``: it answers nothing.

    :param serial: digits
    :param address: its Modbus address
    :param signature: the number that tells the model, instead of the model's own
    """

    manufacturer = "Riden"
    framing = Framing(message_end=b"", answer_end=b"", cut=cut_rtu)
    port = 8080  # of the program that the Wi-Fi module connects to
    transports = frozenset({"socket", "serial"})
    serial_form = "{}"
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = _ratings("RD")

    def __init__(
        self,
        model: str = "RD6006",
        *,
        serial: str = "23001",
        address: int = 1,
        signature: int | None = None,
        comes_back: bool = False,
        current_range: int = 1,
        **others: Any,
    ) -> None:
        if model not in self.models:
            raise ValueError(f"no such model to simulate: {model!r}; there are {', '.join(self.models)}")
        self._data = MODELS[model]
        self.address = address
        self.signature = self._data.signature if signature is None else signature
        self.comes_back = comes_back
        self.current_range = current_range
        self.is_silent = False
        self.is_locked = False
        self.written: list[tuple[int, int]] = []
        self._others: dict[int, int] = {}
        super().__init__(model, serial=serial, **others)

    @property
    def output(self) -> Output:
        """Its one output."""
        return self.outputs[1]

    def reset(self) -> None:
        """As after power-on: both protections act always."""
        super().reset()
        self.output.ovp_on = self.output.ocp_on = True

    def power_cycle(self) -> None:
        """Mains off and on: the settings stay, and the output is on again where it is set to come back."""
        with self.lock:
            self.output.on = self.output.on and self.comes_back
            self.output.trip = None
            self.advance()

    def choose_range(self, number: int) -> None:
        """Put an RD6012P into its 6 A range (0) or its 12 A range (1) at the panel."""
        with self.lock:
            self.current_range = number
            if number == _LOW_RANGE:
                self.output.current_set = min(self.output.current_set, _LOW_RANGE_AMPS)
            self.advance()

    # --- frames

    def respond(self, message: str) -> str | None:
        """Carry out a request, if it is for this unit."""
        answer = self.answer(message.encode("latin-1"))
        return None if answer is None else answer.decode("latin-1")

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a request without its check sum; None if it is for another unit, or none is given."""
        if request[0] != self.address or self.is_silent:
            return None
        function, first, value = request[1], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        try:
            if function == _READ:
                if value > _MOST_REGISTERS:
                    return None
                numbers = b"".join(self.read(first + n).to_bytes(2, "big") for n in range(value))
                return sealed(request[:2] + bytes([len(numbers)]) + numbers)
            if function == _WRITE:
                self.write(first, value)
                return request + check_sum(request)
            if function == _WRITE_MANY:
                for n in range(value):
                    self.write(first + n, int.from_bytes(request[7 + 2 * n : 9 + 2 * n], "big"))
                return sealed(request[:6])
        except _IllegalValueError:
            return sealed(bytes([self.address, function | 0x80, _ILLEGAL_VALUE]))
        return sealed(bytes([self.address, function | 0x80, _ILLEGAL_FUNCTION]))

    # --- registers

    @property
    def per_amp(self) -> int:
        """How often an A is counted at present."""
        return _LOW_RANGE_PER_AMP if self._data.has_ranges and self.current_range == _LOW_RANGE else self._data.per_amp

    def read(self, register: int) -> int:
        """The number in a register."""
        readers = {**self._identity(), **self._values()}
        reader = readers.get(register)
        return self._others.get(register, 0) if reader is None else max(0, min(0xFFFF, reader()))

    def _identity(self) -> dict[int, Callable[[], int]]:
        if self._data.map is DPS_MAP:
            return {MODEL: lambda: self.signature, VERSION: lambda: 17}
        number = int(self.serial or 0)
        return {
            0: lambda: self.signature,
            SERIAL_HIGH: lambda: number >> 16,
            SERIAL_LOW: lambda: number & 0xFFFF,
            FIRMWARE: lambda: 142,
            TEMPERATURE: lambda: 27,
            RANGE: lambda: self.current_range if self._data.has_ranges else 0,
        }

    def _values(self) -> dict[int, Callable[[], int]]:
        where, output, data = self._data.map, self.output, self._data
        return {
            where.voltage_set: lambda: round(output.voltage_set * data.per_volt),
            where.current_set: lambda: round(output.current_set * self.per_amp),
            where.voltage: lambda: round(self.measured_voltage(output) * data.per_volt),
            where.current: lambda: round(self.measured_current(output) * self.per_amp),
            where.power: lambda: round(output.voltage * output.current * 100),
            where.input_voltage: lambda: 6500,
            where.keypad_lock: lambda: int(self.is_locked),
            where.protection: lambda: _PROTECTION[output.trip],
            where.mode: lambda: int(output.mode == "CC"),
            where.output: lambda: int(output.on),
            where.ovp: lambda: round(output.ovp_level * data.per_volt),
            where.ocp: lambda: round(output.ocp_level * self.per_amp),
            where.power_up: lambda: int(self.comes_back),
        }

    def write(self, register: int, number: int) -> None:
        """Write a number into a register.

        :raises _IllegalValueError: it is no value of that setting
        """
        self.written.append((register, number))
        where, output, rating = self._data.map, self.output, self.output.rating
        if register == where.voltage_set:
            output.voltage_set = _within(number / self._data.per_volt, rating.voltage_max)
        elif register == where.current_set:
            is_low = self._data.has_ranges and self.current_range == _LOW_RANGE
            output.current_set = _within(number / self.per_amp, _LOW_RANGE_AMPS if is_low else rating.current_max)
        elif register == where.ovp:
            output.ovp_level = _within(number / self._data.per_volt, rating.ovp_max or 0.0)
        elif register == where.ocp:
            output.ocp_level = _within(number / self.per_amp, rating.ocp_max or 0.0)
        elif register == where.output:
            if number:
                output.trip = None
            output.on = bool(number)
        elif register == where.keypad_lock:
            self.is_locked = bool(number)
        elif register == where.power_up:
            self.comes_back = bool(number)
        else:
            self._others[register] = number
        self.advance()


def _within(value: float, most: float) -> float:
    if value > most + TOLERANCE:
        raise _IllegalValueError
    return value


class DPS(Riden):
    """A unit of a DPS or DPH model, which tells no serial number."""

    manufacturer = "RDTech"
    transports = frozenset({"serial"})
    serial_form = ""
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = _ratings("DP")

    def __init__(self, model: str = "DPS5005", *, serial: str = "", **others: Any) -> None:
        super().__init__(model, serial=serial, **others)

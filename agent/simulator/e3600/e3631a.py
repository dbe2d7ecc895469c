"""The E3631A: three named outputs, one switch for all of them, no protection at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from agent.simulator.e3600.common import (
    COMMANDS,
    E3600,
    LIMIT,
    LIMITS,
    MODE_BITS,
    level,
    number,
)
from agent.simulator.instrument import StatusRegister
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, Numeric
from agent.simulator.supply import Output, Rating

_NAMES: Final = ("P6V", "P25V", "N25V")
_NAME: Final = Choice(*_NAMES, optional=True)
_VOLTS, _AMPS = Numeric("V", LIMITS), Numeric("A", LIMITS)
_P25V, _N25V = 2, 3


def _named(supply: E3631A, name: str | None) -> Output:
    return supply.selected_output if name is None else supply.outputs[_NAMES.index(name) + 1]


def _voltage(output: Output, value: float | str) -> float:
    """A voltage without sign. For N25V MAX is -25.75, and a setting without a minus sign is refused."""
    signed = value if isinstance(value, str) else value * output.rating.sign
    return level(signed, 0.0, output.rating.voltage_max)


def _set_voltage(supply: E3631A, call: Call) -> None:
    supply.set_voltage(supply.selected_output, _voltage(supply.selected_output, call.arguments[0]))


def _read_voltage(supply: E3631A, call: Call) -> str:
    output, word = supply.selected_output, call.arguments[0]
    return number((output.voltage_set if word is None else _voltage(output, word)) * output.rating.sign)


def _set_current(supply: E3631A, call: Call) -> None:
    output = supply.selected_output
    output.current_set = level(call.arguments[0], 0.0, output.rating.current_max)


def _read_current(supply: E3631A, call: Call) -> str:
    output, word = supply.selected_output, call.arguments[0]
    return number(output.current_set if word is None else level(word, 0.0, output.rating.current_max))


def _apply(supply: E3631A, call: Call) -> None:
    """Set an output, and select it. Both levels are checked before either is set."""
    name, volts, amps = call.arguments
    output = _named(supply, name)
    wanted_volts = None if volts is None else _voltage(output, volts)
    if amps is not None:
        output.current_set = level(amps, 0.0, output.rating.current_max)
    supply.selected = output.number
    if wanted_volts is not None:
        supply.set_voltage(output, wanted_volts)


def _read_applied(supply: E3631A, call: Call) -> str:
    output = _named(supply, call.arguments[0])
    return f'"{output.voltage_set * output.rating.sign + 0.0:.6f},{output.current_set:.6f}"'


def _select(supply: E3631A, call: Call) -> None:
    supply.selected = _NAMES.index(call.arguments[0]) + 1


def _track(supply: E3631A, call: Call) -> None:
    supply.tracking = call.arguments[0]
    if supply.tracking:
        supply.set_voltage(supply.outputs[_P25V], supply.outputs[_P25V].voltage_set)


def _register(supply: E3631A, call: Call) -> StatusRegister:
    return supply.summaries[call.suffix]


_SUMMARY: Final = "STATus:QUEStionable:INSTrument:ISUMmary<3>"
_COMMANDS: Final[tuple[Command, ...]] = (
    *COMMANDS,
    Command(
        "APPLy",
        _apply,
        _read_applied,
        (Choice(*_NAMES), Numeric("V", LIMITS, optional=True), Numeric("A", LIMITS, optional=True)),
        (_NAME,),
    ),
    Command("INSTrument[:SELect]", _select, lambda s, _: _NAMES[s.selected - 1], (Choice(*_NAMES),)),
    Command(
        "MEASure[:SCALar][:VOLTage][:DC]",
        None,
        lambda s, call: number(s.measured_voltage(_named(s, call.arguments[0]))),
        (),
        (_NAME,),
    ),
    Command(
        "MEASure[:SCALar]:CURRent[:DC]",
        None,
        lambda s, call: number(s.measured_current(_named(s, call.arguments[0]))),
        (),
        (_NAME,),
    ),
    Command("OUTPut:TRACk[:STATe]", _track, lambda s, _: str(int(s.tracking)), (Boolean(),)),
    Command("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]", _set_voltage, _read_voltage, (_VOLTS,), LIMIT),
    Command("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]", _set_current, _read_current, (_AMPS,), LIMIT),
    Command(f"{_SUMMARY}[:EVENt]", None, lambda s, call: f"{_register(s, call).read_event():+d}"),
    Command(f"{_SUMMARY}:CONDition", None, lambda s, call: f"{_register(s, call).condition:+d}"),
    Command(
        f"{_SUMMARY}:ENABle",
        lambda s, call: setattr(_register(s, call), "enable", call.arguments[0]),
        lambda s, call: f"{_register(s, call).enable:+d}",
        (Integer(0, 32767),),
    ),
)


class E3631A(E3600):
    """The supply. Options that are not here are those of `E3600`."""

    manufacturer = "HEWLETT-PACKARD"
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {
        "E3631A": (
            Rating(6.18, 5.15, name="P6V", current=5.0),
            Rating(25.75, 1.03, name="P25V", current=1.0),
            Rating(25.75, 1.03, name="N25V", sign=-1, current=1.0),
        )
    }
    commands: ClassVar[tuple[Command, ...]] = _COMMANDS

    def __init__(self, model: str = "E3631A", *, firmware: str = "3.2-6.0-2.0", **others: Any) -> None:
        self.summaries = {number: StatusRegister() for number in (1, 2, 3)}
        super().__init__(model, firmware=firmware, **others)

    def set_voltage(self, output: Output, volts: float) -> None:
        """Set an output (without sign), and the one that tracks it."""
        output.voltage_set = volts
        if self.tracking and output.number in (_P25V, _N25V):
            self.outputs[_P25V].voltage_set = self.outputs[_N25V].voltage_set = volts

    def advance(self) -> None:
        """Bring every output and the status registers up to the present time."""
        super().advance()
        for index, output in self.outputs.items():
            self.summaries[index].update(MODE_BITS[output.mode])

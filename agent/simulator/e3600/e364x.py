"""The E3640A to E3649A: two ranges of each output, and a trip that looks healthy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

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
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, Numeric, ScpiError
from agent.simulator.supply import Output, Rating

_VOLTS, _AMPS = Numeric("V", LIMITS), Numeric("A", LIMITS)
_OVER_VOLTAGE: Final = 1 << 9
_INSTRUMENTS: Final = 1 << 13
_LEAST_PROTECTION: Final = 1.0


class Range(NamedTuple):
    """One range of an output: its name, and the greatest settings in it (V, A)."""

    name: str
    voltage: float
    current: float


def _low_voltage(low: float, high: float) -> tuple[Range, Range]:
    return Range("P8V", 8.24, low), Range("P20V", 20.6, high)


def _high_voltage(low: float, high: float) -> tuple[Range, Range]:
    return Range("P35V", 36.05, low), Range("P60V", 61.8, high)


_SINGLE: Final[Mapping[str, tuple[Range, Range]]] = {
    "E3640A": _low_voltage(3.09, 1.545),
    "E3641A": _high_voltage(0.824, 0.515),
    "E3642A": _low_voltage(5.15, 2.575),
    "E3643A": _high_voltage(1.442, 0.824),
    "E3644A": _low_voltage(8.24, 4.12),
    "E3645A": _high_voltage(2.266, 1.339),
}
_DUAL: Final[Mapping[str, tuple[Range, Range]]] = {
    "E3646A": _low_voltage(3.09, 1.545),
    "E3647A": _high_voltage(0.824, 0.515),
    "E3648A": _low_voltage(5.15, 2.575),
    "E3649A": _high_voltage(1.442, 0.824),
}
RANGES: Final[Mapping[str, tuple[Range, Range]]] = {**_SINGLE, **_DUAL}
"""The lower and the higher range of the outputs of each model."""


def _rating(model: str) -> Rating:
    low, high = RANGES[model]
    return Rating(high.voltage, low.current, 22.0 if high.name == "P20V" else 66.0, current=low.current)


# --- levels


def _set_voltage(supply: E364X, call: Call) -> None:
    """Settings are checked against the higher range's voltage, whichever range is on (seen on units)."""
    output = supply.selected_output
    word = call.arguments[0]
    highest = supply.present(output).voltage if isinstance(word, str) else output.rating.voltage_max
    supply.set_voltage(output, level(word, 0.0, highest))


def _set_current(supply: E364X, call: Call) -> None:
    output = supply.selected_output
    output.current_set = level(call.arguments[0], 0.0, supply.present(output).current)


def _set_protection(supply: E364X, call: Call) -> None:
    output = supply.selected_output
    output.ovp_level = level(call.arguments[0], _LEAST_PROTECTION, output.rating.ovp_max or 0.0)


def _read_voltage(supply: E364X, call: Call) -> str:
    output, word = supply.selected_output, call.arguments[0]
    return number(output.voltage_set if word is None else level(word, 0.0, supply.present(output).voltage))


def _read_current(supply: E364X, call: Call) -> str:
    output, word = supply.selected_output, call.arguments[0]
    return number(output.current_set if word is None else level(word, 0.0, supply.present(output).current))


def _read_protection(supply: E364X, call: Call) -> str:
    output, word = supply.selected_output, call.arguments[0]
    return number(output.ovp_level if word is None else level(word, _LEAST_PROTECTION, output.rating.ovp_max or 0.0))


def _apply(supply: E364X, call: Call) -> None:
    output, (volts, amps) = supply.selected_output, call.arguments
    highest = output.rating.voltage_max
    wanted = level(volts, 0.0, highest)
    if amps is not None:
        output.current_set = level(amps, 0.0, supply.present(output).current)
    supply.set_voltage(output, wanted)


def _set_range(supply: E364X, call: Call) -> None:
    word = call.arguments[0]
    low, high = RANGES[supply.model]
    ranges = {"LOW": low, low.name: low, "HIGH": high, high.name: high}
    if word not in ranges:
        raise ScpiError(-224)
    supply.set_range(supply.selected_output, ranges[word])


# --- status


def _tripped(supply: E364X, _call: Call) -> str:
    return str(int(supply.selected_output.trip == "OVP"))


def _clear(supply: E364X, _call: Call) -> None:
    """The guide: the output has its voltage back as before the trip."""
    supply.selected_output.trip = None


def _dual(supply: E364X) -> None:
    if not supply.is_dual:
        raise ScpiError(-113)


def _read_tracking(supply: E364X, _call: Call) -> str:
    _dual(supply)
    return str(int(supply.tracking))


def _track(supply: E364X, call: Call) -> None:
    _dual(supply)
    supply.tracking = call.arguments[0]
    if supply.tracking:
        supply.set_voltage(supply.outputs[1], supply.outputs[1].voltage_set)


def _read_summary(supply: E364X, call: Call) -> str:
    """0 until the registers were enabled once (seen on an E3648A)."""
    _dual(supply)
    register = supply.summaries.get(call.suffix)
    if register is None:
        raise ScpiError(-114)
    return f"{register.condition if supply.armed & 1 << call.suffix and register.enable else 0:+d}"


def _enable_summary(supply: E364X, call: Call) -> None:
    _dual(supply)
    supply.summaries[call.suffix].enable = call.arguments[0]


def _arm(supply: E364X, call: Call) -> None:
    _dual(supply)
    supply.armed = call.arguments[0]


_WORDS: Final = Choice("P8V", "P20V", "P35V", "P60V", "LOW", "HIGH")
_OUTPUTS: Final = Choice("OUT1", "OUT2", "OUTP1", "OUTP2", "OUTPUT1", "OUTPUT2")
_INSTRUMENT: Final = "STATus:QUEStionable:INSTrument"
_COMMANDS: Final[tuple[Command, ...]] = (
    *COMMANDS,
    Command(
        "APPLy",
        _apply,
        lambda s, _: f'"{s.selected_output.voltage_set:.5f},{s.selected_output.current_set:.5f}"',
        (_VOLTS, Numeric("A", LIMITS, optional=True)),
    ),
    Command(
        "INSTrument[:SELect]",
        lambda s, call: s.choose(int(call.arguments[0][-1])),
        lambda s, _: f"OUTP{s.selected}",
        (_OUTPUTS,),
    ),
    Command("MEASure[:SCALar][:VOLTage][:DC]", None, lambda s, _: number(s.measured_voltage(s.selected_output))),
    Command("MEASure[:SCALar]:CURRent[:DC]", None, lambda s, _: number(s.measured_current(s.selected_output))),
    Command("OUTPut:TRACk[:STATe]", _track, _read_tracking, (Boolean(),)),
    Command("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]", _set_voltage, _read_voltage, (_VOLTS,), LIMIT),
    Command("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]", _set_current, _read_current, (_AMPS,), LIMIT),
    Command("[SOURce:]VOLTage:PROTection[:LEVel]", _set_protection, _read_protection, (_VOLTS,), LIMIT),
    Command(
        "[SOURce:]VOLTage:PROTection:STATe",
        lambda s, call: setattr(s.selected_output, "ovp_on", call.arguments[0]),
        lambda s, _: str(int(s.selected_output.ovp_on)),
        (Boolean(),),
    ),
    Command("[SOURce:]VOLTage:PROTection:TRIPped", None, _tripped),
    Command("[SOURce:]VOLTage:PROTection:CLEar", _clear),
    Command("[SOURce:]VOLTage:RANGe", _set_range, lambda s, _: s.present(s.selected_output).name, (_WORDS,)),
    Command(f"{_INSTRUMENT}:ENABle", _arm, lambda s, _: f"{s.armed:+d}", (Integer(0, 32767),)),
    Command(f"{_INSTRUMENT}:ISUMmary<2>:CONDition", None, _read_summary),
    Command(f"{_INSTRUMENT}:ISUMmary<2>:ENABle", _enable_summary, None, (Integer(0, 32767),)),
)


class E364X(E3600):
    """A supply of the series. Options that are not here are those of `E3600`."""

    manufacturer = "Agilent Technologies"
    off_by_trip = False
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {
        **{model: (_rating(model),) for model in _SINGLE},
        **{model: (_rating(model), _rating(model)) for model in _DUAL},
    }
    commands: ClassVar[tuple[Command, ...]] = _COMMANDS

    def __init__(self, model: str = "E3646A", *, firmware: str = "1.7-5.0-1.0", **others: Any) -> None:
        self.armed = 0
        self.summaries = {number: StatusRegister() for number in range(1, len(self.models.get(model, ())) + 1)}
        super().__init__(model, firmware=firmware, **others)

    @property
    def is_dual(self) -> bool:
        """It has two outputs."""
        return len(self.outputs) == 2

    def choose(self, output: int) -> None:
        """``INSTrument:SELect``."""
        _dual(self)
        self.selected = output

    def present(self, output: Output) -> Range:
        """The range that an output is in."""
        return self._ranges[output.number]

    def set_range(self, output: Output, wanted: Range) -> None:
        """Put an output into a range, which lowers settings that it does not have."""
        if wanted == self.present(output):
            return
        numbers = set(self.outputs) if self.tracking else {output.number}
        for index in numbers:
            self._ranges[index] = wanted
            changed = self.outputs[index]
            changed.voltage_set = min(changed.voltage_set, wanted.voltage)
            changed.current_set = min(changed.current_set, wanted.current)
        if self.is_dual:
            self.switch((), on=False)

    def set_voltage(self, output: Output, volts: float) -> None:
        """Set an output. While output 2 tracks output 1, its own settings have no effect."""
        if self.tracking:
            if output.number == 1:
                for follower in self.outputs.values():
                    follower.voltage_set = volts
        else:
            output.voltage_set = volts

    def reset(self) -> None:
        """``*RST``: the lower ranges, protection on at its highest level."""
        super().reset()
        self._ranges = dict.fromkeys(self.outputs, RANGES[self.model][0])
        for output in self.outputs.values():
            output.ovp_on = True

    def switch(self, outputs: Iterable[Output], on: bool) -> None:
        """Switch all outputs. A trip does not show in the switch."""
        super().switch(outputs, on)

    def advance(self) -> None:
        """Bring every output and the status registers up to the present time. A tripped output that is on says CV."""
        super().advance()
        summary = 0
        for index, output in self.outputs.items():
            condition = MODE_BITS["CV" if output.on and output.trip else output.mode]
            register = self.summaries[index]
            register.update(condition)
            register.event |= _OVER_VOLTAGE if output.trip == "OVP" else 0
            summary |= condition
        if self.is_dual:
            raised = any(register.event & register.enable for register in self.summaries.values())
            self.questionable.update(_INSTRUMENTS if raised else 0)
        else:
            self.questionable.update(summary)
            self.questionable.event |= _OVER_VOLTAGE if self.outputs[1].trip == "OVP" else 0

"""A supply of the series: its outputs, its two kinds of switches and its commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

from agent.simulator.instrument import ScpiInstrument
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, Numeric, ScpiError
from agent.simulator.scpi.tree import Handler
from agent.simulator.supply import TOLERANCE, Output, Rating, Supply, plain, within

_P32V_10A: Final = Rating(32.05, 10.01, 33.0, current=0.1, current_min=0.001)
_P32V_5A: Final = Rating(32.05, 5.01, 33.0, current=0.1, current_min=0.001)

_LIMITS: Final = ("MINimum", "MAXimum")
_LIMIT: Final = (Choice(*_LIMITS, optional=True),)
_MODE_BITS: Final = {"CC": 1, "CV": 2, "UR": 0, "OFF": 0}
_OVER_TEMPERATURE: Final = 1 << 4


def _selected(supply: HMP) -> Output:
    return supply.outputs[supply.selected]


def _setting(
    header: str, unit: str, attribute: str, places: int, limits: Callable[[Rating], tuple[float, float]]
) -> Command:
    """A level of the selected output. A minus sign is dropped without a word (seen on a unit)."""

    def level(rating: Rating, value: float | str) -> float:
        low, high = limits(rating)
        if isinstance(value, str):
            return high if value == "MAX" else low
        return within(abs(value), low, high)

    def change(supply: HMP, call: Call) -> None:
        output = _selected(supply)
        setattr(output, attribute, level(output.rating, call.arguments[0]))

    def read(supply: HMP, call: Call) -> str:
        output, word = _selected(supply), call.arguments[0]
        return plain(getattr(output, attribute) if word is None else level(output.rating, word), places)

    return Command(header, change, read, (Numeric(unit, _LIMITS),), _LIMIT)


def _apply(supply: HMP, call: Call) -> None:
    output, (volts, amps) = _selected(supply), call.arguments
    rating = output.rating
    # Both are checked before either is set.
    wanted = within(abs(volts), 0.0, rating.voltage_max)
    if amps is not None:
        output.current_set = within(abs(amps), rating.current_min, rating.current_max)
    output.voltage_set = wanted


def _switch_output(supply: HMP, call: Call) -> None:
    if supply.output_closes_master and call.arguments[0]:
        supply.master = True
    supply.switch([_selected(supply)], call.arguments[0])


def _read_output(supply: HMP, _call: Call) -> str:
    return str(int(_selected(supply).on and (supply.master or not supply.output_closes_master)))


def _summary(supply: HMP, call: Call) -> str:
    if call.suffix not in supply.outputs:
        raise ScpiError(-114)
    output = supply.outputs[call.suffix]
    return str(_MODE_BITS[output.mode] | (_OVER_TEMPERATURE if output.trip == "OTP" else 0))


def _select(supply: HMP, call: Call) -> None:
    argument = call.arguments[0]
    number = argument if isinstance(argument, int) else int(argument[-1])
    if number not in supply.outputs:
        raise ScpiError(-222)
    supply.selected = number


def _clear_over_voltage(supply: HMP, _call: Call) -> None:
    if _selected(supply).trip == "OVP":
        _selected(supply).clear_trip(restore=False)


def _remote(remote: bool, *, locked: bool) -> Handler:
    def change(supply: HMP, _call: Call) -> None:
        supply.remote, supply.locked = remote, locked

    return change


def _tripped(cause: str) -> Handler:
    return lambda supply, _: str(int(_selected(supply).trip == cause))


_NAMES: Final = Choice(*(f"{word}{number}" for word in ("OUT", "OUTP", "OUTPUT") for number in (1, 2, 3, 4)))
COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        "APPLy",
        _apply,
        lambda s, _: f"{plain(_selected(s).voltage_set, 3)},{plain(_selected(s).current_set, 4)}",
        (Numeric("V"), Numeric("A", optional=True)),
    ),
    Command(
        "FUSE[:STATe]",
        lambda s, call: setattr(_selected(s), "trips_in_cc", call.arguments[0]),
        lambda s, _: str(int(_selected(s).trips_in_cc)),
        (Boolean(),),
    ),
    Command("FUSE:TRIPped", None, _tripped("OCP")),
    Command(
        "FUSE:DELay",
        lambda s, call: s.fuse_delays.__setitem__(s.selected, call.arguments[0]),
        lambda s, _: str(s.fuse_delays[s.selected]),
        (Integer(0, 250),),
    ),
    Command("INSTrument[:SELect]", _select, lambda s, _: f"OUTP{s.selected}", (_NAMES,)),
    Command("INSTrument:NSELect", _select, lambda s, _: str(s.selected), (Integer(1, 4),)),
    Command("MEASure[:SCALar]:VOLTage[:DC]", None, lambda s, _: plain(s.measured_voltage(_selected(s)), 3)),
    Command("MEASure[:SCALar]:CURRent[:DC]", None, lambda s, _: plain(s.measured_current(_selected(s)), 4)),
    Command("OUTPut[:STATe]", _switch_output, _read_output, (Boolean(),)),
    Command(
        "OUTPut:SELect",
        lambda s, call: s.switch([_selected(s)], call.arguments[0]),
        lambda s, _: str(int(_selected(s).on)),
        (Boolean(),),
    ),
    Command(
        "OUTPut:GENeral",
        lambda s, call: setattr(s, "master", call.arguments[0]),
        lambda s, _: str(int(s.master)),
        (Boolean(),),
    ),
    _setting("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]", "V", "voltage_set", 3, lambda r: (0.0, r.voltage_max)),
    _setting(
        "[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]",
        "A",
        "current_set",
        4,
        lambda r: (r.current_min, r.current_max),
    ),
    _setting("[SOURce:]VOLTage:PROTection[:LEVel]", "V", "ovp_level", 3, lambda r: (0.0, r.ovp_max or 0.0)),
    Command(
        "[SOURce:]VOLTage:PROTection:MODE",
        lambda s, call: s.protection_modes.__setitem__(s.selected, call.arguments[0]),
        lambda s, _: "measured" if s.protection_modes[s.selected] == "MEAS" else "protected",
        (Choice("MEASured", "PROTected"),),
    ),
    Command("[SOURce:]VOLTage:PROTection:TRIPped", None, _tripped("OVP")),
    Command("[SOURce:]VOLTage:PROTection:CLEar", _clear_over_voltage),
    Command("STATus:QUEStionable:INSTrument:ISUMmary<4>:CONDition", None, _summary),
    Command("SYSTem:LOCal", _remote(False, locked=False)),
    Command("SYSTem:MIX", _remote(True, locked=False)),
    Command("SYSTem:REMote", _remote(True, locked=True)),
    Command("SYSTem:RWLock", _remote(True, locked=True)),
)


class HMP(Supply, ScpiInstrument):
    """A supply of the series. Options that are not here are those of `Supply` and `ScpiInstrument`.

    :param output_closes_master: ``OUTP 1`` closes the master switch too, and ``OUTP?`` looks at both
    :param empty_identity: the first ``*IDN?`` after power-on and after a connection is answered with an empty line
    """

    manufacturer = "ROHDE&SCHWARZ"
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {
        "HMP2020": (_P32V_10A, _P32V_5A),
        "HMP2030": (_P32V_5A,) * 3,
        "HMP4030": (_P32V_10A,) * 3,
        "HMP4040": (_P32V_10A,) * 4,
    }
    commands: ClassVar[tuple[Command, ...]] = COMMANDS

    def __init__(
        self,
        model: str = "HMP4040",
        *,
        serial: str = "120123",
        firmware: str = "HW50020003/SW2.70",
        output_closes_master: bool = False,
        empty_identity: bool = True,
        **others: Any,
    ) -> None:
        self.output_closes_master = output_closes_master
        self._empty_identity = empty_identity
        self._identity_is_due = empty_identity
        super().__init__(model, serial=serial, **others)
        self.identity = f"ROHDE&SCHWARZ,{model},{serial},{firmware}"

    def identify(self) -> str:
        """The answer to ``*IDN?``, empty where it is the first."""
        due, self._identity_is_due = self._identity_is_due, False
        return "" if due else self.identity

    def connected(self) -> None:
        """A client has opened a network connection."""
        self._identity_is_due = self._empty_identity

    def error_answer(self, number: int, text: str) -> str:
        """An error as the unit tells it: a blank behind the comma and no plus sign."""
        return f'{number}, "{text}"'

    def integer_answer(self, value: int) -> str:
        """A register's value: no plus sign."""
        return str(value)

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.selected = 1
        self.master = False
        self.remote = self.locked = False
        self.fuse_delays = dict.fromkeys(self.outputs, 0)
        self.protection_modes = dict.fromkeys(self.outputs, "MEAS")
        for output in self.outputs.values():
            output.ovp_on = True

    def is_live(self, output: Output) -> bool:
        """True if the output is armed and the master switch closed."""
        return output.on and self.master

    def switch(self, outputs: Iterable[Output], on: bool) -> None:
        """Arm outputs or disarm them."""
        chosen = list(outputs)
        for output in chosen:
            if on and output.trip == "OCP":
                output.clear_trip(restore=False)
        super().switch(chosen, on)
        self.advance()

    def press_output(self, channel: int, on: bool) -> None:
        """Arm an output at the front panel or disarm it, and close the master switch."""
        with self.lock:
            self.master = self.master or on
            super().press_output(channel, on)

    def advance(self) -> None:
        """Bring every output up to the present time. ``PROT`` trips by the setting, before it is at the terminals."""
        for output in self.outputs.values():
            by_setting = self.protection_modes[output.number] == "PROT"
            if by_setting and output.on and output.trip is None and output.voltage_set > output.ovp_level + TOLERANCE:
                self.trip(output.number, "OVP")
        super().advance()

"""A supply of the series: its outputs, its register and its commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from agent.simulator.base import Framing
from agent.simulator.instrument import ScpiInstrument
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, Numeric
from agent.simulator.scpi.tree import Handler
from agent.simulator.supply import Output, Rating, Supply, plain, within

_P32V_3A: Final = Rating(32.0, 3.2, current=3.2)
_THIRD: Final = Rating(5.0, 3.2, current=3.2)

_INDEPENDENT, _PARALLEL, _SERIES = 1, 2, 3
_TRACK_COMMANDS: Final = (_INDEPENDENT, _SERIES, _PARALLEL)  # by the number that OUTPut:TRACK takes


def _of_output(read: Any) -> Handler:
    """A handler of ``MEASure``, for the output that its argument names, or the selected one."""

    def handle(supply: SPD3303, call: Call) -> str:
        name = call.arguments[0]
        return plain(read(supply, supply.outputs[int(name[2:]) if name else supply.selected]), 3)

    return handle


def _set_voltage(supply: SPD3303, call: Call) -> None:
    output = supply.outputs[call.suffix]
    output.voltage_set = round(within(call.arguments[0], 0.0, output.rating.voltage_max), supply.places)
    supply.follow()


def _set_current(supply: SPD3303, call: Call) -> None:
    output = supply.outputs[call.suffix]
    output.current_set = round(within(call.arguments[0], 0.0, output.rating.current_max), supply.places)
    supply.follow()


def _switch(supply: SPD3303, call: Call) -> None:
    supply.switch([supply.outputs[int(call.arguments[0][2:])]], call.arguments[1])


def _track(supply: SPD3303, call: Call) -> None:
    supply.track = _TRACK_COMMANDS[call.arguments[0]]
    supply.follow()


def _lock(locked: bool) -> Handler:
    return lambda supply, _: setattr(supply, "locked", locked)


_READABLE: Final = (Choice("CH1", "CH2", optional=True),)
COMMANDS: Final[tuple[Command, ...]] = (
    Command("*LOCK", _lock(True)),
    Command("*UNLOCK", _lock(False)),
    Command("CH<2>:VOLTage", _set_voltage, lambda s, c: plain(s.outputs[c.suffix].voltage_set, 3), (Numeric("V"),)),
    Command("CH<2>:CURRent", _set_current, lambda s, c: plain(s.outputs[c.suffix].current_set, 3), (Numeric("A"),)),
    Command(
        "INSTrument",
        lambda s, c: setattr(s, "selected", int(c.arguments[0][2:])),
        lambda s, _: f"CH{s.selected}",
        (Choice("CH1", "CH2"),),
    ),
    Command("MEASure:VOLTage", None, _of_output(lambda s, o: s.measured_voltage(o)), (), _READABLE),
    Command("MEASure:CURRent", None, _of_output(lambda s, o: s.measured_current(o)), (), _READABLE),
    Command("MEASure:POWEr", None, _of_output(lambda _, o: o.voltage * o.current), (), _READABLE),
    Command("OUTPut", _switch, None, (Choice("CH1", "CH2", "CH3"), Boolean())),
    Command("OUTPut:TRACK", _track, None, (Integer(0, 2),)),
    Command("SYSTem:STATus", None, lambda s, _: s.status()),
)


class SPD3303(Supply, ScpiInstrument):
    """A supply of the series. Options that are not here are those of `Supply` and `ScpiInstrument`.

    :param third_voltage: V, of output 3, by the switch at its panel: 2.5, 3.3 or 5
    :param status_digits: the least number of digits of the register's answer; units with 2 and with 4 are met
    :param gap: s after a message in which another one is lost
    """

    manufacturer = "Siglent Technologies"
    serial_form = "SPD000{}"
    framing = Framing(quiet=0.02)  # a message without a line feed is carried out too
    transports = frozenset({"socket", "vxi11"})
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = dict.fromkeys(
        ("SPD3303X", "SPD3303X-E", "SPD3303C"), (_P32V_3A, _P32V_3A, _THIRD)
    )
    commands: ClassVar[tuple[Command, ...]] = COMMANDS
    identities: ClassVar[Mapping[str, str]] = {
        "SPD3303X": "Siglent Technologies,SPD3303X,{serial},1.01.01.01.02,V3.0",
        "SPD3303X-E": "Siglent Technologies,SPD3303X-E,{serial},1.01.01.03.12R1 V6.2",
        "SPD3303C": "Siglent Technologies,SPD3303C,{serial},1.02.01.01.03R2",
    }

    def __init__(
        self,
        model: str = "SPD3303X",
        *,
        serial: str = "SPD00001130025",
        third_voltage: float = 3.3,
        status_digits: int = 4,
        gap: float = 0.01,
        **others: Any,
    ) -> None:
        self._third_voltage = third_voltage
        self._status_digits = status_digits
        super().__init__(model, serial=serial, gap=gap, **others)
        self.places = 3 if model == "SPD3303X" else 2
        self.identity = self.identities[model].format(serial=serial)

    def respond(self, message: str) -> str | None:
        """Carry out a message up to its first question. Nothing tells that the rest was not."""
        units = message.split(";")
        question = next((n for n, unit in enumerate(units) if "?" in unit), len(units))
        return super().respond(";".join(units[: question + 1]))

    def error_answer(self, number: int, text: str) -> str:
        """An error as the manual shows it: neither comma nor quotes."""
        return f"{number}  {'No Error' if number == 0 else text}"

    def reset(self) -> None:
        """Settings as after power-on."""
        super().reset()
        self.selected = 1
        self.track = _INDEPENDENT
        self.locked = False
        self.outputs[3].voltage_set = self._third_voltage

    def switch(self, outputs: Iterable[Output], on: bool) -> None:
        """Switch outputs; in series and in parallel 1 and 2 together."""
        numbers = {output.number for output in outputs}
        if self.track != _INDEPENDENT and numbers & {1, 2}:
            numbers |= {1, 2}
        super().switch([self.outputs[number] for number in sorted(numbers)], on)

    def follow(self) -> None:
        """Give output 2 the settings and the switch of output 1, in series and in parallel."""
        if self.track != _INDEPENDENT:
            first, second = self.outputs[1], self.outputs[2]
            second.voltage_set, second.current_set, second.on = first.voltage_set, first.current_set, first.on

    def status(self) -> str:
        """The answer to ``SYSTem:STATus?``."""
        status = self.track << 2
        for number in (1, 2):
            output = self.outputs[number]
            status |= (output.mode == "CC") << (number - 1) | output.on << (number + 3)
        return f"0x{status:0{self._status_digits}x}"

"""A supply of the family: its output, its status byte and its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from agent.simulator.base import Framing
from agent.simulator.supply import Output, Rating, Supply
from agent.simulator.words import NUMBER, Form, WordInstrument, form

_CV, _BEEP, _OCP, _OUTPUT, _OVP = 1, 1 << 4, 1 << 5, 1 << 6, 1 << 7
_REMOTE: Final = 8.0
"""s without a message after which the panel is free again."""


def _set_voltage(supply: KA3005P, match: re.Match[str]) -> None:
    volts = supply.accepted(float(match[1]), supply.output.rating.voltage_max)
    if volts is not None:
        supply.output.voltage_set = round(volts, 2)


def _set_current(supply: KA3005P, match: re.Match[str]) -> None:
    amps = supply.accepted(float(match[1]), supply.output.rating.current_max)
    if amps is not None:
        supply.output.current_set = round(amps, 3)


def _recall(supply: KA3005P, match: re.Match[str]) -> None:
    """``RCL`` turns the output off, too."""
    supply.output.voltage_set, supply.output.current_set = supply.memory.get(int(match[1]), (0.0, 0.0))
    supply.output.on = False


def _save(supply: KA3005P, match: re.Match[str]) -> None:
    supply.memory[int(match[1])] = (supply.output.voltage_set, supply.output.current_set)


def _set_protection(supply: KA3005P, match: re.Match[str]) -> None:
    supply.output.trips_in_cc = match[1] == "1"


def _switch(attribute: str) -> Callable[[Any, re.Match[str]], None]:
    return lambda supply, match: setattr(supply, attribute, match[1] == "1")


class KA3005P(Supply, WordInstrument):
    """A supply of the family. Options that are not here are those of `Supply` and `Instrument`.

    :param clamps: a setting out of range sets the nearest that is in range, without a word
    :param sixth_byte: ``ISET1?`` is answered with a byte of rubbish behind its five digits
    :param gap: s after a message in which another one is lost
    """

    manufacturer = "KORAD"
    serial_form = ""
    framing = Framing(message_end=b"", answer_end=b"", quiet=0.005)
    transports = frozenset({"serial"})
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {
        "KA3005P": (Rating(31.0, 5.1),),
        "KD3005P": (Rating(31.0, 5.1),),
        "KA6003P": (Rating(61.0, 3.1),),
        "72-2535": (Rating(31.0, 3.09),),
        "72-2540": (Rating(31.0, 5.09),),
    }
    identities: ClassVar[Mapping[str, str]] = {
        "KA3005P": "KORADKA3005PV2.0",
        "KD3005P": "KORAD KD3005P V2.0",
        "KA6003P": "KORADKA6003PV2.0",
        "72-2535": "TENMA 72-2535 V2.1",
        "72-2540": "TENMA72-2540V2.0",
    }
    forms: ClassVar[tuple[Form, ...]] = (
        form(r"\*IDN\?", lambda s, _: s.identify()),
        form(r"VOUT1\?", lambda s, _: f"{max(s.measured_voltage(s.output, 0.002), 0.0):05.2f}"),
        form(r"IOUT1\?", lambda s, _: f"{max(s.measured_current(s.output, 0.0002), 0.0):05.3f}"),
        form(r"VSET1\?", lambda s, _: f"{s.output.voltage_set:05.2f}"),
        form(r"ISET1\?", lambda s, _: f"{s.output.current_set:05.3f}" + s.rubbish),
        form(r"STATUS\?", lambda s, _: chr(s.status())),
        form(rf"VSET1:({NUMBER})", _set_voltage),
        form(rf"ISET1:({NUMBER})", _set_current),
        form(r"OUT([01])", lambda s, match: s.switch([s.output], match[1] == "1")),
        form(r"OVP([01])", _switch("over_voltage")),
        form(r"OCP([01])", _set_protection),
        form(r"BEEP([01])", _switch("beep")),
        form(r"RCL([1-5])", _recall),
        form(r"SAV([1-5])", _save),
    )

    def __init__(
        self,
        model: str = "KA3005P",
        *,
        serial: str = "",
        clamps: bool = False,
        sixth_byte: bool = True,
        gap: float = 0.05,
        **others: Any,
    ) -> None:
        self._clamps = clamps
        self._sixth_byte = sixth_byte
        self.rubbish = "\0" if sixth_byte else ""
        self.memory: dict[int, tuple[float, float]] = {}
        self.beep = True
        self._heard_at = float("-inf")
        super().__init__(model, serial=serial, gap=gap, **others)
        self.identity = self.identities[model] + (f" SN:{serial}" if serial else "")

    @property
    def output(self) -> Output:
        """Its only output."""
        return self.outputs[1]

    @property
    def remote(self) -> bool:
        """The panel is locked: a message came within the last 8 s."""
        return self.time - self._heard_at < _REMOTE

    def respond(self, message: str) -> str | None:
        """Carry out one message."""
        self._heard_at = self.time
        return super().respond(message)

    def identify(self) -> str:
        """The answer to ``*IDN?``."""
        if self._sixth_byte:
            self.rubbish = self.identity[0]
        return self.identity

    def accepted(self, value: float, highest: float) -> float | None:
        """A setting as it is taken over; None if it is dropped."""
        if 0.0 <= value <= highest:
            return value
        return min(max(value, 0.0), highest) if self._clamps else None

    def status(self) -> int:
        """The status byte."""
        output = self.output
        if output.mode != "OFF":
            self._in_cv = output.mode == "CV"
        return (
            _CV * self._in_cv
            | _BEEP * self.beep
            | _OCP * output.trips_in_cc
            | _OUTPUT * output.on
            | _OVP * self.over_voltage
        )

    def reset(self) -> None:
        """Settings as after power-on."""
        super().reset()
        self._in_cv = True
        self.over_voltage = False

    def advance(self) -> None:
        """Bring the output up to the present time. After a trip nothing tells of it but the output's bit."""
        super().advance()
        if self.output.trip is not None:
            self.output.clear_trip(restore=False)

"""The commands and habits that the E3600 family shares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal

from agent.simulator.base import Framing
from agent.simulator.instrument import ScpiInstrument
from agent.simulator.scpi import Boolean, Call, Choice, Command, Integer, ScpiError
from agent.simulator.scpi.tree import Handler
from agent.simulator.supply import Output, Supply

LIMITS: Final = ("MINimum", "MAXimum")
LIMIT: Final = (Choice(*LIMITS, optional=True),)
MODE_BITS: Final = {"CC": 1, "CV": 2, "UR": 0, "OFF": 0}

_NOT_ON_RS232 = ScpiError(514, "Command allowed only with RS-232")
_NOT_IN_LOCAL = ScpiError(550, "Command not allowed in local")
_ALLOWED_IN_LOCAL = re.compile(r":?SYST(EM)?:(REM(OTE)?|RWL(OCK)?|LOC(AL)?)", re.IGNORECASE)


def number(value: float) -> str:
    """A number as the family writes it."""
    return f"{value + 0.0:+.8E}"  # + 0.0 turns -0.0 into 0.0


def level(value: float | str, low: float, high: float) -> float:
    """A level, of a number or a word.

    :raises ScpiError: -222, it is not between the two
    """
    if isinstance(value, str):
        return high if value == "MAX" else low
    if not low - 1e-9 <= value <= high + 1e-9:
        raise ScpiError(-222)
    return round(value, 6)


class E3600(Supply, ScpiInstrument):
    """A supply of the family, without its commands. Options that are not here are those of `Supply` and `ScpiInstrument`.

    :param interface: the one that the supply is set to at its panel; on RS-232 it wants ``SYST:REM`` before other commands
    """

    framing = Framing(serial_answer_end=b"\r\n")
    transports = frozenset({"serial"})
    serial_form: ClassVar[str] = ""  # the third field of its identity is 0 on every unit

    def __init__(
        self,
        model: str,
        *,
        firmware: str,
        interface: Literal["GPIB", "RS-232"] = "RS-232",
        serial: str = "",
        **others: Any,
    ) -> None:
        self.interface = interface
        self.lock_state = "LOC"
        super().__init__(model, serial=serial, **others)
        self.identity = f"{self.manufacturer},{model},0,{firmware}"

    @property
    def selected_output(self) -> Output:
        """The output that ``INSTrument`` chose."""
        return self.outputs[self.selected]

    def respond(self, message: str) -> str | None:
        """Carry out one message, without the commands for which the panel has to be locked first."""
        units = [unit.strip() for unit in message.split(";")]
        if self.interface == "RS-232" and self.lock_state == "LOC":
            units = [unit for unit in units if self._is_allowed(unit)]
        for position, unit in enumerate(units):
            if unit.upper() == "*IDN?" and any("?" in later for later in units[position + 1 :]):
                answer = super().respond(";".join(units[: position + 1]))
                self.report(ScpiError(-440))
                return answer
        return super().respond(";".join(units))

    def _is_allowed(self, unit: str) -> bool:
        """False for a command that the supply does not take while its panel is alive, which it reports."""
        allowed = not unit or "?" in unit or _ALLOWED_IN_LOCAL.fullmatch(unit) is not None
        if not allowed:
            self.report(_NOT_IN_LOCAL)
        return allowed

    def lose(self) -> None:
        """A message that came too soon on RS-232 shows as an interrupted query (seen on units)."""
        super().lose()
        self.report(ScpiError(-410))

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.selected = 1
        self.tracking = False

    def power_cycle(self) -> None:
        """Mains off and on."""
        with self.lock:
            super().power_cycle()
            self.lock_state = "LOC"

    def switch(self, outputs: Iterable[Output], on: bool) -> None:
        """The one switch acts on all outputs."""
        super().switch(self.outputs.values(), on)


def lock_panel(state: str) -> Handler:
    """``SYST:REM``, ``SYST:RWL`` and ``SYST:LOC``, which GPIB has its own lines for."""

    def change(supply: E3600, _call: Call) -> None:
        if supply.interface == "GPIB":
            raise _NOT_ON_RS232
        supply.lock_state = state

    return change


def select(supply: E3600, call: Call) -> None:
    """``INST:NSEL``."""
    if call.arguments[0] not in supply.outputs:
        raise ScpiError(-222)
    supply.selected = call.arguments[0]


COMMANDS: Final[tuple[Command, ...]] = (
    Command("SYSTem:LOCal", lock_panel("LOC")),
    Command("SYSTem:REMote", lock_panel("REM")),
    Command("SYSTem:RWLock", lock_panel("RWL")),
    Command("INSTrument:NSELect", select, lambda s, _: f"{s.selected:+d}", (Integer(1, 9),)),
    Command(
        "OUTPut[:STATe]",
        lambda s, call: s.switch((), call.arguments[0]),
        lambda s, _: str(int(s.outputs[1].on)),
        (Boolean(),),
    ),
    Command("OUTPut:RELay[:STATe]", lambda _supply, _call: None, lambda _supply, _call: "0", (Boolean(),)),
)

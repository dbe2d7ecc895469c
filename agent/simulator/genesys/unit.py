"""One Genesys supply: its settings, its output, and the commands of the GEN language (chapter 7.7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Final, Literal

from agent.simulator.loads import Load, Open

Fault = Literal["AC", "OTP", "FOLD", "OVP", "SO", "OFF", "ENA"]

#: Bits of the fault register (chapter 7.9).
FAULT_BITS: Final[dict[Fault, int]] = {"AC": 1, "OTP": 2, "FOLD": 3, "OVP": 4, "SO": 5, "OFF": 6, "ENA": 7}
#: The least and the most of the over-voltage level, by the rated voltage.
OVP_RANGES: Final[dict[float, tuple[float, float]]] = {
    8: (0.5, 10), 10: (0.5, 12), 16: (1, 19), 20: (1, 24), 30: (2, 36), 40: (2, 44), 60: (5, 66), 80: (5, 88), 100: (5, 110),
    150: (5, 165), 300: (5, 330), 600: (5, 660),
}  # fmt: skip
#: Faults that last while their cause does: the output can't be turned on.
_LASTING: Final[frozenset[Fault]] = frozenset({"AC", "OTP", "SO", "ENA"})
_LONGEST_VALUE: Final = 12
_NAME = re.compile(r"GENH?([0-9.]+)-([0-9.]+)")


class Refused(Exception):
    """The unit answers with an error code."""


class GenesysUnit:
    """One supply on the line. For one thread at a time.

    :param model: ``GEN40-38`` and the like: rated volts and amperes
    :param safe_start: the output stays off after power-on, as it is delivered; else it comes back with its settings
    :raises ValueError: the model's name tells no ratings
    """

    def __init__(
        self, model: str, address: int, *, serial: str = "0", load: Load | None = None, safe_start: bool = True
    ) -> None:
        match = _NAME.match(model)
        if match is None or float(match[1]) not in OVP_RANGES:
            raise ValueError(f"no such model to simulate: {model!r}; GEN40-38 is one")
        self.model = model
        self.address = address
        self.serial = serial
        self.load = load or Open()
        self.auto_restart = not safe_start
        self.volts, self.amperes = float(match[1]), float(match[2])
        self.log: list[str] = []
        self.faults: set[Fault] = set()
        self._fault_events = 0
        self._last = ""
        self.reset()

    def reset(self) -> None:
        """``RST``: 0 V, 0 A, off, over-voltage level at its greatest, no limit below, foldback off."""
        self.pv, self.pc, self.uvl = "0", "0", "0"
        self.ovp = f"{OVP_RANGES[self.volts][1]:g}"
        self.is_on = self.foldback = False
        self.foldback_delay = 0
        self.faults -= {"OVP", "FOLD", "OFF"}
        self.mode_of_control = "REM"

    def power_cycle(self) -> None:
        """Mains off and on. The settings come back only with auto-restart; no unit on the line is addressed."""
        if not self.auto_restart:
            self.pv, self.pc, self.is_on = "0", "0", False
        self.faults.clear()

    def trip(self, fault: Fault) -> None:
        """Make a fault occur: the output goes off."""
        self.faults.add(fault)
        self._fault_events |= 1 << FAULT_BITS[fault]
        if fault in ("OVP", "FOLD") or not self.auto_restart:
            self.is_on = False

    def execute(self, line: str) -> str | None:
        """The answer to one line."""
        self.log.append(line)
        checked = re.fullmatch(r"(.*)\$([0-9A-Fa-f]{2})", line)
        if checked is not None:
            answer = "C04" if checksum(checked[1]) != checked[2].upper() else self._answer(checked[1])
            return f"{answer}${checksum(answer)}"
        return self._answer(line)

    def _answer(self, line: str) -> str:
        line = self._last if line == "\\" else line
        self._last = line
        if not line.strip():
            return "OK"
        name, _, value = line.strip().upper().partition(" ")
        try:
            if name in self._QUERIES:
                return self._QUERIES[name](self)
            if name not in self._COMMANDS:
                raise Refused("C01")
            takes_value, command = self._COMMANDS[name]
            if takes_value and not value.strip():
                raise Refused("C02")
            command(self, value.strip())
        except Refused as refused:
            return str(refused)
        return "OK"

    # --- the output

    @property
    def _is_live(self) -> bool:
        return self.is_on and not self.faults

    def measured(self) -> tuple[float, float, str]:
        """V and A at the terminals, and the mode: CV, CC or OFF."""
        if not self._is_live:
            return 0.0, 0.0, "OFF"
        voltage, current, mode = self.load.operating_point(float(self.pv), float(self.pc), 0.0)
        if mode == "CC" and self.foldback:
            self.trip("FOLD")
            return 0.0, 0.0, "OFF"
        return voltage, current, mode

    def status(self) -> int:
        """The status register (chapter 7.9)."""
        mode = self.measured()[2]
        bits = (
            mode == "CV", mode == "CC", not self.faults, bool(self.faults), self.auto_restart, self.foldback, False,
            self.mode_of_control == "LOC",
        )  # fmt: skip
        return sum(1 << place for place, bit in enumerate(bits) if bit)

    def fault_register(self) -> int:
        """The fault register."""
        return sum(1 << FAULT_BITS[fault] for fault in self.faults)

    def _events(self) -> str:
        events, self._fault_events = self._fault_events, 0
        return f"{events:02X}"

    def _digits(self, value: float, rated: float) -> str:
        whole = len(str(int(rated)))
        return f"{value:0{6}.{5 - whole}f}"

    def _volts(self) -> str:
        return self._digits(self.measured()[0], self.volts)

    def _amperes(self) -> str:
        return self._digits(self.measured()[1], self.amperes)

    def _all(self) -> str:
        return f"{self._volts()}, {self.pv}, {self._amperes()}, {self.pc}, {self.ovp}, {self.uvl}"

    def _all_named(self) -> str:
        return (
            f"MV({self._volts()}),PV({self.pv}),MC({self._amperes()}),PC({self.pc}),SR({self.status():02X}),"
            f"FR({self.fault_register():02X})"
        )

    # --- commands

    def _remote(self) -> None:
        if self.mode_of_control == "LOC":
            self.mode_of_control = "REM"

    def _set_voltage(self, text: str) -> None:
        value = _number(text)
        if value > 1.05 * self.volts or value > 0.95 * float(self.ovp):
            raise Refused("E01")
        if value < float(self.uvl):
            raise Refused("E02")
        self._remote()
        self.pv = text

    def _set_current(self, text: str) -> None:
        if _number(text) > 1.05 * self.amperes:
            raise Refused("C05")
        self._remote()
        self.pc = text

    def _switch(self, text: str) -> None:
        on = _switch(text)
        if on and self.faults & _LASTING:
            raise Refused("E07")
        self._remote()
        if on:
            self.faults -= {"OVP", "FOLD", "OFF"}
        self.is_on = on

    def _set_ovp(self, text: str) -> None:
        least, most = OVP_RANGES[self.volts]
        value = _number(text)
        if value < 1.05 * float(self.pv):
            raise Refused("E04")
        if not least <= value <= most:
            raise Refused("C05")
        self.ovp = text

    def _set_uvl(self, text: str) -> None:
        value = _number(text)
        if value > float(self.pv):
            raise Refused("E06")
        if value > 0.95 * self.volts:
            raise Refused("C05")
        self.uvl = text

    def _set_foldback(self, text: str) -> None:
        self.foldback = _switch(text)

    def _set_foldback_delay(self, text: str) -> None:
        self.foldback_delay = int(_number(text))

    def _set_auto_restart(self, text: str) -> None:
        self.auto_restart = _switch(text)

    def _set_control(self, text: str) -> None:
        words = {"0": "LOC", "1": "REM", "2": "LLO"}
        text = words.get(text, text)
        if text not in words.values():
            raise Refused("C03")
        self.mode_of_control = text

    def _clear(self, _text: str) -> None:
        self._fault_events = 0

    def _most_ovp(self, _text: str) -> None:
        self.ovp = f"{OVP_RANGES[self.volts][1]:g}"

    def _reset(self, _text: str) -> None:
        self.reset()

    def broadcast(self, line: str) -> None:
        """A line for all units on the line; none answers."""
        self.log.append(line)
        name, _, value = line.strip().upper().partition(" ")
        try:
            if name == "GOUT":
                self._switch(value)
            elif name == "GPV":
                self._set_voltage(value)
            elif name == "GPC":
                self._set_current(value)
            elif name == "GRST":
                self.reset()
        except Refused:
            pass

    _QUERIES: ClassVar[dict[str, Callable[[GenesysUnit], str]]] = {
        "IDN?": lambda unit: f"LAMBDA,{unit.model}",
        "REV?": lambda _: "REV:1U:4.3",
        "SN?": lambda unit: unit.serial,
        "DATE?": lambda _: "2009/03/12",
        "RMT?": lambda unit: unit.mode_of_control,
        "MDAV?": lambda _: "1",
        "MS?": lambda _: "1",
        "PV?": lambda unit: unit.pv,
        "MV?": _volts,
        "PC?": lambda unit: unit.pc,
        "MC?": _amperes,
        "OUT?": lambda unit: _word(unit.is_on and not unit.faults),
        "MODE?": lambda unit: unit.measured()[2],
        "OVP?": lambda unit: unit.ovp,
        "UVL?": lambda unit: unit.uvl,
        "FLD?": lambda unit: _word(unit.foldback),
        "FBD?": lambda unit: str(unit.foldback_delay),
        "AST?": lambda unit: _word(unit.auto_restart),
        "STAT?": lambda unit: f"{unit.status():02X}",
        "FLT?": lambda unit: f"{unit.fault_register():02X}",
        "FEVE?": _events,
        "DVC?": _all,
        "STT?": _all_named,
    }
    #: Each with True if it takes a value.
    _COMMANDS: ClassVar[dict[str, tuple[bool, Callable[[GenesysUnit, str], None]]]] = {
        "PV": (True, _set_voltage),
        "PC": (True, _set_current),
        "OUT": (True, _switch),
        "OVP": (True, _set_ovp),
        "OVM": (False, _most_ovp),
        "UVL": (True, _set_uvl),
        "FLD": (True, _set_foldback),
        "FBD": (True, _set_foldback_delay),
        "AST": (True, _set_auto_restart),
        "RMT": (True, _set_control),
        "CLS": (False, _clear),
        "RST": (False, _reset),
    }


def checksum(line: str) -> str:
    """Two hexadecimal digits: the low byte of the sum of the characters."""
    return f"{sum(line.encode()) & 0xFF:02X}"


def _number(text: str) -> float:
    if len(text) > _LONGEST_VALUE or not re.fullmatch(r"\d+\.?\d*|\.\d+", text):
        raise Refused("C03")
    return float(text)


def _switch(text: str) -> bool:
    if text not in ("0", "1", "OFF", "ON"):
        raise Refused("C03")
    return text in ("1", "ON")


def _word(on: bool) -> str:
    return "ON" if on else "OFF"

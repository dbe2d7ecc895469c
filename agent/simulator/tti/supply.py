"""A supply of the series: its outputs, its event registers and its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from agent.simulator.base import Framing
from agent.simulator.scpi import ScpiError
from agent.simulator.supply import Output, Rating, Supply, plain, within
from agent.simulator.words import NUMBER, Form, WordInstrument, form

_60V_20A: Final = Rating(60.0, 20.202, 66.0, 22.0, current=1.0, protection_min=1.0, power_max=420.0)

# Bits of the limit event status registers, LSR1 and LSR2.
_EVENTS: Final = {"CV": 1, "CC": 2, "UR": 16, "OVP": 4, "OCP": 8, "OTP": 64}

# Bits of the standard event status register, and the number of an execution error.
_POWER_ON, _COMMAND_ERROR, _EXECUTION_ERROR = 128, 32, 16
_OUT_OF_RANGE: Final = 100

_TRACKING, _INDEPENDENT = 0, 2


def _on_output(do: Callable[..., str | None]) -> Callable[[Any, re.Match[str]], str | None]:
    """A handler for the output whose number is the first group. A number of no output is a command error."""

    def handle(supply: CPX, match: re.Match[str]) -> str | None:
        number, *rest = match.groups()
        output = supply.outputs.get(int(number))
        if output is None:
            supply.misunderstood(match[0])
            return None
        try:
            return do(supply, output, *map(float, rest))
        except ScpiError:
            supply.event_status |= _EXECUTION_ERROR
            supply.execution_error = _OUT_OF_RANGE
            return None

    return handle


def _set_voltage(supply: CPX, output: Output, volts: float) -> None:
    output.voltage_set = round(within(volts, 0.0, output.rating.voltage_max), 2)
    supply.follow()


def _set_current(_supply: CPX, output: Output, amps: float) -> None:
    output.current_set = within(amps, 0.0, output.rating.current_max)


def _set_ovp(_supply: CPX, output: Output, volts: float) -> None:
    output.ovp_level = round(within(volts, output.rating.protection_min, output.rating.ovp_max or 0.0), 1)


def _set_ocp(_supply: CPX, output: Output, amps: float) -> None:
    output.ocp_level = round(within(amps, 0.0, output.rating.ocp_max or 0.0), 2)


def _switch(supply: CPX, output: Output, on: float) -> None:
    supply.switch([output], bool(on))


def _switch_all(supply: CPX, match: re.Match[str]) -> None:
    supply.switch(supply.outputs.values(), match[1] == "1")


def _read_events(supply: CPX, output: Output) -> str:
    events, supply.limit_events[output.number] = supply.limit_events[output.number], 0
    return str(events)


def _reset_trips(supply: CPX, _match: re.Match[str]) -> None:
    for output in supply.outputs.values():
        output.clear_trip(restore=False)


def _configure(supply: CPX, match: re.Match[str]) -> None:
    supply.config = int(match[1])
    supply.follow()


def _set_ratio(supply: CPX, match: re.Match[str]) -> None:
    supply.ratio = min(max(float(match[1]), 0.0), 100.0)
    supply.follow()


def _lock(locked: bool) -> Callable[[Any, re.Match[str]], str]:
    """``IFLOCK`` and ``IFUNLOCK``, which answer without a question mark."""

    def change(supply: CPX, _match: re.Match[str]) -> str:
        supply.interface_lock = int(locked)
        return str(supply.interface_lock)

    return change


def _read_and_clear(attribute: str) -> Callable[[Any, re.Match[str]], str]:
    def read(supply: CPX, _match: re.Match[str]) -> str:
        value = getattr(supply, attribute)
        setattr(supply, attribute, 0)
        return str(value)

    return read


class CPX(Supply, WordInstrument):
    """A supply of the series. Its options are those of `Supply` and `Instrument`."""

    manufacturer = "THURLBY THANDAR"
    port = 9221
    framing = Framing(answer_end=b"\r\n")
    transports = frozenset({"socket", "serial"})
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {"CPX400DP": (_60V_20A, _60V_20A), "CPX400SP": (_60V_20A,)}
    forms: ClassVar[tuple[Form, ...]] = (
        form(r"\*IDN\?", lambda s, _: s.identity),
        form(r"V(\d)O\?", _on_output(lambda s, o: plain(s.measured_voltage(o, 0.002), 3) + "V")),
        form(r"I(\d)O\?", _on_output(lambda s, o: plain(s.measured_current(o, 0.002), 3) + "A")),
        form(r"V(\d)\?", _on_output(lambda _, o: f"V{o.number} {plain(o.voltage_set, 2)}")),
        form(r"I(\d)\?", _on_output(lambda _, o: f"I{o.number} {plain(o.current_set, 3)}")),
        form(r"OVP(\d)\?", _on_output(lambda _, o: f"VP{o.number} {plain(o.ovp_level, 2)}")),
        form(r"OCP(\d)\?", _on_output(lambda _, o: f"CP{o.number} {plain(o.ocp_level, 2)}")),
        form(r"OP(\d)\?", _on_output(lambda _, o: str(int(o.on)))),
        form(r"LSR(\d)\?", _on_output(_read_events)),
        form(rf"V(\d)V?\s+({NUMBER})", _on_output(_set_voltage)),
        form(rf"I(\d)\s+({NUMBER})", _on_output(_set_current)),
        form(rf"OVP(\d)\s+({NUMBER})", _on_output(_set_ovp)),
        form(rf"OCP(\d)\s+({NUMBER})", _on_output(_set_ocp)),
        form(r"OP(\d)\s+([01])", _on_output(_switch)),
        form(r"OPALL\s+([01])", _switch_all),
        form(r"TRIPRST", _reset_trips),
        form(r"CONFIG\?", lambda s, _: str(s.config)),
        form(r"CONFIG\s+([02])", _configure),
        form(r"RATIO\?", lambda s, _: plain(s.ratio, 2)),
        form(rf"RATIO\s+({NUMBER})", _set_ratio),
        form(r"IFLOCK\?", lambda s, _: str(s.interface_lock)),
        form(r"IFLOCK", _lock(True)),
        form(r"IFUNLOCK", _lock(False)),
        form(r"LOCAL", lambda s, _: setattr(s, "remote", False)),
        form(r"\*ESR\?", _read_and_clear("event_status")),
        form(r"EER\?", _read_and_clear("execution_error")),
        form(r"QER\?", _read_and_clear("query_error")),
        form(r"\*CLS", lambda s, _: s.clear_status()),
        form(r"\*RST", lambda s, _: s.reset()),
        form(r"\*OPC\?", lambda _s, _m: "1"),
        form(r"\*TST\?", lambda _s, _m: "0"),
    )

    def __init__(
        self, model: str = "CPX400DP", *, serial: str = "581123", firmware: str = "3.00-4.12", **others: Any
    ) -> None:
        self.event_status = _POWER_ON
        self.execution_error = self.query_error = 0
        self.interface_lock = 0
        self.remote = False
        self._told: dict[int, str] = {}
        super().__init__(model, serial=serial, **others)
        self.identity = f"{self.manufacturer}, {model}, {serial}, {firmware}"

    def respond(self, message: str) -> str | None:
        """Carry out the commands of a message one by one. Each answer is a line of its own."""
        answers = []
        for command in message.split(";"):
            if command.strip():
                self.remote = True
                answer = super().respond(command)
                self.advance()
                if answer is not None:
                    answers.append(answer)
        return "\r\n".join(answers) if answers else None

    def misunderstood(self, text: str) -> None:
        """An unknown word gets no answer at all; ``*ESR?`` tells of it."""
        self.event_status |= _COMMAND_ERROR

    def power_cycle(self) -> None:
        """Mains off and on."""
        with self.lock:
            super().power_cycle()
            self.clear_status()
            self.event_status = _POWER_ON
            self.interface_lock = 0
            self.remote = False

    def clear_status(self) -> None:
        """``*CLS``."""
        self.event_status = self.execution_error = self.query_error = 0
        self.limit_events = dict.fromkeys(self.outputs, 0)

    def reset(self) -> None:
        """``*RST``: the protection levels are at their highest, which is no protection."""
        super().reset()
        self.config = _INDEPENDENT
        self.ratio = 100.0
        self.limit_events = dict.fromkeys(self.outputs, 0)
        self._told = {}
        for output in self.outputs.values():
            output.ovp_on = output.ocp_on = True

    def follow(self) -> None:
        """Give output 2 the voltage of output 1 by the ratio, while they track."""
        if self.config == _TRACKING and 2 in self.outputs:
            self.outputs[2].voltage_set = round(self.outputs[1].voltage_set * self.ratio / 100.0, 2)

    def advance(self) -> None:
        """Bring every output up to the present time, and note the modes that outputs have entered, and trips."""
        super().advance()
        for number, output in self.outputs.items():
            now = output.trip or output.mode
            if now != self._told.get(number, "OFF"):
                self.limit_events[number] |= _EVENTS.get(now, 0)
            self._told[number] = now

"""The parts that all SCPI instruments share: message exchange, common commands, status registers, error queue.

After IEEE 488.2-1992 chapters 10 to 12 and SCPI-1999 volume 1 chapter 9. A subclass adds its own `Command`s to
``commands`` and overrides the hooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final

from agent.simulator.base import STB_MESSAGE_AVAILABLE, Instrument
from agent.simulator.scpi import Call, Command, CommandTree, ErrorQueue, Integer, Quirks, ScpiError

# Bits of the status byte (IEEE 488.2 11.2.1, SCPI-1999 volume 1, 9.3).
STB_ERROR_QUEUE: Final = 4
STB_QUESTIONABLE: Final = 8
STB_EVENT_STATUS: Final = 32
STB_MASTER_SUMMARY: Final = 64
STB_OPERATION: Final = 128

# Bits of the standard event status register (IEEE 488.2 11.5.1).
ESR_OPERATION_COMPLETE: Final = 1
ESR_QUERY_ERROR: Final = 4
ESR_DEVICE_ERROR: Final = 8
ESR_EXECUTION_ERROR: Final = 16
ESR_COMMAND_ERROR: Final = 32
ESR_POWER_ON: Final = 128

_REGISTER = Integer(0, 32767)
_BYTE = Integer(0, 255)


class StatusRegister:
    """Condition, event and enable register (SCPI-1999 volume 1, 9.1). A bit that rises in the condition is latched."""

    __slots__ = ("condition", "enable", "event")

    def __init__(self, enable: int = 0) -> None:
        self.condition = 0
        self.event = 0
        self.enable = enable

    def update(self, condition: int) -> None:
        """Set the condition, and latch the bits that rise."""
        self.event |= condition & ~self.condition
        self.condition = condition

    def read_event(self) -> int:
        """The event register, which is 0 afterwards."""
        event, self.event = self.event, 0
        return event

    @property
    def summary(self) -> bool:
        """True if an enabled event is latched."""
        return bool(self.event & self.enable)


class ScpiInstrument(Instrument):
    """One instrument that speaks SCPI. Options that are not here are those of `Instrument`.

    ``quirks``: how its grammar differs from the standard's.
    """

    identity: str = "Example,Instrument,0,0"
    scpi_version: ClassVar[str] = "1999.0"
    commands: ClassVar[tuple[Command, ...]] = ()

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        quirks: Quirks | None = None,
        log_size: int = 0,
        gap: float = 0.0,
    ) -> None:
        super().__init__(clock=clock, log_size=log_size, gap=gap)
        self.errors = ErrorQueue(20)
        self.operation = StatusRegister()
        self.questionable = StatusRegister()
        self.event_status = ESR_POWER_ON
        self.event_status_enable = 0
        self.service_request_enable = 0
        self._tree = _command_tree(type(self).commands, quirks or Quirks())

    # --- for transports and tests

    def respond(self, message: str) -> str | None:
        """Carry out one message. Answers are joined by ``;``; None if there is no answer."""
        answers = []
        for handler, call in self._tree.compile(message):
            try:
                answer = handler(self, call)
            except ScpiError as error:
                self.report(error)
            else:
                if answer is not None:
                    answers.append(answer)
        return ";".join(answers) if answers else None

    def report(self, error: ScpiError) -> None:
        """Put an error into the queue and its class into the standard event status register."""
        with self.lock:
            self.errors.push(error)
            if error.number <= -400:
                self.event_status |= ESR_QUERY_ERROR
            elif error.number > 0 or error.number <= -300:
                self.event_status |= ESR_DEVICE_ERROR
            else:
                self.event_status |= ESR_EXECUTION_ERROR if error.number <= -200 else ESR_COMMAND_ERROR

    def status_byte(self, *, message_available: bool = False) -> int:
        """The answer to a serial poll; bit 6 is the master summary, as in ``*STB?``."""
        with self.lock:
            self.advance()
            status = 0
            if self.errors:
                status |= STB_ERROR_QUEUE
            if self.questionable.summary:
                status |= STB_QUESTIONABLE
            if message_available:
                status |= STB_MESSAGE_AVAILABLE
            if self.event_status & self.event_status_enable:
                status |= STB_EVENT_STATUS
            if self.operation.summary:
                status |= STB_OPERATION
            if status & self.service_request_enable & ~STB_MASTER_SUMMARY:
                status |= STB_MASTER_SUMMARY
            return status

    def power_cycle(self) -> None:
        """Mains off and on: settings as after ``*RST``, status and error queue empty, power-on bit set."""
        with self.lock:
            self.errors.clear()
            self.event_status = ESR_POWER_ON
            self.event_status_enable = self.service_request_enable = 0
            for register in (self.operation, self.questionable):
                register.event = register.condition = register.enable = 0
            self.reset()

    # --- for subclasses to override

    def identify(self) -> str:
        """The answer to ``*IDN?``."""
        return self.identity

    def error_answer(self, number: int, text: str) -> str:
        """An error of the queue as ``SYSTem:ERRor?`` tells it."""
        return f'{number:+d},"{text}"'

    def integer_answer(self, value: int) -> str:
        """A register's value as the instrument writes it."""
        return f"{value:+d}"

    def clear_status(self) -> None:
        """``*CLS``: queue and event registers, not the enable registers (IEEE 488.2 10.3)."""
        self.errors.clear()
        self.event_status = 0
        self.operation.event = self.questionable.event = 0

    def preset_status(self) -> None:
        """``STATus:PRESet`` (SCPI-1999 volume 2, 20.2)."""
        self.operation.enable = self.questionable.enable = 0

    def self_test(self) -> int:
        """``*TST?``: 0 if it passed."""
        return 0

    def save(self, location: int) -> None:
        """``*SAV``."""

    def recall(self, location: int) -> None:
        """``*RCL``."""

    def bus_trigger(self) -> None:
        """``*TRG``."""
        raise ScpiError(-211)


def _get(read: Callable[[Any], int]) -> Callable[[Any, Call], str]:
    return lambda instrument, _call: instrument.integer_answer(read(instrument))


def _do(action: Callable[[Any], None]) -> Callable[[Any, Call], None]:
    return lambda instrument, _call: action(instrument)


def _set_attribute(path: str) -> Callable[[Any, Call], None]:
    *owners, name = path.split(".")

    def change(instrument: Any, call: Call) -> None:
        for owner in owners:
            instrument = getattr(instrument, owner)
        setattr(instrument, name, call.arguments[0])

    return change


def _set_service_request(instrument: ScpiInstrument, call: Call) -> None:
    instrument.service_request_enable = call.arguments[0] & ~STB_MASTER_SUMMARY  # IEEE 488.2 11.3.2


def _read_event_status(instrument: ScpiInstrument) -> int:
    status, instrument.event_status = instrument.event_status, 0
    return status


def _operation_complete(instrument: ScpiInstrument) -> None:
    instrument.event_status |= ESR_OPERATION_COMPLETE


def _error(instrument: ScpiInstrument, _call: Call) -> str:
    return instrument.error_answer(*instrument.errors.pop())


COMMON_COMMANDS: Final = (
    Command("*CLS", set=_do(lambda i: i.clear_status())),
    Command(
        "*ESE",
        set=_set_attribute("event_status_enable"),
        query=_get(lambda i: i.event_status_enable),
        parameters=(_BYTE,),
    ),
    Command("*ESR", query=_get(_read_event_status)),
    Command("*IDN", query=lambda i, _: i.identify()),
    Command("*OPC", set=_do(_operation_complete), query=lambda _i, _: "1"),
    Command("*RST", set=_do(lambda i: i.reset())),
    Command("*SRE", set=_set_service_request, query=_get(lambda i: i.service_request_enable), parameters=(_BYTE,)),
    Command("*STB", query=_get(lambda i: i.status_byte())),
    Command("*TRG", set=_do(lambda i: i.bus_trigger())),
    Command("*TST", query=_get(lambda i: i.self_test())),
    Command("*WAI", set=_do(lambda _: None)),
    Command("*SAV", set=lambda i, call: i.save(call.arguments[0]), parameters=(Integer(0, 9),)),
    Command("*RCL", set=lambda i, call: i.recall(call.arguments[0]), parameters=(Integer(0, 9),)),
    Command("SYSTem:ERRor[:NEXT]", query=_error),
    Command("SYSTem:VERSion", query=lambda i, _: i.scpi_version),
    Command("STATus:PRESet", set=_do(lambda i: i.preset_status())),
    *(
        command
        for name, header in (("operation", "STATus:OPERation"), ("questionable", "STATus:QUEStionable"))
        for command in (
            Command(f"{header}[:EVENt]", query=_get(lambda i, n=name: getattr(i, n).read_event())),  # type: ignore[misc]
            Command(f"{header}:CONDition", query=_get(lambda i, n=name: getattr(i, n).condition)),  # type: ignore[misc]
            Command(
                f"{header}:ENABle",
                set=_set_attribute(f"{name}.enable"),
                query=_get(lambda i, n=name: getattr(i, n).enable),  # type: ignore[misc]
                parameters=(_REGISTER,),
            ),
        )
    ),
)


@lru_cache(maxsize=64)
def _command_tree(commands: tuple[Command, ...], quirks: Quirks) -> CommandTree:
    """One tree, and one cache of parsed messages, for all instruments of a kind."""
    return CommandTree((*COMMON_COMMANDS, *commands), quirks)

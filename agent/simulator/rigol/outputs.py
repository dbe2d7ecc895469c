"""The outputs, what they share, and the ways in which the firmware differs from the standard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from agent.simulator.instrument import ESR_COMMAND_ERROR, ScpiInstrument
from agent.simulator.scpi import ScpiError
from agent.simulator.supply import Output, Rating, Supply

_P30V_3A: Final = Rating(32.0, 3.2, 33.0, 3.3, "30V/3A", current=1.0, protection_min=0.001)
_P30V_2A: Final = Rating(32.0, 2.1, 33.0, 2.2, "30V/2A", current=1.0, protection_min=0.001)
_N30V_2A: Final = Rating(32.0, 2.1, 33.0, 2.2, "-30V/2A", sign=-1, current=1.0, protection_min=0.001)
_P5V_3A: Final = Rating(5.3, 3.2, 5.5, 3.3, "5V/3A", current=1.0, protection_min=0.001)
_P8V_5A: Final = Rating(8.4, 5.3, 8.8, 5.5, "8V/5A", current=1.0, protection_min=0.001)

_UNDEFINED_HEADER: Final = "Undefined header; keyword cannot be found"


class DP800Outputs(Supply, ScpiInstrument):
    """A supply of the series, without its commands. Options that are not here are those of `Supply` and `ScpiInstrument`.

    :param overload: messages within a second above which queries are answered ``Command error``; None: none
    :param options: the words that ``*OPT?`` answers
    """

    manufacturer = "RIGOL TECHNOLOGIES"
    serial_form = "DP8B{}"
    port = 5555
    models: ClassVar[Mapping[str, tuple[Rating, ...]]] = {
        "DP832A": (_P30V_3A, _P30V_3A, _P5V_3A),
        "DP832": (_P30V_3A, _P30V_3A, _P5V_3A),
        "DP831A": (_P8V_5A, _P30V_2A, _N30V_2A),
    }

    def __init__(
        self,
        model: str = "DP832A",
        *,
        serial: str = "DP8B100000004",
        firmware: str = "00.01.19",
        overload: int | None = None,
        options: tuple[str, ...] = (),
        **others: Any,
    ) -> None:
        self.pair: frozenset[int] = frozenset({2, 3} if model.startswith("DP831") else {1, 2})
        self._overload = overload
        self._recent: deque[float] = deque()
        self.options = options
        super().__init__(model, serial=serial, **others)
        self.identity = f"RIGOL TECHNOLOGIES,{model},{serial},{firmware}"

    def respond(self, message: str) -> str | None:
        """Carry out one message. A query that it does not understand is answered with a text."""
        if self._is_overloaded():
            return "Command error" if "?" in message else None
        understood = not self.event_status & ESR_COMMAND_ERROR
        answer = super().respond(message)
        if understood and self.event_status & ESR_COMMAND_ERROR and answer is None and "?" in message:
            return "Command error"
        return answer

    def _is_overloaded(self) -> bool:
        if self._overload is None:
            return False
        self._recent.append(self.time)
        while self._recent[0] <= self.time - 1.0:
            self._recent.popleft()
        return len(self._recent) > self._overload

    def report(self, error: ScpiError) -> None:
        """Put an error into the queue, by the text that the unit has for it."""
        super().report(ScpiError(-113, _UNDEFINED_HEADER) if error.number == -113 else error)

    def error_answer(self, number: int, text: str) -> str:
        """An error as the unit tells it: no plus sign."""
        return f'{number},"{text}"'

    def integer_answer(self, value: int) -> str:
        """A register's value: no plus sign."""
        return str(value)

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.selected = 1
        self.tracking = False
        self.tracks_all = True  # SYNC
        self.switches_together = False
        self.over_temperature = True
        self.remote = False
        self.locked = False

    def advance(self) -> None:
        """Bring every output and the status registers up to the present time."""
        super().advance()
        hot = any(output.trip == "OTP" for output in self.outputs.values())
        self.questionable.update(1 << 4 if hot else 0)

    # --- for the commands

    def peers(self, output: Output) -> list[Output]:
        """An output, and the one that tracks it."""
        if self.tracking and output.number in self.pair:
            return [self.outputs[number] for number in sorted(self.pair)]
        return [output]

    def set_voltage(self, output: Output, volts: float) -> None:
        """Set an output, without sign, and the one that tracks it, as far as that can be set so high."""
        for peer in self.peers(output):
            peer.voltage_set = min(volts, peer.rating.voltage_max)
        self.advance()

    def switch(self, outputs: Iterable[Output], on: bool) -> None:
        """Switch outputs, and those that track them where the switches are coupled."""
        reached = {
            peer.number for output in outputs for peer in (self.peers(output) if self.switches_together else [output])
        }
        super().switch([self.outputs[number] for number in sorted(reached)], on)

"""One simulated instrument as its transports see it, whatever its language."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from agent.simulator.scpi import ScpiError

STB_MESSAGE_AVAILABLE = 16
"""The bit of the status byte that says that an answer can be read (IEEE 488.2 11.2.1)."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How messages and answers end on a raw socket and a serial line. VXI-11 and HiSLIP have ends of their own.

    ``message_end``: the byte that ends a message; empty: none does. ``quiet``: s without a further byte that end one too;
    None: none do. ``answer_end``: the bytes behind each answer, and ``serial_answer_end`` those on a serial line where it
    has others. ``cut``: instead of an end, a function that cuts messages out of bytes, and gives the rest too; they are binary.
    """

    message_end: bytes = b"\n"
    answer_end: bytes = b"\n"
    serial_answer_end: bytes | None = None
    quiet: float | None = None
    cut: Callable[[bytes], tuple[list[bytes], bytes]] | None = None

    @property
    def on_serial(self) -> bytes:
        """The bytes behind each answer on a serial line."""
        return self.answer_end if self.serial_answer_end is None else self.serial_answer_end


class Instrument:
    """One instrument. Every method may be called from any thread.

    ``clock`` gives seconds, monotonic. ``log_size`` messages are remembered in `log` (0: none).
    ``gap``: s that the unit needs after a message; one that comes sooner is lost without a word, and counted in `lost`.
    """

    framing: ClassVar[Framing] = Framing()
    port: ClassVar[int] = 5025
    """The port of the raw socket of the real one."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, log_size: int = 0, gap: float = 0.0) -> None:
        self.lock = threading.RLock()
        self.message_count = 0
        self.lost = 0
        self.gap = gap
        self._log: deque[str] = deque(maxlen=log_size)
        self._clock = clock
        self._epoch = clock()
        self._ready_at = float("-inf")

    # --- for transports and tests

    def execute(self, message: str) -> str | None:
        """Carry out one message, without its terminator. The answer, or None if there is none."""
        with self.lock:
            self.message_count += 1
            self._log.append(message)
            if self.gap:
                if self.time < self._ready_at:
                    self.lose()
                    return None
                self._ready_at = self.time + self.gap
            self.advance()
            return self.respond(message)

    def respond(self, message: str) -> str | None:
        """Carry out one message that was not lost. Called with the lock held."""
        raise NotImplementedError

    def lose(self) -> None:
        """Count a message that came too soon. Called with the lock held."""
        self.lost += 1

    def report(self, error: ScpiError) -> None:
        """Note an error that a transport has found."""

    def status_byte(self, *, message_available: bool = False) -> int:
        """The answer to a serial poll."""
        return STB_MESSAGE_AVAILABLE if message_available else 0

    def device_clear(self) -> None:
        """Device clear (IEEE 488.2 chapter 5, dcas): the transports empty their buffers; settings and errors stay."""

    def connected(self) -> None:
        """A client has opened a network connection."""

    def power_cycle(self) -> None:
        """Mains off and on."""
        with self.lock:
            self.reset()

    @property
    def log(self) -> list[str]:
        """The last messages received, oldest first."""
        with self.lock:
            return list(self._log)

    def clear_log(self) -> None:
        """Forget the messages received, and start counting from 0."""
        with self.lock:
            self._log.clear()
            self.message_count = self.lost = 0

    @property
    def time(self) -> float:
        """Seconds since the instrument was made, by its clock."""
        return self._clock() - self._epoch

    # --- for subclasses to override

    def reset(self) -> None:
        """Settings as after power-on."""

    def advance(self) -> None:
        """Bring the state up to the present time. Called with the lock held, before each message and status poll."""

"""A unit on paper: what it is to be sent, in order, and what it answers. A line left over or out of turn is a fault."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from agent.instruments.driver import LinkError

#: (sent, answered). None: the message has no answer, or the unit gives none to a question. Several: the lines of its answer.
Line = tuple[str, str | Sequence[str] | None]


class Transcript:
    """Stands where `agent.instruments.visa.session.VisaSession` would."""

    uri = "TCPIP::192.0.2.1::5025::SOCKET"

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.faults: list[str] = []
        self.sent: list[str] = []
        self.is_open = False
        self._lines = list(lines)
        self.pauses: list[float] = []  # s that `rest` was called for
        self.stray: list[str] = []  # lines that the unit sends without a question, for `unasked`
        self._ahead: str | None = None
        self._further: list[str] = []  # lines of an answer that were not read yet
        self._lock = threading.Lock()

    def expect(self, lines: Iterable[Line]) -> None:
        """Lines that come behind those that are left."""
        with self._lock:
            self._lines += lines

    @property
    def left(self) -> list[Line]:
        """The messages that were not sent yet."""
        with self._lock:
            return list(self._lines)

    def check(self) -> None:
        """Every line was sent, in order, and nothing else."""
        assert self.faults == []
        assert self.left == []

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self._ahead = None
        self._further = []

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        answer = self._next(message)
        if answer is None:
            self.close()
            raise LinkError("no answer: timeout")
        first, *self._further = [answer] if isinstance(answer, str) else answer
        return self._of_length(first, length)

    def listen(self, length: tuple[int, int] | None = None) -> str:
        if not self._further:
            self.close()
            raise LinkError("no answer: timeout")
        return self._of_length(self._further.pop(0), length)

    def exchange(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def unasked(self) -> list[str]:
        lines, self.stray = self.stray, []
        return lines

    def rest(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def wait_until_ready(self) -> bool:
        return False

    def tell(self, message: str) -> None:
        answer = self._next(message)
        if answer is not None:
            self.faults.append(f"{message} was sent and its answer {answer} is not read")

    def ask_ahead(self, message: str) -> bool:
        self._ahead = message
        return True

    def hear(self) -> str:
        message, self._ahead = self._ahead, None
        if message is None:
            raise LinkError("nothing was asked ahead")
        return self.ask(message)

    def _of_length(self, answer: str, length: tuple[int, int] | None) -> str:
        if length is not None and not length[0] <= len(answer) <= length[1]:
            self.faults.append(f"{answer!r} is not {length[0]} to {length[1]} bytes long")
        return answer

    def _next(self, message: str) -> str | Sequence[str] | None:
        with self._lock:
            self.sent.append(message)
            if self._further:
                self.faults.append(f"{message} was sent and {self._further} of the answer before is not read")
            if not self.is_open:
                self.faults.append(f"{message} was sent over a closed link")
                return None
            if not self._lines:
                self.faults.append(f"{message} was sent after the transcript's end")
                return None
            expected, answer = self._lines.pop(0)
            if expected != message:
                self.faults.append(f"{message} was sent instead of {expected}")
                self._lines.clear()
                return None
            return answer

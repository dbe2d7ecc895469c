"""A unit on paper: what it is to be sent, in order, and what it answers. A line left over or out of turn is a fault."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from agent.instruments.driver import LinkError

#: (sent, answered). None: the message has no answer, or the unit gives none to a question.
Line = tuple[str, str | None]


class Transcript:
    """Stands where `agent.instruments.visa.session.VisaSession` would."""

    uri = "TCPIP::192.0.2.1::5025::SOCKET"

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.faults: list[str] = []
        self.sent: list[str] = []
        self.is_open = False
        self._lines = list(lines)
        self._ahead: str | None = None
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

    def ask(self, message: str) -> str:
        answer = self._next(message)
        if answer is None:
            self.close()
            raise LinkError("no answer: timeout")
        return answer

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

    def _next(self, message: str) -> str | None:
        with self._lock:
            self.sent.append(message)
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

"""What the sessions for streams of bytes have in common: what came in and was not read yet is kept, and is no answer to the next
question."""

from __future__ import annotations

import logging
import time

from pyvisa.constants import InterfaceType, StatusCode
from pyvisa_py.sessions import Session

from agent.instruments.tcp import StrayBytesError


class Buffered:
    """A part of a session of pyvisa-py, for one thread."""

    timeout: float | None
    _pending_buffer: bytearray

    def _receive(self) -> bytes:
        """The next bytes; none if none came within the timeout."""
        raise NotImplementedError

    def pending(self) -> bytes:
        """The bytes that have come in and were not read; they stay.

        :raises OSError: the link is gone
        """
        raise NotImplementedError

    def discard(self) -> None:
        """Forget the bytes that have come in and were not read."""
        self._pending_buffer.clear()

    def _check_silence(self) -> None:
        """:raises StrayBytesError: bytes came in without a question: a late answer would be taken for the next one"""
        if stray := self.pending():
            raise StrayBytesError(f"an answer that nobody asked for: {stray[:60]!r}")

    def _read_to(self, end: int, count: int) -> tuple[bytes, StatusCode]:
        """Read to a byte, at most ``count``, or what came within the timeout. ``end``: below 0 for no byte."""
        buffer = self._pending_buffer
        deadline = time.monotonic() + self.timeout if self.timeout else None
        searched = 0
        while True:
            found = buffer.find(end, searched, count) if end >= 0 else -1
            if found >= 0:
                return self._take(found + 1), StatusCode.success_termination_character_read
            if len(buffer) >= count:
                return self._take(count), StatusCode.success_max_count_read
            searched = len(buffer)
            if deadline is not None and searched and time.monotonic() > deadline:
                return self._take(searched), StatusCode.error_timeout
            data = self._receive()
            if not data:
                return self._take(searched), StatusCode.error_timeout
            buffer += data

    def _take(self, count: int) -> bytes:
        taken = bytes(self._pending_buffer[:count])
        del self._pending_buffer[:count]
        return taken


def replace(interface: InterfaceType, kind: str, session: type[Session]) -> None:
    """Make a session pyvisa-py's for an interface, for this process."""
    logger = logging.getLogger("pyvisa")
    before = logger.level
    logger.setLevel(logging.ERROR)  # it warns that it had one already, which is to be replaced
    try:
        Session.register(interface, kind)(session)
    finally:
        logger.setLevel(before)

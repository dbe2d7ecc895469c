"""A serial session for pyvisa-py that ends its waits by a clock that nobody sets, and tells bytes that nobody asked for.

pyvisa-py's own waits by the clock of the day, which may be set; starts its timeout anew with every byte; forgets what it has read
of an answer that is not complete in time; and takes an old answer for that to the next question.
"""

from __future__ import annotations

import logging
import time

from pyvisa import constants
from pyvisa.constants import ResourceAttribute, SerialTermination, StatusCode
from pyvisa_py.serial import SerialSession as _SerialSession
from pyvisa_py.sessions import Session

from agent.instruments.visa.sockets import unasked


class SerialSession(_SerialSession):  # type: ignore[misc]  # pyvisa-py has no types
    """``ASRL…::INSTR``, for one thread."""

    def after_parsing(self) -> None:
        """Open the port."""
        super().after_parsing()
        self._pending_buffer = bytearray()

    def read(self, count: int) -> tuple[bytes, StatusCode]:
        """Read to the termination character, if it ends answers, and at most ``count`` bytes.

        :raises OSError: the port is gone
        """
        end_in, _ = self.get_attribute(ResourceAttribute.asrl_end_in)
        if end_in == SerialTermination.last_bit:
            return super().read(count)  # type: ignore[no-any-return]
        end = -1
        if end_in == SerialTermination.termination_char:
            end, _ = self.get_attribute(ResourceAttribute.termchar)
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
            if deadline is not None and time.monotonic() > deadline:
                return self._take(searched), StatusCode.error_timeout
            data = self.interface.read(self.interface.in_waiting or 1)  # waits for the timeout at most
            if not data:
                return self._take(searched), StatusCode.error_timeout
            buffer += data

    def _take(self, count: int) -> bytes:
        taken = bytes(self._pending_buffer[:count])
        del self._pending_buffer[:count]
        return taken

    def pending(self) -> bytes:
        """The bytes that have come in and were not read; they stay.

        :raises OSError: the port is gone
        """
        if waiting := self.interface.in_waiting:
            self._pending_buffer += self.interface.read(waiting)
        return bytes(self._pending_buffer)

    def discard(self) -> None:
        """Forget the bytes that have come in and were not read."""
        self._pending_buffer.clear()

    def write(self, data: bytes) -> tuple[int, StatusCode]:
        """Send all of ``data``.

        :raises OSError: the port is gone, or bytes have come in that nobody asked for
        """
        if stray := self.pending():
            raise unasked(stray)
        return super().write(data)  # type: ignore[no-any-return]

    def flush(self, mask: constants.BufferOperation) -> StatusCode:
        """Empty the buffers that the mask names."""
        if mask & constants.BufferOperation.discard_receive_buffer:
            self.interface.reset_input_buffer()
        if mask & (constants.BufferOperation.discard_read_buffer | constants.BufferOperation.discard_receive_buffer):
            self._pending_buffer.clear()
        return super().flush(mask)  # type: ignore[no-any-return]


def register() -> None:
    """Make it pyvisa-py's session for serial lines, for this process."""
    logger = logging.getLogger("pyvisa")
    before = logger.level
    logger.setLevel(logging.ERROR)  # it warns that it had one already, which is to be replaced
    try:
        Session.register(constants.InterfaceType.asrl, "INSTR")(SerialSession)
    finally:
        logger.setLevel(before)

"""A serial session for pyvisa-py that ends its waits by a clock that nobody sets, and tells bytes that nobody asked for.

pyvisa-py's own waits by the clock of the day, which may be set; starts its timeout anew with every byte; forgets what it has read
of an answer that is not complete in time; and takes an old answer for that to the next question.
"""

from __future__ import annotations

from pyvisa import constants
from pyvisa.constants import ResourceAttribute, SerialTermination, StatusCode
from pyvisa_py.serial import SerialSession as _SerialSession

from agent.instruments.visa.buffered import Buffered, replace


class SerialSession(Buffered, _SerialSession):  # type: ignore[misc]  # pyvisa-py has no types
    """``ASRL…::INSTR``, for one thread."""

    def after_parsing(self) -> None:
        """Open the port, which no other program may use meanwhile: it would read this one's answers.

        :raises OSError: it can't be opened, or another program has locked it
        """
        super().after_parsing()
        try:
            self.interface.exclusive = True
        except OSError:
            self.interface.close()
            raise
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
        return self._read_to(end, count)

    def _receive(self) -> bytes:
        return bytes(self.interface.read(self.interface.in_waiting or 1))  # waits for the timeout at most

    def pending(self) -> bytes:
        """The bytes that have come in and were not read; they stay.

        :raises OSError: the port is gone
        """
        if waiting := self.interface.in_waiting:
            self._pending_buffer += self.interface.read(waiting)
        return bytes(self._pending_buffer)

    def write(self, data: bytes) -> tuple[int, StatusCode]:
        """Send all of ``data``.

        :raises OSError: the port is gone, or bytes have come in that nobody asked for
        """
        self._check_silence()
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
    replace(constants.InterfaceType.asrl, "INSTR", SerialSession)

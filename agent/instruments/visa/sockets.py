"""A raw-socket session for pyvisa-py that notices what its own does not.

pyvisa-py's own spins at full load when the peer closes, waits without a limit while the send buffer is full, can't turn
Nagle's algorithm off, and takes an old answer for that to the next question. This one reports a closed connection at once,
keeps to the timeout in both directions, sends each message at once, and refuses to ask while an answer that nobody asked
for is waiting.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from pyvisa import constants
from pyvisa.constants import StatusCode
from pyvisa_py.tcpip import TCPIPSocketSession

from agent.instruments.tcp import UnsentError, end_in_order, prepare
from agent.instruments.visa.buffered import Buffered, replace

#: bytes. An answer of a supply has a few hundred; one that never ends is none.
LONGEST_ANSWER = 64 * 1024
#: bytes of one RPC record or HiSLIP payload: the longest answer, and room for what is around it.
LONGEST_RECORD = LONGEST_ANSWER + 4096
_DEFAULT_OPEN_TIMEOUT = 3.0


class SocketSession(Buffered, TCPIPSocketSession):  # type: ignore[misc]  # pyvisa-py has no types
    """``TCPIP::host::port::SOCKET``, for one thread."""

    interface: socket.socket | None

    def _connect(self) -> StatusCode:
        timeout = self.open_timeout / 1000 if self.open_timeout else _DEFAULT_OPEN_TIMEOUT
        host = self.parsed.host_address.strip("[]")
        self.interface = socket.create_connection((host, int(self.parsed.port)), timeout)
        prepare(self.interface)
        # The kernel keeps the timeout: one system call instead of two, and none of select()'s ceiling on file descriptors.
        self.interface.setblocking(True)
        self._kernel_timeout = -1.0
        return StatusCode.success

    def finish(self) -> None:
        """Have the close that follows deliver the last message: nothing failed."""
        if self.interface is not None:
            end_in_order(self.interface)

    def close(self) -> StatusCode:
        """Close the connection, by a reset unless `finish` was called; it may be called twice."""
        if self.interface is not None:
            self.interface.close()
            self.interface = None
        return StatusCode.success

    def _ready(self) -> socket.socket:
        """The socket, its timeouts set.

        :raises OSError: it is closed
        """
        if self.interface is None:
            raise ConnectionError("the connection is closed")
        timeout = self.timeout or 0.0  # to the kernel, 0 is for ever
        if timeout != self._kernel_timeout:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self.interface.setsockopt(socket.SOL_SOCKET, option, _timeval(self.interface, option, timeout))
            self._kernel_timeout = timeout
        return self.interface

    def read(self, count: int) -> tuple[bytes, StatusCode]:
        """Read to the termination character, if one is set, and at most ``count`` bytes.

        :raises OSError: the connection is gone
        """
        termchar, _ = self.get_attribute(constants.ResourceAttribute.termchar)
        enabled, _ = self.get_attribute(constants.ResourceAttribute.termchar_enabled)
        return self._read_to(termchar if enabled and termchar is not None else -1, count)

    def _receive(self) -> bytes:
        try:
            data = self._ready().recv(LONGEST_ANSWER)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionResetError("the unit closed the connection")
        return data

    def pending(self) -> bytes:
        """The bytes that have come in and were not read; they stay.

        :raises UnsentError: the peer has closed the connection
        """
        connection = self._ready()
        try:
            data = connection.recv(LONGEST_ANSWER, socket.MSG_DONTWAIT)
            if not data:
                raise UnsentError("the unit closed the connection")
            self._pending_buffer += data
        except BlockingIOError:
            pass
        except ConnectionResetError as error:
            raise UnsentError(error.errno, error.strerror or str(error)) from error
        return bytes(self._pending_buffer)

    def write(self, data: bytes) -> tuple[int, StatusCode]:
        """Send all of ``data``.

        :raises UnsentError: the connection was gone before; nothing was sent
        :raises OSError: the connection is gone, or bytes have come in that nobody asked for
        """
        connection = self._ready()
        self._check_silence()
        sent = 0
        while sent < len(data):
            try:
                sent += connection.send(data[sent:])
            except BlockingIOError:
                return sent, StatusCode.error_timeout
        return sent, StatusCode.success

    def clear(self) -> StatusCode:
        """There is no device clear on a raw socket: only closing and opening it again resynchronises."""
        return StatusCode.error_nonsupported_operation

    def _set_attribute(self, attribute: constants.ResourceAttribute, attribute_state: Any) -> StatusCode:
        if attribute == constants.ResourceAttribute.tcpip_nodelay:
            return self._set_tcpip_nodelay(attribute, attribute_state)  # type: ignore[no-any-return]
        return super()._set_attribute(attribute, attribute_state)  # type: ignore[no-any-return]


def _timeval(connection: socket.socket, option: int, seconds: float) -> bytes:
    """A time as the kernel takes it for an option: seconds and microseconds, as long as those that it tells by itself.

    Each is 4 bytes or 8, also on one and the same system: Raspberry Pi OS 13 has 32-bit numbers and 64-bit times.
    """
    each = len(connection.getsockopt(socket.SOL_SOCKET, option, 16)) // 2
    whole, fraction = divmod(seconds, 1)
    return int(whole).to_bytes(each, sys.byteorder) + int(fraction * 1e6).to_bytes(each, sys.byteorder)


def register() -> None:
    """Make it pyvisa-py's session for raw sockets, for this process."""
    replace(constants.InterfaceType.tcpip, "SOCKET", SocketSession)

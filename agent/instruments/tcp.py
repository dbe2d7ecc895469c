"""TCP connections to instruments: their end, for all transports; and one with a deadline, for VXI-11, HiSLIP and Modbus.

A connection that is closed leaves what the peer has not taken to the kernel, which goes on delivering it for minutes: a setting
would be carried out after newer ones. So each is to end with a reset (SO_LINGER of 0 s), from its first moment on: a failure, the
garbage collector and the end of the process, by a signal too, discard what was not delivered. `end_in_order` is the exception.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import time
from typing import Any

#: s, where the session has no timeout.
FOREVER = 365 * 86400.0
#: s, where no timeout for opening was asked for; pyvisa-py's own figure.
DEFAULT_OPEN_TIMEOUT = 5.0
#: s. A connection that was used within that time is not looked at before it is used again: that costs three system calls.
IDLE = 0.05
#: s that the peer may take to acknowledge the last bytes when a connection is closed in good order.
LAST_BYTES = 0.5
#: Bytes that are thrown away at once.
_CHUNK = 4096
_RESET, _FINISH = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class UnsentError(ConnectionResetError):
    """The peer had closed the connection before the message: nothing of it was sent."""


class StrayBytesError(ConnectionError):
    """Bytes had come in that nobody asked for: nothing of the message was sent."""


def prepare(connection: socket.socket) -> None:
    """Have a new connection send each message at once, notice a dead peer, and end with a reset.

    :raises OSError: it is gone already
    """
    # On Windows the two numbers are shorter; the agent does not run there (termios, fcntl).
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def end_in_order(connection: socket.socket) -> None:
    """Have the close that follows be one in good order (FIN), if the peer takes the last bytes within `LAST_BYTES`.

    Else it stays a reset: what the peer has not taken then would be delivered at any later time. It never raises.
    """
    with contextlib.suppress(OSError):
        deadline = time.monotonic() + LAST_BYTES
        while _unacknowledged(connection):
            if time.monotonic() > deadline:
                return
            time.sleep(0.002)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FINISH)


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that were written, and that the peer has not acknowledged."""
    (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0)))
    return int(count)


class BoundedSocket(socket.socket):
    """A TCP connection. Every operation ends at ``deadline`` (s of time.monotonic), and raises where the peer has closed it."""

    deadline = FOREVER
    #: The moment (s of time.monotonic) at which something was last received.
    heard = 0.0

    def allow(self, seconds: float | None) -> None:
        """Limit the time (s) of all following operations together; None for no limit."""
        self.deadline = time.monotonic() + (FOREVER if seconds is None else seconds)

    def check_peer(self) -> None:
        """Look whether the peer has closed a connection that was idle. To be called before a message.

        :raises UnsentError: it has
        """
        if time.monotonic() - self.heard < IDLE:
            return
        self.settimeout(0)
        try:
            if super().recv(1, socket.MSG_PEEK):
                return
        except BlockingIOError:
            return
        except OSError as error:
            raise UnsentError(error.errno, error.strerror) from error
        raise UnsentError("the unit closed the connection")

    def discard(self) -> None:
        """Throw away what has come in, without waiting.

        :raises OSError: the connection is gone
        """
        self.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while super().recv(_CHUNK):
                pass
            raise ConnectionResetError("the unit closed the connection")

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        """Up to ``count`` bytes, at least one.

        :raises OSError: none came in time, or the connection is gone
        """
        self._arm()
        data = super().recv(count, flags)
        if not data:
            raise ConnectionResetError("the unit closed the connection")
        self.heard = time.monotonic()
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        """Read into a buffer. The number of bytes: at least one, unless none were asked for.

        :raises OSError: none came in time, or the connection is gone
        """
        self._arm()
        count = super().recv_into(buffer, nbytes, flags)
        if count == 0:
            raise ConnectionResetError("the unit closed the connection")
        self.heard = time.monotonic()
        return count

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of it.

        :raises OSError: it could not be sent in time, or the connection is gone
        """
        self._arm()
        super().sendall(data, flags)


def connect(host: str, port: int, timeout: float) -> BoundedSocket:
    """Open a TCP connection within the timeout (s). The next operations have the rest of it, until `BoundedSocket.allow`.

    :raises OSError: with the reason of the last address
    """
    with socket.create_connection((host.strip("[]"), port), timeout) as connection:
        prepare(connection)
        bounded = BoundedSocket(connection.family, connection.type, connection.proto, connection.detach())
    bounded.allow(timeout)
    return bounded

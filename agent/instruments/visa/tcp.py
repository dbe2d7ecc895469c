"""A TCP connection with a deadline, for VXI-11 and HiSLIP. The sockets of pyvisa-py begin their timeout anew with each byte."""

from __future__ import annotations

import socket
import time
from typing import Any

#: s, where the session has no timeout.
FOREVER = 365 * 86400.0
#: s, where no timeout for opening was asked for; pyvisa-py's own figure.
DEFAULT_OPEN_TIMEOUT = 5.0


class BoundedSocket(socket.socket):
    """A TCP connection. Every operation ends at ``deadline`` (s of time.monotonic), and raises where the peer has closed it."""

    deadline = FOREVER

    def allow(self, seconds: float | None) -> None:
        """Limit the time (s) of all following operations together; None for no limit."""
        self.deadline = time.monotonic() + (FOREVER if seconds is None else seconds)

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
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        """Read into a buffer. The number of bytes: at least one, unless none were asked for.

        :raises OSError: none came in time, or the connection is gone
        """
        self._arm()
        count = super().recv_into(buffer, nbytes, flags)
        if count == 0:
            raise ConnectionResetError("the unit closed the connection")
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
        bounded = BoundedSocket(connection.family, connection.type, connection.proto, connection.detach())
    bounded.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bounded.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    bounded.allow(timeout)
    return bounded

"""Bytes to and from units: a serial port, and a TCP connection. For one thread at a time.

Nothing that was written may still arrive after a failure: a port discards what it has not sent, a connection ends with a reset.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import serial

from agent.instruments.reasons import Way
from agent.instruments.tcp import BoundedSocket, connect, end_in_order

_CHUNK = 4096


class Stream(ABC):
    """One way to some units. Every method raises OSError where it is gone; TimeoutError is one of these."""

    #: For the sentence on a failure.
    way = Way("other", "the line")

    @abstractmethod
    def open(self) -> None:
        """Open it; it is closed before."""

    @abstractmethod
    def discard(self) -> None:
        """Throw away what has come in: the late answer to an earlier question."""

    @abstractmethod
    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it before that moment (s of time.monotonic)."""

    @abstractmethod
    def receive(self, deadline: float) -> bytes:
        """Bytes that came in, at least one.

        :raises TimeoutError: none did before that moment (s of time.monotonic)
        """

    @abstractmethod
    def recover(self) -> bool:
        """Have nothing arrive any more of what was sent without an answer; True if it is open still. It never raises."""

    @abstractmethod
    def close(self, *, in_order: bool) -> None:
        """Close it; ``in_order``: all that was sent was answered. It never raises, and may be called twice."""


class TcpStream(Stream):
    """A TCP connection, which ends with a reset, whatever ends it, until `close` in order says otherwise.

    :param timeout: s that opening may take
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.way = Way("Modbus", host, port, timeout)
        self._address = (host, port)
        self._timeout = timeout
        self._socket: BoundedSocket | None = None

    def open(self) -> None:
        """Connect."""
        self._socket = connect(*self._address, self._timeout)

    def discard(self) -> None:
        """Throw away what has come in; the peer may have closed the connection meanwhile."""
        self._opened().discard()

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it."""
        connection = self._opened()
        connection.deadline = deadline
        connection.sendall(data)

    def receive(self, deadline: float) -> bytes:
        """Bytes that came in."""
        connection = self._opened()
        connection.deadline = deadline
        return connection.recv(_CHUNK)

    def recover(self) -> bool:
        """End the connection with a reset."""
        self.close(in_order=False)
        return False

    def close(self, *, in_order: bool) -> None:
        """Close it: by a reset, if not in order."""
        connection, self._socket = self._socket, None
        if connection is not None:
            if in_order:
                end_in_order(connection)
            with contextlib.suppress(OSError):
                connection.close()

    def _opened(self) -> BoundedSocket:
        if self._socket is None:
            raise ConnectionError("the connection is closed")
        return self._socket


class NoStream(Stream):
    """A way that units do not speak Modbus on: opening it raises the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def open(self) -> None:
        """Raise the reason."""
        raise OSError(self._reason)

    def discard(self) -> None:
        """Raise the reason."""
        self.open()

    def send(self, data: bytes, deadline: float) -> None:
        """Raise the reason."""
        self.open()

    def receive(self, deadline: float) -> bytes:
        """Raise the reason."""
        raise OSError(self._reason)

    def recover(self) -> bool:
        """It is never open."""
        return False

    def close(self, *, in_order: bool) -> None:
        """It is never open."""


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """The parameters of a serial line, as pyserial names their values."""

    baud: int = 9600
    data_bits: int = 8
    parity: str = "N"
    stop_bits: float = 1
    flow: str = "none"

    @property
    def frame_gap(self) -> float:
        """s of silence between frames: 3.5 characters, 1.75 ms above 19,200 Bd (Modbus over serial line 1.02, 2.5.1.1)."""
        return 0.00175 if self.baud > 19200 else 3.5 * 11 / self.baud


class SerialStream(Stream):
    """A serial port, which no other program may use meanwhile."""

    def __init__(self, path: str, settings: SerialSettings) -> None:
        self.way = Way("serial", path, baud=settings.baud)
        self._path = path
        self._settings = settings
        self._port: Any = None

    def open(self) -> None:
        """Open the port, and discard what an earlier user left in it."""
        settings = self._settings
        flow: Mapping[str, str] = {"xon_xoff": "xonxoff", "rts_cts": "rtscts", "dtr_dsr": "dsrdtr"}
        more = {flow[settings.flow]: True} if settings.flow in flow else {}
        try:
            self._port = serial.Serial(
                self._path,
                settings.baud,
                bytesize=settings.data_bits,
                parity=settings.parity,
                stopbits=settings.stop_bits,
                timeout=0,
                exclusive=True,
                **more,
            )
        except (ValueError, termios.error) as error:
            raise OSError(f"the port does not take its parameters: {error}") from None
        self.discard()

    def discard(self) -> None:
        """Throw away what has come in."""
        self._flush(termios.TCIFLUSH)

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it."""
        while data:
            self._wait(select.POLLOUT, deadline)
            data = data[os.write(self._descriptor(), data) :]

    def receive(self, deadline: float) -> bytes:
        """Bytes that came in."""
        self._wait(select.POLLIN, deadline)
        data = os.read(self._descriptor(), _CHUNK)
        if not data:
            raise ConnectionResetError("the port is gone")
        return data

    def recover(self) -> bool:
        """Discard what was not sent yet, and leave the port open for the other units of the line."""
        try:
            self._flush(termios.TCIOFLUSH)
        except OSError:
            self.close(in_order=False)
        return self._port is not None

    def close(self, *, in_order: bool) -> None:
        """Close the port; not in order, what it has not sent is discarded."""
        if self._port is None:
            return
        if not in_order:
            with contextlib.suppress(OSError):
                self._flush(termios.TCOFLUSH)
        port, self._port = self._port, None
        with contextlib.suppress(OSError, termios.error):
            port.close()

    def _descriptor(self) -> int:
        if self._port is None:
            raise ConnectionError("the port is closed")
        return int(self._port.fileno())

    def _flush(self, which: int) -> None:
        try:
            termios.tcflush(self._descriptor(), which)
        except termios.error as error:
            raise OSError(*error.args) from None

    def _wait(self, event: int, deadline: float) -> None:
        # Not pyserial's own waiting: it is by select, which takes no descriptor of 1,024 and above.
        poller = select.poll()
        poller.register(self._descriptor(), event)
        if not poller.poll(_left(deadline) * 1000):
            raise TimeoutError("timed out")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left

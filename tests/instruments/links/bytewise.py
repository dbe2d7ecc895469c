"""A unit that is given bytes and gives bytes, at the far end of a serial line or of a socket."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import tty
from collections.abc import Callable
from typing import Self

#: What the unit sends for the bytes that came in: all of it at once, or pieces with the s that pass before each.
Answer = bytes | list[tuple[float, bytes]]


class ByteUnit:
    """Answers whatever comes in by a function. ``arrived`` and ``answered`` are moments of time.monotonic."""

    def __init__(self, answer: Callable[[bytes], Answer], *, serial: bool) -> None:
        self.received: list[bytes] = []
        self.arrived: list[float] = []
        self.answered: list[float] = []
        self._answer = answer
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        if serial:
            self._master, self.slave = os.openpty()
            tty.setraw(self.slave)
            self.uri = f"ASRL{os.ttyname(self.slave)}::INSTR"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self._listener.settimeout(0.05)
            self._master = self.slave = -1
            self.uri = f"TCPIP::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Send bytes that nobody asked for."""
        if self._listener is None:
            os.write(self._master, data)
        elif self._connection is not None:
            self._connection.sendall(data)

    def _run(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(OSError):
                data = self._take()
                if not data:
                    continue
                self.arrived.append(time.monotonic())
                self.received.append(data)
                answer = self._answer(data)
                for pause, piece in [(0.0, answer)] if isinstance(answer, bytes) else answer:
                    if pause:
                        time.sleep(pause)
                    self.answered.append(time.monotonic())
                    self.send(piece)

    def _take(self) -> bytes:
        if self._listener is None:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            return os.read(self._master, 4096) if ready else b""
        connection = self._connection
        if connection is None:
            self._connection = connection = self._listener.accept()[0]
        ready, _, _ = select.select([connection.fileno()], [], [], 0.05)
        if not ready:
            return b""
        data = connection.recv(4096)
        if not data:
            connection.close()
            self._connection = None
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._thread.join(10)
        if self._connection is not None:
            self._connection.close()
        if self._listener is not None:
            self._listener.close()
        else:
            os.close(self._master)
            os.close(self.slave)

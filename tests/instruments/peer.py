"""A TCP server that answers as a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from agent.instruments.visa.session import VisaSession


class Peer:
    """A TCP server that answers each line with the next of these, whatever was asked."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self.received = b""
        self.ended = 0  # connections
        self._answers = iter(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                self.received += data
                for _ in range(data.count(b"\n")):
                    answer = next(self._answers, b"")
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)
        self.ended += 1

    def session(self, **options: object) -> VisaSession:
        """One that waits for an answer as long as a busy machine takes. Where none comes, give a ``timeout`` (ms)."""
        return VisaSession(
            f"TCPIP::127.0.0.1::{self.port}::SOCKET", options={"timeout": 5000, "open_timeout": 5000, **options}
        )

    def close(self) -> None:
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

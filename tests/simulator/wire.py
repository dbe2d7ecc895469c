"""A client that speaks ONC RPC by the byte."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self


class Rpc:
    """One connection to an ONC RPC program. `call` gives the words of a result, `status` only how it was accepted."""

    def __init__(
        self,
        port: int | None,
        *,
        host: str = "127.0.0.1",
        program: int = 0x0607AF,
        version: int = 1,
        protocol: str = "tcp",
    ) -> None:
        assert port
        self.program = program
        self.version = version
        self._stream = protocol == "tcp"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.connect((host, port))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    @staticmethod
    def opaque(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)

    def send(self, procedure: int, arguments: bytes = b"") -> None:
        record = struct.pack(">10I", 7, 0, 2, self.program, self.version, procedure, 0, 0, 0, 0) + arguments
        header = struct.pack(">I", len(record) | 1 << 31) if self._stream else b""
        self._socket.sendall(header + record)

    def call(self, procedure: int, arguments: bytes = b"") -> tuple[int, ...]:
        self.send(procedure, arguments)
        return self.receive()

    def receive(self) -> tuple[int, ...]:
        words = self._reply()
        assert words[:6] == (7, 1, 0, 0, 0, 0)
        return words[6:]

    def status(self, procedure: int, arguments: bytes) -> int:
        self.send(procedure, arguments)
        return self._reply()[5]

    def _reply(self) -> tuple[int, ...]:
        if self._stream:
            (length,) = struct.unpack(">I", self._read(4))
            reply = self._read(length & 0x7FFFFFFF)
        else:
            reply = self._socket.recv(65536)
        return struct.unpack(f">{len(reply) // 4}I", reply)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            received = self._socket.recv(size - len(data))
            assert received, "the server closed the connection"
            data += received
        return data

"""A TCP proxy on loopback that does to a connection what networks, instruments and brokers do on their bad days."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)

#: What becomes of bytes on their way: pieces to be passed on. An exception ends the connection.
Way = Callable[[bytes], Iterator[bytes]]


class Drop(Exception):
    """End the connection in good order (FIN)."""


class Reset(Exception):
    """End the connection with a reset (RST)."""


def straight(data: bytes) -> Iterator[bytes]:
    yield data


@dataclass(eq=False)
class _Pair:
    near: socket.socket
    far: socket.socket

    def end(self, *, reset: bool = False) -> None:
        for end in (self.near, self.far):
            # The shutdown wakes the thread that reads from it. After a linger of 0 the close is a reset, but not a FIN.
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Stands before a port of loopback. ``up`` and ``down`` may be changed at any time, for connections that are open too.

    ``up`` is what becomes of what a client sends, ``down`` of what it is answered.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.up: Way = straight
        self.down: Way = straight
        self.accepting = True
        self.connections = 0
        self._pairs: list[_Pair] = []
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the same port again after `stop`."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="proxy", daemon=True).start()

    def stop(self) -> None:
        """Refuse: the port is closed, and every connection ends."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.end_all()

    def end_all(self, *, reset: bool = False) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end(reset=reset)

    def heal(self) -> None:
        """Do nothing bad any more. Connections that hang are left to their ends."""
        self.up = self.down = straight
        if self._listener is None:
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(near, far)
            with self._lock:
                self._pairs = [other for other in self._pairs if other.near.fileno() >= 0] + [pair]
            for source, sink, upward in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pass, args=(pair, source, sink, upward), name="proxy", daemon=True
                ).start()

    def _pass(self, pair: _Pair, source: socket.socket, sink: socket.socket, upward: bool) -> None:
        try:
            while data := source.recv(65536):
                for piece in (self.up if upward else self.down)(data):
                    sink.sendall(piece)
        except Reset:
            pair.end(reset=True)
        except (Drop, OSError):
            pass
        pair.end()


# Ways.


def swallow(data: bytes) -> Iterator[bytes]:
    """A black hole: it takes everything and passes nothing on."""
    yield from ()


def drop(data: bytes) -> Iterator[bytes]:
    raise Drop
    yield b""


def reset(data: bytes) -> Iterator[bytes]:
    raise Reset
    yield b""


def drop_in_the_middle(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    raise Drop


def reset_in_the_middle(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    raise Reset


def half(data: bytes) -> Iterator[bytes]:
    """The rest never comes, and the connection stays."""
    yield data[: len(data) // 2]


def garbage(data: bytes) -> Iterator[bytes]:
    yield bytes((byte * 167 + 13) & 0xFF for byte in data)


def high_bytes(data: bytes) -> Iterator[bytes]:
    yield bytes(byte | 0x80 if byte != 10 else 10 for byte in data)


def twice(data: bytes) -> Iterator[bytes]:
    yield data + data


def endless(data: bytes) -> Iterator[bytes]:
    """A stream without an end, as fast as it is taken."""
    while True:
        yield b"5" * 4096


def drip(data: bytes) -> Iterator[bytes]:
    """One byte in a while, so that each read gets something in time and the answer never does."""
    for byte in data:
        time.sleep(0.1)
        yield bytes([byte])


def late(seconds: float) -> Way:
    def way(data: bytes) -> Iterator[bytes]:
        time.sleep(seconds)
        yield data

    return way


def once(way: Way, then: Way = straight) -> Way:
    """One bad moment, and everything is well again."""
    done = threading.Event()

    def one(data: bytes) -> Iterator[bytes]:
        if done.is_set():
            yield from then(data)
        else:
            done.set()
            yield from way(data)

    return one

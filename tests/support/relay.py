"""A TCP relay between a client and a server on this host, to look at the bytes that pass, or to break the connection.

Imports nothing of this project, as it also runs as a program in another network namespace, where sockets in the file system
lead out: ``python relay.py FROM TO [FROM TO …]``, each ``tcp:PORT`` of 127.0.0.1 or ``unix:PATH``. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

#: A TCP port of 127.0.0.1, or the path of a Unix socket.
Address = int | Path

_RESET = struct.pack("ii", 1, 0)
_PR_SET_PDEATHSIG = 1


class Drop(Exception):
    """End the connection in good order (FIN)."""


class Reset(Exception):
    """End the connection with a reset (RST)."""


@dataclass(eq=False)
class _Pair:
    """The two connections that one connection through the relay is made of."""

    near: socket.socket
    far: socket.socket
    directions: int = 2

    def end(self, *, reset: bool = False) -> None:
        for end in (self.near, self.far):
            # The shutdown wakes the thread that reads from it. After a linger of 0 the close is a reset, but not a FIN.
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            end.close()


class Relay:
    """Listens for clients and connects each of them to ``target``. As a context manager it is closed at the end.

    A subclass may override `connected`, `opened`, `passing` and `closed`, which are called in the relay's threads.

    :param source: where it listens, at once; 0 takes a free port. See `port`.
    """

    def __init__(self, target: Address, source: Address = 0) -> None:
        self.connections = 0
        self.port = source if isinstance(source, int) else 0
        self._target = target
        self._source = source
        self._numbers = itertools.count(1)
        self._pairs: list[_Pair] = []
        self._listener: socket.socket | None = None
        self._reserved: socket.socket | None = None
        self._lock = threading.Lock()
        self.start()

    # --- for subclasses to override

    def connected(self) -> socket.socket:
        """A new connection to the server.

        :raises OSError: there is none; the client's is closed
        """
        return connected(self._target)

    def opened(self, number: int) -> None:
        """A client's connection is there, the ``number``-th from 1; nothing has passed on it."""

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        """The pieces to pass on of what came from the client (``upward``) or from the server.

        `Drop` and `Reset` end the connection.
        """
        return (data,)

    def closed(self, number: int) -> None:
        """The connection has ended, in both directions."""

    # --- for its users

    def start(self) -> None:
        """Listen, at the same port again after `stop`."""
        if isinstance(self._source, int):
            listener = _bound(self.port)
            self.port = listener.getsockname()[1]
        else:
            self._source.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self._source))
        listener.listen(64)
        self._listener = listener
        self._release()
        threading.Thread(target=self._accept, args=(listener,), name="relay", daemon=True).start()

    def stop(self) -> None:
        """Refuse clients, and end every connection. The port stays reserved until `start` or `close`.

        Otherwise another process could take it, or a client that tries again and again could be given it as its own port and
        connect to itself.
        """
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            if isinstance(self._source, int):
                self._reserved = _bound(self.port)
        self.end_all()

    def close(self) -> None:
        """End every connection, and give up the port."""
        self.stop()
        self._release()

    def _release(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    @property
    def listening(self) -> bool:
        """Clients can connect."""
        return self._listener is not None

    def end_all(self, *, reset: bool = False) -> None:
        """End every connection, and go on listening."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end(reset=reset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = self.connected()
            except OSError:
                near.close()
                continue
            for end in (near, far):
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(near, far)
            number = next(self._numbers)
            with self._lock:
                is_stopped = self._listener is not listener  # since it was accepted
                if not is_stopped:
                    self._pairs = [other for other in self._pairs if other.near.fileno() >= 0] + [pair]
            if is_stopped:
                pair.end()
                return
            self.opened(number)
            for source, sink, upward in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pass, args=(number, pair, source, sink, upward), name="relay", daemon=True
                ).start()

    def _pass(self, number: int, pair: _Pair, source: socket.socket, sink: socket.socket, upward: bool) -> None:
        try:
            while data := source.recv(65536):
                for piece in self.passing(number, upward, data):
                    sink.sendall(piece)
        except Reset:
            pair.end(reset=True)
        except (Drop, OSError):
            pass
        pair.end()
        with self._lock:
            pair.directions -= 1
            is_last = pair.directions == 0
        if is_last:
            self.closed(number)


def _bound(port: int) -> socket.socket:
    """A socket bound to a port of 127.0.0.1, 0 for a free one. It may be bound beside one that does not listen."""
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


def connected(address: Address) -> socket.socket:
    """A connection to a port of 127.0.0.1 or to a Unix socket.

    :raises OSError: it can't be made
    """
    if isinstance(address, int):
        connection = socket.create_connection(("127.0.0.1", address), 5)
        connection.settimeout(None)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(address))
    except OSError:
        connection.close()
        raise
    return connection


def _address(text: str) -> Address:
    kind, _, where = text.partition(":")
    return int(where) if kind == "tcp" else Path(where)


def main() -> None:
    """Relay between the addresses of the command line until killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    addresses = [_address(text) for text in sys.argv[1:]]
    relays = [Relay(target, source) for source, target in zip(addresses[::2], addresses[1::2], strict=True)]
    assert relays
    signal.pause()


if __name__ == "__main__":
    main()

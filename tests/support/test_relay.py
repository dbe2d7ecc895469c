from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.relay import Drop, Relay, Reset
from tests.support.waiting import wait_until


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back all that it gets."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1000):
                connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


class Watched(Relay):
    """Tells what it is told, and breaks the connection where the bytes say so."""

    def __init__(self, target: int) -> None:
        self.seen: list[object] = []
        self.down: list[bytes] = []
        super().__init__(target)

    def opened(self, number: int) -> None:
        self.seen.append(("opened", number))

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        if upward:
            self.seen.append((number, data))
        else:
            self.down.append(data)
        if data == b"drop":
            raise Drop
        if data == b"reset":
            raise Reset
        return data[:1], data[1:]

    def closed(self, number: int) -> None:
        self.seen.append(("closed", number))


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def test_what_passes_is_seen_in_order(echo: int) -> None:
    with Watched(echo) as relay, connected(relay.port) as client:
        client.sendall(b"abc")
        assert client.makefile("rb").read(3) == b"abc"
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: ("closed", 1) in relay.seen, "the end")
        assert relay.seen[:2] == [("opened", 1), (1, b"abc")]
        assert relay.seen.count(("closed", 1)) == 1
        assert b"".join(relay.down) == b"abc"


def test_a_connection_is_ended_in_both_ways(echo: int) -> None:
    with Watched(echo) as relay:
        with connected(relay.port) as client:
            client.sendall(b"drop")
            assert client.recv(10) == b""
        with connected(relay.port) as client:
            client.sendall(b"reset")
            with pytest.raises(ConnectionResetError):
                client.recv(10)
        wait_until(lambda: relay.seen.count(("closed", 1)) == relay.seen.count(("closed", 2)) == 1, "both ends")
        assert relay.connections == 2


def test_it_refuses_when_it_is_stopped_and_comes_back_on_its_port(echo: int) -> None:
    with Relay(echo) as relay, connected(relay.port) as client:
        client.sendall(b"x")
        assert client.recv(10) == b"x"
        relay.stop()
        assert not relay.listening
        assert client.recv(10) == b""
        with pytest.raises(ConnectionRefusedError):
            connected(relay.port)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):  # the port is nobody else's meanwhile
            other.bind(("127.0.0.1", relay.port))
        relay.start()
        with connected(relay.port) as again:
            again.sendall(b"y")
            assert again.recv(10) == b"y"


def test_a_connection_that_is_being_made_when_it_is_stopped_is_ended(echo: int) -> None:
    class Slow(Relay):
        def __init__(self) -> None:
            self.begun, self.may_go_on = threading.Event(), threading.Event()
            super().__init__(echo)

        def connected(self) -> socket.socket:
            self.begun.set()
            assert self.may_go_on.wait(10)
            return super().connected()

    with Slow() as relay, connected(relay.port) as client:
        assert relay.begun.wait(10)
        relay.stop()
        relay.may_go_on.set()
        assert client.recv(10) == b""


def test_a_socket_in_the_file_system(echo: int, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Relay(echo, path), Relay(path) as relay, connected(relay.port) as client:
        client.sendall(b"x")
        assert client.recv(10) == b"x"


def test_a_server_that_is_not_there_is_a_closed_connection() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # does not listen, and keeps the port from others
        with Relay(server.getsockname()[1]) as relay, connected(relay.port) as client:
            assert client.recv(10) == b""

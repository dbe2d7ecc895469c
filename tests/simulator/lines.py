"""Clients that speak with simulated instruments by the byte, and a clock that tests move."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.simulator import NetworkInstrument, Supply
from tests.support.waiting import PATIENCE


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class Wire:
    """The bytes of one connection, sent and received as they are."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, data: bytes) -> None:
        assert os.write(self.descriptor, data) == len(data)

    def read(self, count: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < count:
            assert select.select([self.descriptor], [], [], PATIENCE)[0], f"only {data!r} came"
            received = os.read(self.descriptor, count - len(data))
            assert received, "the line was closed"
            data += received
        return data

    def line(self, end: bytes = b"\n") -> bytes:
        """The bytes up to and with these."""
        data = b""
        while not data.endswith(end):
            data += self.read(1)
        return data

    def ask(self, data: bytes, end: bytes = b"\n") -> bytes:
        self.send(data)
        return self.line(end)


@contextmanager
def on_socket(supply: Supply, **options: Any) -> Iterator[Wire]:
    """A connection to a supply's raw socket."""
    with (
        NetworkInstrument(supply, socket_port=0, **options) as network,
        socket.create_connection(("127.0.0.1", network.socket_port or 0), timeout=PATIENCE) as connection,
    ):
        connection.setblocking(True)
        yield Wire(connection.fileno())


@contextmanager
def on_serial(supply: Supply, **options: Any) -> Iterator[Wire]:
    """A supply's serial line."""
    with NetworkInstrument(supply, socket_port=None, pty=True, **options) as network:
        assert network.serial_path
        descriptor = os.open(network.serial_path, os.O_RDWR | os.O_NOCTTY)
        try:
            yield Wire(descriptor)
        finally:
            os.close(descriptor)


def ask(supply: Supply, message: str) -> str:
    answer = supply.execute(message)
    assert answer is not None, f"no answer to {message}"
    return answer


def tell(supply: Supply, *messages: str) -> None:
    for message in messages:
        assert supply.execute(message) is None, f"{message} was answered"

"""A TCP proxy on loopback with the faults that networks, instruments and brokers have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from tests.support.relay import Drop, Relay, Reset

#: What becomes of bytes on their way: pieces to be passed on. An exception ends the connection.
Way = Callable[[bytes], Iterator[bytes]]


def straight(data: bytes) -> Iterator[bytes]:
    yield data


class Proxy(Relay):
    """A relay before a port of loopback whose ways may be changed at any time, for open connections too.

    ``up`` is what becomes of what a client sends, ``down`` of what it is answered.
    """

    def __init__(self, port: int) -> None:
        self.up: Way = straight
        self.down: Way = straight
        super().__init__(port)

    def passing(self, number: int, upward: bool, data: bytes) -> Iterator[bytes]:
        return (self.up if upward else self.down)(data)

    def heal(self) -> None:
        """Do nothing bad any more. Connections that hang are left to their ends."""
        self.up = self.down = straight
        if not self.listening:
            self.start()


def swallow(data: bytes) -> Iterator[bytes]:
    """A black hole: it takes everything and passes nothing on."""
    yield from ()


def until(event: threading.Event) -> Way:
    """A link that stalls: nothing passes until the event, and then everything, in order."""

    def way(data: bytes) -> Iterator[bytes]:
        event.wait()
        yield data

    return way


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

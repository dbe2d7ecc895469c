"""Between the agent and its broker: passes every byte on, and tells an observer of the MQTT 5 packets among them.

What the agent was given and what it gave is known here for certain, also when the broker dies in the next moment. That is
what makes "exactly one response to each command" provable: a subscriber behind a broker that was killed can't know.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tests.support.relay import Relay

_CORRELATION_DATA, _RESPONSE_TOPIC = 0x09, 0x08
#: MQTT 5, 2.2.2.2: how long the value of each property is that a PUBLISH may have; None: two bytes of length come first.
_PROPERTY_LENGTHS = {0x01: 1, 0x02: 4, 0x03: None, _RESPONSE_TOPIC: None, _CORRELATION_DATA: None, 0x23: 2}
_SUBSCRIPTION_IDENTIFIER, _USER_PROPERTY = 0x0B, 0x26


@dataclass(frozen=True, slots=True)
class Publish:
    """A PUBLISH packet; ``mid`` is 0 with QoS 0."""

    topic: str
    payload: bytes
    mid: int
    retain: bool
    correlation: bytes | None
    response_topic: str | None


class Observer(Protocol):
    """Is told of packets before they are passed on. ``connection`` counts the agent's connections from 1."""

    def connected(self, connection: int) -> None: ...
    def delivered(self, connection: int, packet: Publish) -> None: ...
    def agent_acknowledged(self, connection: int, mid: int) -> None: ...
    def published(self, connection: int, packet: Publish) -> None: ...
    def broker_acknowledged(self, connection: int, mid: int) -> None: ...
    def disconnected(self, connection: int) -> None: ...


class Tap(Relay):
    """Stands between the agent and the broker's port, and tells the observer of what passes."""

    def __init__(self, broker_port: int, observer: Observer) -> None:
        self._observer = observer
        self._flows = {upward: threading.Event() for upward in (True, False)}
        for flows in self._flows.values():
            flows.set()
        self._readers: dict[tuple[int, bool], PacketReader] = {}
        super().__init__(broker_port)

    def close(self) -> None:
        """End every connection, also one that is held, and give up the port."""
        self.release()
        super().close()

    def cut(self) -> None:
        """End the agent's connection, as a switch that is unplugged and noticed does."""
        self.end_all()

    def hold(self, *, up: bool = True, down: bool = True) -> None:
        """Pass nothing on, and say nothing, until `release`: from the agent (``up``), from its broker (``down``)."""
        for upward, is_meant in ((True, up), (False, down)):
            if is_meant:
                self._flows[upward].clear()

    def release(self) -> None:
        """End a `hold`: what came meanwhile is passed on."""
        for flows in self._flows.values():
            flows.set()

    def opened(self, number: int) -> None:
        for upward in (True, False):
            self._readers[number, upward] = PacketReader()
        self._observer.connected(number)

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        self._flows[upward].wait()
        take = self._from_agent if upward else self._from_broker
        for first_byte, body in self._readers[number, upward].feed(data):
            take(number, first_byte, body)
        return (data,)

    def closed(self, number: int) -> None:
        for upward in (True, False):
            del self._readers[number, upward]
        self._observer.disconnected(number)

    def _from_agent(self, number: int, first_byte: int, body: bytes) -> None:
        match first_byte >> 4:
            case 3:
                self._observer.published(number, parse_publish(first_byte, body))
            case 4:
                self._observer.agent_acknowledged(number, int.from_bytes(body[:2], "big"))

    def _from_broker(self, number: int, first_byte: int, body: bytes) -> None:
        match first_byte >> 4:
            case 3:
                self._observer.delivered(number, parse_publish(first_byte, body))
            case 4 if len(body) < 3 or body[2] < 0x80:
                self._observer.broker_acknowledged(number, int.from_bytes(body[:2], "big"))


class PacketReader:
    """Cuts a stream into MQTT packets: first byte and what follows the length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The packets that ``data`` completes."""
        rest = self._rest + data
        position = 0
        while (header := _length(rest, position + 1)) is not None:
            length, start = header
            if len(rest) < start + length:
                break
            yield rest[position], rest[start : start + length]
            position = start + length
        self._rest = rest[position:]


def parse_publish(first_byte: int, body: bytes) -> Publish:
    """Take an MQTT 5 PUBLISH packet apart."""
    (length,) = struct.unpack_from("!H", body)
    position = 2 + length
    topic = body[2:position].decode()
    mid = 0
    if first_byte & 0b110:
        (mid,) = struct.unpack_from("!H", body, position)
        position += 2
    header = _length(body, position)
    assert header is not None, body
    length, start = header
    correlation, response_topic = _properties(body[start : start + length])
    return Publish(topic, body[start + length :], mid, bool(first_byte & 1), correlation, response_topic)


def _properties(data: bytes) -> tuple[bytes | None, str | None]:
    correlation: bytes | None = None
    response_topic: str | None = None
    position = 0
    while position < len(data):
        kind, position = data[position], position + 1
        if kind == _SUBSCRIPTION_IDENTIFIER:
            header = _length(data, position)
            assert header is not None, data
            position = header[1]
            continue
        for _ in range(2 if kind == _USER_PROPERTY else 1):
            length = None if kind == _USER_PROPERTY else _PROPERTY_LENGTHS[kind]
            if length is None:
                (length,) = struct.unpack_from("!H", data, position)
                position += 2
            value, position = data[position : position + length], position + length
        if kind == _CORRELATION_DATA:
            correlation = value
        elif kind == _RESPONSE_TOPIC:
            response_topic = value.decode()
    return correlation, response_topic


def _length(data: bytes, position: int) -> tuple[int, int] | None:
    """A variable byte integer (MQTT 5, 1.5.5) and where what follows it begins; None if it is not whole."""
    value = 0
    for index, byte in enumerate(data[position : position + 4]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    return None

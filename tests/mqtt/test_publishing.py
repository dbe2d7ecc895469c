"""The short way through paho: the bytes are paho's own, and acknowledgements are understood however they arrive."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.local.broker import LocalBroker
from agent.mqtt.publishing import PublishingClient
from tests.lab import PATIENCE, wait_until
from tests.properties import examples

VERSIONS = [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311]


class Wire:
    """A client on one end of a pair of sockets, connected as far as paho can tell."""

    def __init__(self, client: Client) -> None:
        self.client = client
        here, self.there = socket.socketpair()
        here.setblocking(False)
        self.there.setblocking(False)
        client._sock = here

    def sent(self) -> bytes:
        self.client.loop_write()
        data = b""
        while select.select([self.there], [], [], 0)[0]:
            data += self.there.recv(1 << 20)
        return data

    def close(self) -> None:
        self.there.close()
        if self.client._sock is not None:
            self.client._sock.close()
            self.client._sock = None


def make(kind: type[Client], version: MQTTProtocolVersion, *, is_accepted: bool = True) -> Client:
    client = kind(CallbackAPIVersion.VERSION2, client_id="x", protocol=version)
    client.on_socket_register_write = lambda *_: None
    if isinstance(client, PublishingClient) and is_accepted:
        client.connack_code = 0
    return client


@pytest.fixture
def wires(request: pytest.FixtureRequest) -> Iterator[tuple[Wire, Wire]]:
    ours, theirs = (Wire(make(kind, request.param)) for kind in (PublishingClient, Client))
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("wires", VERSIONS, indirect=True)
@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 70_000])
@pytest.mark.parametrize("retain", [False, True])
def test_a_message_has_the_bytes_that_paho_gives_it(wires: tuple[Wire, Wire], length: int, retain: bool) -> None:
    ours, theirs = wires
    assert isinstance(ours.client, PublishingClient)
    topic, payload = "psu/prüfstand/1/state", bytes(range(256)) * (length // 256 + 1)
    payload = payload[:length]
    mid = ours.client.send(topic, payload, retain=retain)
    info = theirs.client.publish(topic, payload, qos=1, retain=retain)
    assert (mid, ours.sent()) == (info.mid, theirs.sent())


@pytest.mark.parametrize("wires", VERSIONS[:1], indirect=True)
def test_properties_have_the_bytes_that_paho_gives_them(wires: tuple[Wire, Wire]) -> None:
    ours, theirs = wires
    assert isinstance(ours.client, PublishingClient)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = b"\0\xff42"
    ours.client.send("a/b", b"{}", retain=False, properties=properties)
    theirs.client.publish("a/b", b"{}", qos=1, properties=properties)
    assert ours.sent() == theirs.sent()


def test_packets_that_wait_go_out_together(wires_v5: Wire) -> None:
    client = wires_v5.client
    assert isinstance(client, PublishingClient)
    for number in range(50):
        client.send("a", b"%d" % number, retain=False)
    assert client.want_write()
    assert wires_v5.sent().count(b"\x32") >= 50
    assert not client.want_write()


@pytest.fixture
def wires_v5() -> Iterator[Wire]:
    wire = Wire(make(PublishingClient, MQTTProtocolVersion.MQTTv5))
    yield wire
    wire.close()


def puback(mid: int, reason: int | None, properties: bool) -> bytes:
    body = mid.to_bytes(2, "big")
    if reason is not None:
        body += bytes([reason])
        if properties:
            body += b"\x00"
    return bytes([0x40, len(body)]) + body


def publish(payload: bytes) -> bytes:
    body = b"\x00\x03a/b" + b"\x00" + payload
    return bytes([0x30, len(body)]) + body


ACKNOWLEDGEMENTS = st.tuples(
    st.integers(1, 65535), st.sampled_from([None, 0x00, 0x10, 0x80, 0x87, 0x97]), st.booleans()
).map(lambda a: ("ack", a[0], a[1] or 0, puback(*a)))
MESSAGES = st.binary(max_size=100).map(lambda payload: ("message", 0, payload, publish(payload)))
PINGS = st.just(("ping", 0, 0, b"\xd0\x00"))


@examples()
@given(
    packets=st.lists(st.one_of(ACKNOWLEDGEMENTS, MESSAGES, PINGS), max_size=30),
    cuts=st.lists(st.integers(1, 50), max_size=60),
)
def test_what_comes_in_is_understood_wherever_it_is_cut(packets: list[Any], cuts: list[int]) -> None:
    client = make(PublishingClient, MQTTProtocolVersion.MQTTv5)
    assert isinstance(client, PublishingClient)
    wire = Wire(client)
    heard: list[tuple[Any, ...]] = []
    client.on_ping_answered = lambda: heard.append(("ping", 0, 0))
    client.on_acknowledged = lambda mid, reason: heard.append(("ack", mid, reason))
    client.on_message = lambda _, __, message: heard.append(("message", 0, bytes(message.payload)))
    try:
        stream = b"".join(packet[3] for packet in packets)
        sizes = iter(cuts)
        while stream:
            size = next(sizes, len(stream))
            wire.there.send(stream[:size])
            stream = stream[size:]
            client.loop_read()
            while client.has_received:
                client.loop_read()
    finally:
        wire.close()
    assert heard == [tuple(packet[:3]) for packet in packets]


def numbered(mid: int, properties: bytes = b"\x00") -> bytes:
    body = b"\x00\x03a/b" + mid.to_bytes(2, "big") + properties + b"x"
    return bytes([0x32, len(body)]) + body


def read_all(client: Client) -> None:
    assert isinstance(client, PublishingClient)
    client.loop_read()
    while client.has_received:
        client.loop_read()


def test_acknowledgements_can_be_kept_back_and_stay_in_order(wires_v5: Wire) -> None:
    client = wires_v5.client
    assert isinstance(client, PublishingClient)
    wires_v5.there.sendall(numbered(1) + numbered(2))
    read_all(client)
    assert client.unacknowledged == 0
    client.hold_acknowledgements(True)
    wires_v5.there.sendall(numbered(3) + numbered(4))
    read_all(client)
    assert client.unacknowledged == 2
    client.ping()
    assert wires_v5.sent() == puback(1, None, False) + puback(2, None, False) + b"\xc0\x00"
    client.hold_acknowledgements(False)
    assert client.unacknowledged == 0
    assert wires_v5.sent() == puback(3, None, False) + puback(4, None, False)


def test_a_message_that_is_no_valid_mqtt_costs_not_the_connection(wires_v5: Wire) -> None:
    client = wires_v5.client
    assert isinstance(client, PublishingClient)
    complaints: list[str] = []
    client.on_malformed = complaints.append
    for properties in (b"\x05\x08\x00\x02\xff\xfe", b"\x03\x08\x00\x05", b"\x02\x7f\x00"):
        wires_v5.there.sendall(numbered(7, properties))
        read_all(client)
    assert len(complaints) == 3
    assert client.socket() is not None
    assert wires_v5.sent() == puback(7, None, False) * 3


def test_a_broker_that_closes_is_noticed(wires_v5: Wire) -> None:
    lost = []
    wires_v5.client.on_disconnect = lambda *_: lost.append(True)
    wires_v5.there.sendall(puback(1, None, False))
    wires_v5.there.close()
    for _ in range(3):
        wires_v5.client.loop_read()
    assert lost
    assert wires_v5.client.socket() is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_broker_takes_and_acknowledges(broker: LocalBroker, version: MQTTProtocolVersion) -> None:
    client = make(PublishingClient, version, is_accepted=False)
    assert isinstance(client, PublishingClient)
    open_: set[int] = set()
    arrived: list[bytes] = []
    subscribed = threading.Event()
    client.on_acknowledged = lambda mid, reason: open_.discard(mid)
    listener = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    listener.on_message = lambda _, __, message: arrived.append(bytes(message.payload))
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.connect(broker.host, broker.port_311)
    listener.subscribe("t/#", 1)
    listener.loop_start()
    try:
        assert subscribed.wait(PATIENCE)
        connected = []
        client.on_connect = lambda *_: connected.append(True)
        client.connect(broker.host, broker.port if version is VERSIONS[0] else broker.port_311)

        def exchange() -> bool:
            client.loop_write()
            connection = client.socket()
            assert connection is not None
            select.select([connection], [], [], 0.05)
            client.loop_read()
            while client.has_received:
                client.loop_read()
            return True

        wait_until(lambda: exchange() and connected, "CONNACK")
        for start in range(0, 300, 20):  # what a broker may have in flight
            open_.update(client.send("t/x", b"%d" % n, retain=False) for n in range(start, start + 20))
            wait_until(lambda: exchange() and not open_, "acknowledgements")
        wait_until(lambda: len(arrived) >= 300, "the messages")
        assert arrived == [b"%d" % number for number in range(300)]
        client.disconnect()
    finally:
        listener.disconnect()
        listener.loop_stop()

"""The tap reads what paho writes, however the stream is cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.local.broker import LocalBroker
from tests.soak.tap import PacketReader, Publish, Tap, parse_publish
from tests.support.waiting import wait_until


def written_by_paho(topic: str, payload: bytes, qos: int, retain: bool, properties: Properties) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client._sock = ours
        client._send_publish(7, topic.encode(), payload, qos, retain, False, MQTTMessageInfo(7), properties)
        client.loop_write()
        ours.shutdown(socket.SHUT_WR)
        data = b""
        while more := theirs.recv(65536):
            data += more
        client._sock = None
        return data


@settings(max_examples=60, deadline=None)
@given(
    payload=st.binary(max_size=400),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    correlation=st.none() | st.binary(max_size=40),
    response_topic=st.none() | st.sampled_from(["a", "clients/ä/answers"]),
    others=st.booleans(),
    cuts=st.lists(st.integers(0, 500), max_size=4),
)
def test_it_reads_what_paho_writes(
    payload: bytes,
    qos: int,
    retain: bool,
    correlation: bytes | None,
    response_topic: str | None,
    others: bool,
    cuts: list[int],
) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if others:
        properties.UserProperty = [("key", "value"), ("k", "")]
        properties.MessageExpiryInterval = 5
        properties.ContentType = "application/json"
    if correlation is not None:
        properties.CorrelationData = correlation
    if response_topic is not None:
        properties.ResponseTopic = response_topic
    data = written_by_paho("psu/psu1/1/set", payload, qos, retain, properties) * 2
    reader, packets = PacketReader(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        packets += [parse_publish(first, body) for first, body in reader.feed(data[start:end])]
    mid = 7 if qos else 0
    assert packets == [Publish("psu/psu1/1/set", payload, mid, retain, correlation, response_topic)] * 2


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda connection, what=None: self.seen.append((name, what))

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_both_directions_are_seen_and_a_cut_is_told_once(broker: LocalBroker, recorder: Recorder) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("MQTT 5 on the same port as 3.1.1")
    tap = Tap(broker.port, recorder)
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    subscribed, came = threading.Event(), threading.Event()
    client.on_connect = lambda *_: client.subscribe("a", qos=1) and None
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda *_: came.set()
    client.reconnect_delay_set(60, 60)
    client.connect("127.0.0.1", tap.port)
    client.loop_start()
    try:
        assert subscribed.wait(10)
        client.publish("a", b"x", qos=1)
        assert came.wait(10)
        both = {"agent_acknowledged", "broker_acknowledged"}  # in either order
        wait_until(lambda: both <= set(recorder.names()), "the acknowledgements are seen")
        assert [what for name, what in recorder.seen if name == "published"] == [
            Publish("a", b"x", 2, False, None, None)
        ]
        delivered = [what for name, what in recorder.seen if name == "delivered"]
        assert [(packet.topic, packet.payload) for packet in delivered] == [("a", b"x")]
        assert ("broker_acknowledged", 2) in recorder.seen
        tap.hold()
        before = len(recorder.seen)
        client.publish("a", b"y", qos=1)
        wait_until(lambda: not client.want_write(), "it is sent")
        tap.cut()
        tap.release()
        wait_until(lambda: "disconnected" in recorder.names(), "the end is told")
        assert recorder.names()[:1] == ["connected"]
        assert recorder.names().count("disconnected") == 1
        assert "delivered" not in recorder.names()[before:]
    finally:
        client.loop_stop()
        tap.close()

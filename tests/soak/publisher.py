"""The sender of the commands, which also receives the responses."""

from __future__ import annotations

import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.soak.commands import Command
from tests.soak.rules.books import RESPONSE_TOPIC
from tests.soak.rules.ledger import Ledger
from tests.support.observer import no_delay


class Publisher:
    """Publishes commands. paho keeps those that find no broker and sends them later, as real clients do."""

    def __init__(self, port: int, base: str, ledger: Ledger, *, keepalive: int) -> None:
        self._base = base
        self._ledger = ledger
        self.responses_heard = 0
        self._numbers: dict[int, Any] = {}
        self._acknowledged: dict[int, Any] = {}
        client = Client(CallbackAPIVersion.VERSION2, client_id="soak", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_socket_open = no_delay
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = lambda _client, _data, mid, *_: self._settle(self._acknowledged, mid, time.monotonic())
        client.max_inflight_messages_set(1000)
        client.connect_async("127.0.0.1", port, keepalive=keepalive)
        client.loop_start()
        self._client = client

    def _on_connect(self, client: Client, *_: object) -> None:
        client.subscribe([(f"{self._base}/+/response", 1), (f"{self._base}/+/+/response", 1), (RESPONSE_TOPIC, 1)])

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self.responses_heard += 1

    def send(self, command: Command) -> None:
        self._ledger.sending(command)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = command.correlation
        if not command.own_topic:
            properties.ResponseTopic = RESPONSE_TOPIC
        if command.expiry is not None:
            properties.MessageExpiryInterval = command.expiry
        sent = self._client.publish(
            f"{self._base}/{command.topic}", command.payload, qos=1, retain=command.retain, properties=properties
        )
        self._settle(self._numbers, sent.mid, command.number)

    def _settle(self, half: dict[int, Any], mid: int, value: float) -> None:
        """Note one half of what is known of a message; the acknowledgement may come before `publish` has returned."""
        half[mid] = value
        if mid in self._numbers and mid in self._acknowledged:
            number, moment = self._numbers.pop(mid, None), self._acknowledged.pop(mid, None)
            if number and moment is not None:
                self._ledger.accepted(number, moment)

    def get(self, unit: str) -> None:
        self._settle(self._numbers, self._client.publish(f"{self._base}/{unit}/get", b"", qos=1).mid, 0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

"""A user of the shipped broker, over MQTT 5 or 3.1.1."""

from __future__ import annotations

import json
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.waiting import wait_until

from .services import Broker


class Client:
    """A connection that notes what arrives."""

    def __init__(
        self,
        broker: Broker,
        user: str | None,
        password: str | None = None,
        version: int = mqtt.MQTTv5,
        session: str = "",
    ) -> None:
        """`session`: a client id under which the broker keeps what comes while this is away."""
        self.arrived: list[tuple[str, bytes, bool]] = []
        self.codes: list[str] = []
        #: How often the broker has granted what this has subscribed to: once more after each new connection.
        self.granted = 0
        self._acknowledged = self._sent = 0
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, session, protocol=version)  # type: ignore[arg-type]
        self._session = session
        if user is not None:
            self.client.username_pw_set(user, password if password is not None else broker.password(user))
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self._filters: list[tuple[str, SubscribeOptions | int]] = []
        self._port = broker.port

    def _on_connect(self, _client: object, _data: object, _flags: object, code: Any, _properties: object) -> None:
        self.codes.append(str(code))
        if self._filters:
            self.client.subscribe(self._filters)  # type: ignore[arg-type]

    def _on_subscribe(self, *_: object) -> None:
        self.granted += 1

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self.arrived.append((message.topic, bytes(message.payload), message.retain))

    def _on_publish(self, *_: object) -> None:
        self._acknowledged += 1

    def __enter__(self) -> Self:
        options: dict[str, Any] = {}
        if self._session:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 600
            options = {"clean_start": False, "properties": properties}
        self.client.connect("127.0.0.1", self._port, **options)
        self.client.loop_start()
        wait_until(lambda: self.codes, "an answer to CONNECT")
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic: str, payload: str, **options: Any) -> None:
        self.client.publish(topic, payload, qos=1, **options)
        self._sent += 1

    def settle(self) -> None:
        wait_until(lambda: self._acknowledged == self._sent, "acknowledgements")

    def subscribe(self, *topics: str) -> None:
        before = self.granted
        # As an agent does it: the retain flag stays as the sender set it.
        self._filters = [(topic, SubscribeOptions(qos=1, retainAsPublished=True)) for topic in topics]
        self.client.subscribe(self._filters)  # type: ignore[arg-type]
        wait_until(lambda: self.granted > before, "the broker to grant the subscription")

    def heard_online(self, topic: str) -> bool:
        """A state came there of a unit that is online. One that the agent does not reach at once is offline first."""
        return any(json.loads(payload)["online"] for name, payload, _ in self.arrived if name == topic)

    def topics(self) -> set[str]:
        return {topic for topic, _, _ in self.arrived}

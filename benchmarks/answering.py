"""The least that answers over MQTT, for the floors of the benchmarks: an answer to each message's Response Topic."""

from __future__ import annotations

from collections.abc import Callable

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.observer import no_delay


def serve(port: int, topic: str, answer: Callable[[], bytes]) -> None:
    """Send what ``answer`` gives to each message on the topic. Does not return."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_socket_open = no_delay

    def on_message(client: Client, _: object, message: MQTTMessage) -> None:
        payload = answer()
        asked = message.properties
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = asked.CorrelationData  # type: ignore[union-attr]
        client.publish(asked.ResponseTopic, payload, qos=1, properties=properties)  # type: ignore[union-attr]

    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe(topic, qos=1)
    client.loop_forever()

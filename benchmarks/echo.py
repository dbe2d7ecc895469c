"""The least that can answer over MQTT: sends so many bytes to the Response Topic of each message. A process of its own."""

from __future__ import annotations

import argparse

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.observer import no_delay


def main() -> None:
    parser = argparse.ArgumentParser(description="an MQTT echo, for the benchmarks")
    parser.add_argument("port", type=int)
    parser.add_argument("topic")
    parser.add_argument("size", type=int)
    arguments = parser.parse_args()
    answer = b"x" * arguments.size
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_socket_open = no_delay

    def on_message(client: Client, _: object, message: MQTTMessage) -> None:
        asked = message.properties
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = asked.CorrelationData  # type: ignore[union-attr]
        client.publish(asked.ResponseTopic, answer, qos=1, properties=properties)  # type: ignore[union-attr]

    client.on_message = on_message
    client.connect("127.0.0.1", arguments.port)
    client.subscribe(arguments.topic, qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()

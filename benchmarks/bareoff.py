"""The least that can turn an output off over MQTT: writes one line to a unit for each message. A process of its own."""

from __future__ import annotations

import argparse

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.rig import BareSocket, address_of
from tests.support.observer import no_delay


def main() -> None:
    parser = argparse.ArgumentParser(description="the floor that the benchmark of off compares the agent with")
    parser.add_argument("port", type=int)
    parser.add_argument("topic")
    parser.add_argument("resource", help="of the unit's raw socket")
    arguments = parser.parse_args()
    unit = BareSocket(address_of(arguments.resource))
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_socket_open = no_delay

    def on_message(client: Client, _: object, message: MQTTMessage) -> None:
        unit.tell("OUTP 0,(@1)")
        asked = message.properties
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = asked.CorrelationData  # type: ignore[union-attr]
        client.publish(asked.ResponseTopic, b"", qos=1, properties=properties)  # type: ignore[union-attr]

    client.on_message = on_message
    client.connect("127.0.0.1", arguments.port)
    client.subscribe(arguments.topic, qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()

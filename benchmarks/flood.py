"""Commands at a steady rate, to each topic in turn, until it is ended. A process of its own."""

from __future__ import annotations

import argparse
import itertools
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.observer import no_delay

#: s between two bursts. The commands of one reach the agent together.
_TICK = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description="a flood of commands, for the benchmarks")
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=float, help="commands a second")
    parser.add_argument("payload")
    parser.add_argument("topics", nargs="+")
    arguments = parser.parse_args()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_socket_open = no_delay
    client.max_inflight_messages_set(65000)
    client.connect("127.0.0.1", arguments.port)
    client.loop_start()
    topics = itertools.cycle(arguments.topics)
    start, sent = time.monotonic(), 0
    while True:
        # As many as are due by now: where the machine was busy the rate is made up for.
        for _ in range(round((time.monotonic() - start) * arguments.rate) - sent):
            client.publish(next(topics), arguments.payload, qos=1)
            sent += 1
        time.sleep(_TICK)


if __name__ == "__main__":
    main()

"""The least that can turn an output off over MQTT: writes one line to a unit for each message. A process of its own."""

from __future__ import annotations

import argparse

from benchmarks.answering import serve
from benchmarks.rig import BareSocket, address_of


def main() -> None:
    parser = argparse.ArgumentParser(description="the floor that the benchmark of off compares the agent with")
    parser.add_argument("port", type=int)
    parser.add_argument("topic")
    parser.add_argument("resource", help="of the unit's raw socket")
    arguments = parser.parse_args()
    unit = BareSocket(address_of(arguments.resource))

    def off() -> bytes:
        unit.tell("OUTP 0,(@1)")
        return b""

    serve(arguments.port, arguments.topic, off)


if __name__ == "__main__":
    main()

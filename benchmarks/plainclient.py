"""The plain way to put supplies on MQTT: a loop of a hundred lines over pyvisa and paho, to compare the agent with.

It asks for the same quantities as the agent, one query a quantity with a channel list, and publishes the same values for each
channel. It has no commands, limits, events, backlog or reconnecting, and keeps no energy over restarts.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from datetime import UTC, datetime
from typing import Any

import pyvisa
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pyvisa.resources import MessageBasedResource

CHANNELS = (1, 2, 3)
LIST = "(@1,2,3)"
LISTED = {
    "voltage": "MEAS:VOLT?",
    "current": "MEAS:CURR?",
    "voltage_limit": "VOLT?",
    "current_limit": "CURR?",
    "state": "OUTP?",
    "voltage_protection": "VOLT:PROT?",
    "over_voltage": "VOLT:PROT:TRIP?",
    "current_protection": "CURR:PROT:STAT?",
    "over_current": "CURR:PROT:TRIP?",
}
MODES = {1: "CC", 2: "CV"}


def no_delay(_client: Client, _data: object, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def connect(port: int) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(1000)
    client.on_socket_open = no_delay
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def poll(unit: MessageBasedResource) -> dict[int, dict[str, Any]]:
    """The values of each channel."""
    columns = {name: unit.query(f"{question} {LIST}").rstrip().split(",") for name, question in LISTED.items()}
    conditions = [unit.query(f"STAT:QUES:INST:ISUM{channel}:COND?") for channel in CHANNELS]
    channels: dict[int, dict[str, Any]] = {}
    for position, channel in enumerate(CHANNELS):
        values = {name: column[position] for name, column in columns.items()}
        on = values["state"] == "1"
        condition = int(conditions[position])
        channels[channel] = {
            "state": on,
            "voltage": float(values["voltage"]),
            "current": float(values["current"]),
            "voltage_limit": float(values["voltage_limit"]),
            "current_limit": float(values["current_limit"]),
            "mode": MODES.get(condition & 3, "UR") if on else "OFF",
            "tripped": "OVP" if values["over_voltage"] == "1" else "OCP" if values["over_current"] == "1" else None,
            "voltage_protection": float(values["voltage_protection"]),
            "current_protection": values["current_protection"] == "1",
        }
    return channels


class Supply:
    """One unit and what has to be remembered of it."""

    def __init__(self, name: str, resource: str) -> None:
        unit = pyvisa.ResourceManager("@py").open_resource(resource, read_termination="\n", write_termination="\n")
        assert isinstance(unit, MessageBasedResource)
        self.name = name
        self.unit = unit
        self.model = unit.query("*IDN?").split(",")[1]
        self.energy = dict.fromkeys(CHANNELS, 0.0)
        self.charge = dict.fromkeys(CHANNELS, 0.0)
        self.seq = 0
        self.before = time.monotonic()

    def publish(self, client: Client) -> None:
        """Poll it, and publish a state of each channel."""
        channels = poll(self.unit)
        now, self.seq = time.monotonic(), self.seq + 1
        hours, self.before = (now - self.before) / 3600, now
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for channel, values in channels.items():
            power = values["voltage"] * values["current"]
            self.energy[channel] += power * hours
            self.charge[channel] += values["current"] * hours
            state = {
                "time": moment,
                "seq": self.seq,
                "agent": "plain",
                "psu": self.name,
                "index": channel,
                "name": f"CH{channel}",
                "model": self.model,
                "online": True,
                **values,
                "power": round(power, 5),
                "energy": round(self.energy[channel], 4),
                "charge": round(self.charge[channel], 4),
            }
            client.publish(f"plain/{self.name}/{channel}/state", json.dumps(state), qos=1, retain=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, help="of the broker")
    parser.add_argument("interval", type=float, help="s between polls of a unit")
    parser.add_argument("resources", nargs="+")
    arguments = parser.parse_args()
    client = connect(arguments.port)
    supplies = [Supply(f"psu{number}", resource) for number, resource in enumerate(arguments.resources, 1)]
    while True:
        begun = time.monotonic()
        for supply in supplies:
            supply.publish(client)
        time.sleep(max(0.0, arguments.interval - (time.monotonic() - begun)))


if __name__ == "__main__":
    main()

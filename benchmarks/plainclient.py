"""The plain way to put a supply on MQTT: a loop of a hundred lines over pyvisa and paho, to compare the agent with.

It asks for the same quantities as the agent, in the same one message, and publishes the same values for each channel. What it
leaves out: commands, limits, events, energy over restarts, a backlog, reconnecting, and everything else that can go wrong.
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
MESSAGE = ";:".join(
    [f"{question} {LIST}" for question in LISTED.values()] + [f"STAT:QUES:INST:ISUM{n}:COND?" for n in CHANNELS]
)
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
    """What the unit says of each channel."""
    answers = unit.query(MESSAGE).rstrip().split(";")
    columns = {name: answer.split(",") for name, answer in zip(LISTED, answers, strict=False)}
    conditions = answers[len(LISTED) :]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("resource")
    parser.add_argument("port", type=int)
    parser.add_argument("--interval", type=float, default=1.0)
    arguments = parser.parse_args()
    unit = pyvisa.ResourceManager("@py").open_resource(
        arguments.resource, read_termination="\n", write_termination="\n"
    )
    assert isinstance(unit, MessageBasedResource)
    client = connect(arguments.port)
    model = unit.query("*IDN?").split(",")[1]
    energy = dict.fromkeys(CHANNELS, 0.0)
    charge = dict.fromkeys(CHANNELS, 0.0)
    seq, before = 0, time.monotonic()
    while True:
        channels = poll(unit)
        now, seq = time.monotonic(), seq + 1
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for channel, values in channels.items():
            power = values["voltage"] * values["current"]
            energy[channel] += power * (now - before) / 3600
            charge[channel] += values["current"] * (now - before) / 3600
            state = {
                "time": moment,
                "seq": seq,
                "agent": "plain",
                "psu": "psu1",
                "index": channel,
                "name": f"CH{channel}",
                "model": model,
                "online": True,
                **values,
                "power": round(power, 5),
                "energy": round(energy[channel], 4),
                "charge": round(charge[channel], 4),
            }
            client.publish(f"plain/psu1/{channel}/state", json.dumps(state), qos=1, retain=True)
        before = now
        time.sleep(max(0.0, arguments.interval - (time.monotonic() - now)))


if __name__ == "__main__":
    main()

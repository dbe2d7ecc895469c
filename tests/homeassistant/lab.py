"""The bench of the tests with a real Home Assistant: a broker, simulated supplies, and an agent in its own process."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from pathlib import Path
from typing import Any

import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.homeassistant.instance import ENTRY, HomeAssistant
from tests.lab import AgentProcess, Observer, settings
from tests.support.waiting import wait_until

#: A name with all that is special to JSON, YAML, HTML, Jinja and Python's formatting.
STRANGE = "\"5 V\" 'rail' {{ 7 * 6 }} {% raw %} %s <b>&amp; 🔥\\"

#: Entities of the units, and what Home Assistant has to say of each.
ENTITIES: dict[str, dict[str, Any]] = {
    "sensor.psu1_vdd_voltage": {
        "device_class": "voltage",
        "unit_of_measurement": "V",
        "state_class": "measurement",
    },
    "sensor.psu1_vdd_current": {
        "device_class": "current",
        "unit_of_measurement": "A",
        "state_class": "measurement",
    },
    "sensor.psu1_vdd_power": {"device_class": "power", "unit_of_measurement": "W", "state_class": "measurement"},
    "sensor.psu1_vdd_energy": {
        "device_class": "energy",
        "unit_of_measurement": "Wh",
        "state_class": "total_increasing",
    },
    "sensor.psu1_vdd_charge": {"unit_of_measurement": "Ah", "state_class": "total_increasing"},
    "sensor.psu1_vdd_mode": {"device_class": "enum", "options": ["CV", "CC", "CP", "UR", "OFF"]},
    "binary_sensor.psu1_vdd_trip": {"device_class": "problem"},
    "switch.psu1_vdd_output": {"device_class": "outlet"},
    "switch.psu1_vdd_over_current_protection": {},
    "button.psu1_vdd_power_cycle": {"device_class": "restart"},
    "button.psu1_vdd_clear_protection": {},
    "button.psu1_all_outputs_off": {},
    # The range that the configuration allows, else the model's: E36300 data sheet.
    "number.psu1_vdd_voltage_limit": {"min": 0.0, "max": 5.5, "step": 0.001, "unit_of_measurement": "V"},
    # Limited to 1 A; the supply comes up with 10 A set, and that is shown.
    "number.psu1_vdd_current_limit": {"min": 0.0, "max": 10.0, "step": 0.002, "unit_of_measurement": "A"},
    "number.psu1_vdd_over_voltage_protection": {"min": 0.5, "max": 6.6, "device_class": "voltage"},
    "number.psu1_ch2_voltage_limit": {"min": 0.0, "max": 25.75, "step": 0.002},
    "number.psu1_ch2_current_limit": {"min": 0.0, "max": 2.06, "device_class": "current"},
    "number.psu2_ch3_voltage_limit": {"min": -25.75, "max": 0.0},
}


class Lab:
    """``settings`` and ``units`` are the agent's configuration, and take effect when it starts."""

    def __init__(self, folder: Path, broker: LocalBroker, homeassistant: HomeAssistant) -> None:
        self.folder = folder
        self.broker = broker
        self.homeassistant = homeassistant
        self.units: list[dict[str, Any]] = []
        self.data = settings(
            broker.port, self.units, folder / "state", homeassistant={"discovery_prefix": "homeassistant"}
        )
        self.simulators: dict[str, Simulator] = {}
        self._agent: AgentProcess | None = None

    def start_agent(self) -> None:
        self._agent = AgentProcess(self.data, self.folder).start()

    def reload_agent(self) -> None:
        """Have the agent that runs read its configuration again."""
        assert self._agent is not None
        self._agent.file.write_text(yaml.safe_dump(self.data))
        self._agent.signal(signal.SIGHUP)

    def stop_agent(self) -> None:
        if self._agent is not None:
            self._agent.stop()

    def kill_agent(self) -> None:
        if self._agent is not None:
            self._agent.kill()

    def observe(self, topic: str) -> Observer:
        """Somebody new on the broker: hears first what is retained."""
        return Observer(self.broker.port, topic)

    def wait_for_warning(self, unit: str, text: str) -> None:
        """Wait until the agent's last warning is about that unit, with this in its text."""
        ha, entity = self.homeassistant, "sensor.psu_agent_bench_last_warning"
        wait_until(lambda: text[:40] in (ha.state(entity) or ""), f"a warning with {text!r}", 30)
        attributes = (ha.entity(entity) or {})["attributes"]
        assert ha.state(entity) == f"{unit}: {attributes['text']}"[:255]
        assert text in attributes["text"]
        assert (attributes["level"], attributes["unit"]) == ("warning", unit)
        assert attributes["time"].endswith("Z")

    def tell(self, unit: str, message: str) -> None:
        """Send SCPI to a simulated supply past the agent, and wait until it is carried out."""
        simulator = self.simulators[unit]
        with socket.create_connection((simulator.host, simulator.socket_port or 0), timeout=10) as connection:
            connection.sendall(f"{message};*OPC?\n".encode())
            connection.recv(16)

    def reserve(self, unit: str, holder: str, **fields: Any) -> None:
        """Take the lease on a unit, or give it back."""
        with contextlib.closing(self.observe("clients/#")) as observer:
            assert observer.ask(f"psu/{unit}/lease/set", {"holder": holder, **fields})["ok"]

    def close(self) -> None:
        self.kill_agent()
        for simulator in self.simulators.values():
            if simulator.running:
                simulator.stop()


def wait_for(ha: HomeAssistant, entity: str, state: str, seconds: float = 30) -> None:
    seen: list[str | None] = [None]

    def there() -> bool:
        seen[0] = ha.state(entity)
        return seen[0] == state

    try:
        wait_until(there, entity, seconds)
    except AssertionError:
        raise AssertionError(f"{entity} is {seen[0]}, not {state}, after {seconds:g} s") from None


def wait_for_number(ha: HomeAssistant, entity: str, value: float, tolerance: float) -> None:
    def there() -> bool:
        try:
            return abs(float(ha.state(entity) or "") - value) <= tolerance
        except ValueError:
            return False

    wait_until(there, f"{entity} is {value}", 30)


def ours(ha: HomeAssistant) -> set[str]:
    """The entities that came by MQTT; those as well that Home Assistant but remembers, and shows as unavailable."""
    text = "{% for s in states if config_entry_id(s.entity_id) == '" + ENTRY + "' %}{{ s.entity_id }} {% endfor %}"
    return set(str(ha.template(text)).split())


def left_over(lab: Lab, topics: str = "homeassistant/device/+/config") -> dict[str, bytes]:
    """The messages that the broker has retained on some topics."""
    with contextlib.closing(lab.observe("#")) as everything:
        # Retained messages come before those that are sent now.
        everything.send("end", "")
        wait_until(lambda: everything.on("end"), "all that is retained", 30)
        pattern = re.compile(topics.replace("+", "[^/]+"))
        return {m.topic: m.payload for m in everything.received if m.retain and pattern.fullmatch(m.topic)}


def complaints(ha: HomeAssistant) -> list[str]:
    """The complaints in Home Assistant's log about MQTT messages."""
    lines = ha.log.read_text(errors="replace").splitlines()
    return [
        line
        for line in lines
        if re.search(r" (ERROR|WARNING) .*\[homeassistant\.(components\.mqtt|helpers\.template)", line)
        and "The connection was lost" not in line
        # An agent that was stopped before it knew that something was cleared clears it again.
        and "No device components to cleanup" not in line
    ]

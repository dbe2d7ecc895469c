"""What docs/plain-values.md says, with a real broker: the topics of an openHAB thing, and a real labgrid with its own driver."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.examples.conftest import FARM_TOOLS, ROOT, needs_farm_tools, wait_states
from tests.lab import Agent, Bench, Observer, unit, wait_until

PAGE = (ROOT / "docs" / "plain-values.md").read_text()
#: An address of loopback for brokers that a tool looks for on port 1883, and on no other. Each process of a test run has its own.
ADDRESS = f"127.13.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"


@pytest.fixture
def bench(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> Iterator[Bench]:
    broker = make_broker(kind="mosquitto", conf=f"listener 1883 {ADDRESS}\n")
    simulator = Simulator(loads={2: Resistor(20.0)}).start()
    simulator.instrument.execute("CURR 0.8,(@2)")
    units = [unit("psu1", simulator, channels={2: {"name": "DUT", "voltage_max": 12, "current_max": 1}})]
    with Bench(broker.port, tmp_path, [simulator], units, publish_fields=True) as bench:
        wait_until(lambda: last(bench, "charge"), "the last of the values")
        yield bench


def retained(bench: Bench) -> dict[str, str]:
    """The plain values of channel 2 that the broker keeps now."""
    newcomer = Observer(bench.data["settings"]["mqtt"]["port"])
    try:
        newcomer.wait("psu/psu1/info")
        newcomer.ask("psu/psu1/2/set", {"id": newcomer.name, "current_limit": 0.8})
        values = {
            m.topic: m.payload.decode() for m in newcomer.received if m.retain and m.topic.startswith("psu/psu1/2/")
        }
        return {topic.removeprefix("psu/psu1/2/"): text for topic, text in values.items() if topic[-6:] != "/state"}
    finally:
        newcomer.close()


def last(bench: Bench, level: str) -> str | None:
    messages = bench.observer.on(f"psu/psu1/2/{level}")
    return messages[-1].payload.decode() if messages else None


def test_the_values_are_those_of_the_state_and_go_with_the_unit(bench: Bench) -> None:
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5, "state": True})["ok"]
    wait_until(lambda: (last(bench, "output"), last(bench, "mode")) == ("ON", "CV"), "the output")
    state = bench.observer.wait_state("psu1", 2, state=True, mode="CV")
    for name in ("voltage", "current", "power", "voltage_limit", "current_limit", "voltage_protection"):
        wait_until(lambda name=name: abs(float(last(bench, name) or 99) - state[name]) < 0.01, name)  # type: ignore[misc]
    found = retained(bench)
    assert {found["name"], found["online"], found["tripped"], found["current_protection"]} == {
        "DUT",
        "online",
        "none",
        "OFF",
    }
    assert all(re.fullmatch(r"-?\d+\.\d+", found[name]) for name in ("voltage", "current", "power", "energy", "charge"))
    bench.simulator.stop()
    bench.observer.wait_online("psu1", online=False)
    wait_until(lambda: last(bench, "output") == "" and last(bench, "online") == "offline", "the end of what is known")
    bench.simulator.start()
    wait_until(lambda: last(bench, "online") == "online" and last(bench, "output") in ("ON", "OFF"), "the unit again")


def test_nothing_is_left_of_them_when_nobody_asks_for_them_any_more(bench: Bench) -> None:
    assert "voltage" in retained(bench)
    bench.stop()
    bench.data["settings"]["publish_fields"] = False
    bench.start()
    wait_until(lambda: retained(bench) == {}, "their end")


def test_a_unit_that_goes_takes_its_values_with_it(bench: Bench) -> None:
    assert "voltage" in retained(bench)
    bench.stop()
    with Simulator() as other:
        bench.data["units"] = [unit("psu7", other)]
        mark = bench.observer.mark()
        with Agent(bench.data):
            bench.observer.wait_online("psu7", after=mark)
            wait_until(lambda: last(bench, "name") == "" and last(bench, "online") == "", "the removal")


def openhab() -> list[tuple[str, dict[str, str]]]:
    """The channels of the things file: type and parameters."""
    block = re.search(r"```\nBridge mqtt.*?```", PAGE, re.DOTALL)
    assert block is not None
    found = re.findall(r"Type (\w+) *: *\w+ +\"[^\"]+\" +\[ ([^]]+) \]", block[0])
    return [(kind, dict(re.findall(r'(\w+)="([^"]*)"', parameters))) for kind, parameters in found]


def test_the_topics_of_the_openhab_thing(bench: Bench) -> None:
    bench.observer.wait_agent()
    channels = openhab()
    assert len(channels) == PAGE.count("stateTopic=")
    sent: dict[str, Any] = {"switch": "ON", "number": "0.7"}
    for kind, parameters in channels:
        topic = parameters["stateTopic"]
        wait_until(lambda topic=topic: bench.observer.on(topic), topic)  # type: ignore[misc]
        payload = bench.observer.on(topic)[-1].payload.decode()
        assert kind != "switch" or payload in (parameters["on"], parameters["off"])
        assert kind != "number" or isinstance(json.loads(payload), float)
        assert kind != "string" or payload.isalpha()
        if (command := parameters.get("commandTopic")) is not None:
            assert bench.observer.ask(command, sent[kind])["ok"]
            wait_until(lambda: (last(bench, topic[11:]) or "").startswith(sent[kind]), f"{topic} to follow")  # noqa: B023
    assert "retained=" not in PAGE
    assert bench.observer.on(re.search(r'availabilityTopic="([^"]+)"', PAGE)[1])  # type: ignore[index]


_LABGRID = """
import sys
from labgrid import Environment
target = Environment(sys.argv[1]).get_target()
driver = target.get_driver("PowerProtocol")
before = driver.get()
driver.on(); on = driver.get()
driver.cycle(); again = driver.get()
driver.off()
print("gets", before, on, again, driver.get())
"""


@needs_farm_tools
def test_labgrids_tasmota_driver_switches_a_board(bench: Bench, tmp_path: Path) -> None:
    """The environment of the page, but for the broker's address and a shorter delay. The driver knows no other port than 1883."""
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5})["ok"]
    found = re.search(r"```yaml\n(targets:.*?)```", PAGE, re.DOTALL)
    assert found is not None
    environment = yaml.safe_load(found[1])
    target = environment["targets"]["main"]
    target["resources"]["TasmotaPowerPort"]["host"] = ADDRESS
    target["drivers"]["TasmotaPowerDriver"]["delay"] = 0.2
    place = tmp_path / "labgrid.yaml"
    place.write_text(yaml.safe_dump(environment))
    done = subprocess.run(
        [FARM_TOOLS / "bin" / "python", "-c", _LABGRID, place], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "gets False True True False"
    wait_states(bench, True, False, True, False)
    assert {event["by"] for event in bench.observer.events("psu1", 2) if event["field"] == "state"} == {"command"}

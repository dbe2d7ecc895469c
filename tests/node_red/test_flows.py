"""The flows as shipped, in a real Node-RED, on a real supply's agent: every button is pressed, every display is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import Bench, unit, wait_until
from tests.node_red import nodered
from tests.node_red.nodered import NodeRed

FLOWS = nodered.ROOT / "examples" / "node-red" / "flows.json"

pytestmark = pytest.mark.skipif(nodered.missing() is not None, reason=str(nodered.missing()))


class Rig:
    """Broker, supply, agent and Node-RED, and a `ping` that says what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._answer = self.bin / "answer"
        ping = self.bin / "ping"
        ping.write_text(f'#!/bin/sh\necho "$@" >>{folder}/pings\nexit "$(cat {self._answer})"\n')
        ping.chmod(0o755)
        self.answer(0)
        self.broker = LocalBroker(folder)
        self.simulator = Simulator(loads={1: Resistor(20.0)})
        self.node_red = NodeRed(folder / "node-red", self.bin)

    def answer(self, status: int) -> None:
        """The exit status of every ping from now on."""
        new = self._answer.with_suffix(".new")
        new.write_text(str(status))
        new.replace(self._answer)

    def __enter__(self) -> Self:
        self.broker.start()
        units = [unit("psu1", self.simulator.start(), channels={1: {"voltage_max": 5.5}})]
        self.bench = Bench(self.broker.port, self.folder, [self.simulator], units).start()
        self.node_red.__enter__()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.node_red.__exit__(*arguments)
        self.bench.close()
        self.broker.stop()

    def flows(self, **environment: Any) -> list[dict[str, Any]]:
        """As shipped, but for the broker's port, and faster pings."""
        flows: list[dict[str, Any]] = json.loads(FLOWS.read_text())
        for node in flows:
            if node["type"] == "mqtt-broker":
                node["port"] = str(self.broker.port)
            if node.get("name") == "every 10 s":
                node |= {"repeat": "0.15", "onceDelay": "0.1"}
            for variable in node.get("env", []):
                variable["value"] = str(environment.get(variable["name"], variable["value"]))
        return flows

    def reset(self, state: bool) -> None:
        """No trip, 3 V, 0.5 A, no overcurrent protection."""
        ask = self.bench.observer.ask
        assert ask("psu/psu1/1/set", {"clear_protection": True, "current_protection": False})["ok"]
        assert ask("psu/psu1/1/set", {"state": state, "voltage_limit": 3, "current_limit": 0.5})["ok"]

    def cycles(self) -> int:
        """How often the output was turned off and on again."""
        states = [event["to"] for event in self.bench.observer.events("psu1", 1) if event["field"] == "state"]
        return "".join("1" if state else "0" for state in states).count("01")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as made:
        made.node_red.deploy(made.flows())
        yield made
        assert "[error]" not in made.node_red.log.read_text()


def test_only_core_nodes_are_used(rig: Rig) -> None:
    core = {kind for module in rig.node_red.get("/nodes") if module["module"] == "node-red" for kind in module["types"]}
    used = {node["type"] for node in json.loads(FLOWS.read_text())}
    assert used <= core | {"tab", "group"}
    assert "Waiting for missing types" not in rig.node_red.log.read_text()


def test_it_shows_a_channel_and_switches_it(rig: Rig) -> None:
    rig.reset(False)
    rig.node_red.wait_status("show", "off, set to 3 V")
    rig.node_red.press("3.3 V, 0.5 A")
    rig.node_red.wait_status("done", "off, 3.3 V, 0.5 A")
    rig.node_red.press("on")
    rig.node_red.wait_status("done", "on, 3.3 V, 0.5 A")
    shown = rig.node_red.wait_status("show", "3.")
    assert re.fullmatch(r"3\.3\d\d V  0\.16\d A  CV|3\.29\d V  0\.16\d A  CV", shown)
    rig.node_red.press("off")
    rig.node_red.wait_status("show", "off, set to 3.3 V")


def test_what_a_supply_cant_tell_is_not_shown_as_zero_or_off(rig: Rig) -> None:
    rig.reset(False)
    observer = rig.bench.observer
    known = observer.wait_state("psu1", 1, after=observer.mark())
    unknown = known | {"state": None, "voltage": None, "current": 0.25, "mode": None}
    observer.send("psu/psu1/1/state", unknown)
    wait_until(lambda: ("show", "- V  0.250 A  -") in rig.node_red.history, "the unknown values")


def test_it_ramps(rig: Rig) -> None:
    rig.reset(True)
    observer = rig.bench.observer
    before = observer.mark()
    rig.node_red.press("ramp to 5 V at 1 V/s")
    rig.node_red.wait_status("done", "on, 5 V")
    # A state that a newer one has overtaken comes as backlog.
    topics = ("psu/psu1/1/state", "psu/psu1/1/backlog")
    steps = [message.json["voltage_limit"] for message in observer.received[before:] if message.topic in topics]
    assert len({step for step in steps if 3.1 < step < 4.9}) > 3


def test_a_number_as_text_is_told_clearly(rig: Rig) -> None:
    rig.reset(False)
    before = len(rig.node_red.debugged)
    rig.node_red.press("wrong: 3.3 as text")
    rig.node_red.wait_status("refused", "bad_payload")
    wait_until(lambda: len(rig.node_red.debugged) > before, "the sidebar")
    said = rig.node_red.debugged[-1]
    assert (said["name"], said["msg"]) == (
        "refusals",
        'bad_payload: voltage_limit takes a number (write it without quotes), not "3.3"',
    )
    observer = rig.bench.observer
    assert observer.wait_state("psu1", 1, after=observer.mark())["voltage_limit"] == 3


def test_a_trip_raises_an_alarm(rig: Rig) -> None:
    rig.reset(True)
    ask = rig.bench.observer.ask
    before = len(rig.node_red.debugged)
    assert ask("psu/psu1/1/set", {"current_protection": True, "current_limit": 0.05})["ok"] in (True, False)
    rig.node_red.wait_status("alarm", "psu1/CH1 OCP at ")
    rig.node_red.wait_status("show", "tripped: OCP")
    wait_until(lambda: any(d["name"] == "alarms" for d in rig.node_red.debugged[before:]), "the sidebar")
    rig.node_red.press("clear a trip")
    rig.node_red.wait_status("cleared", "psu1/CH1 at ")
    rig.node_red.wait_status("show", "off")


def deploy_watchdog(rig: Rig, **environment: Any) -> None:
    figures = {"PING_FAILURES": 3, "OFF_SECONDS": 0.1, "HOLD_OFF_SECONDS": 3, "MOST_CYCLES": 2, **environment}
    rig.node_red.deploy(rig.flows(**figures))


def test_a_device_that_does_not_answer_is_power_cycled_but_not_for_ever(rig: Rig) -> None:
    rig.reset(True)
    rig.answer(0)
    deploy_watchdog(rig)
    rig.node_red.wait_status("power-cycle", "answers")
    before = rig.cycles()
    rig.answer(1)
    rig.node_red.wait_status("power-cycle", "given up after 2 cycles")
    # A ping that falls into the moment without power says so; whether one does is chance.
    without_power = "no answer, and its power is off or unknown"
    shown = [text for name, text in rig.node_red.history if name == "power-cycle" and text != without_power]
    # Each second that is left is shown if a ping ends in it, and where the machine is busy none may.
    unique = list(dict.fromkeys(re.sub(r"boot for [123] s", "boot for a while", text) for text in shown))
    assert unique == [
        "answers",
        "no answer, 1 of 3",
        "no answer, 2 of 3",
        "power-cycled, 1 of 2",
        "left to boot for a while",
        "power-cycled, 2 of 2",
        "given up after 2 cycles",
    ]
    wait_until(lambda: rig.cycles() - before == 2, "two cycles")
    pings = (rig.folder / "pings").read_text().splitlines()
    assert pings[-1] == "-c 1 -W 2 -q 192.168.50.99"
    wait_until(lambda: len((rig.folder / "pings").read_text().splitlines()) > len(pings) + 8, "more pings")
    assert rig.cycles() - before == 2
    rig.answer(0)
    rig.node_red.wait_status("power-cycle", "answers")
    rig.answer(1)
    rig.node_red.wait_status("power-cycle", "power-cycled, 1 of 2")
    rig.node_red.press("reset")
    rig.answer(0)
    rig.node_red.wait_status("power-cycle", "answers")


def test_a_device_whose_power_was_turned_off_is_left_off(rig: Rig) -> None:
    rig.reset(False)
    rig.answer(0)
    deploy_watchdog(rig)
    rig.node_red.wait_status("show", "off")
    before = rig.cycles()
    rig.answer(1)
    rig.node_red.wait_status("power-cycle", "no answer, and its power is off or unknown")
    pings = len((rig.folder / "pings").read_text().splitlines())
    wait_until(lambda: len((rig.folder / "pings").read_text().splitlines()) > pings + 6, "more pings")
    assert rig.cycles() == before
    observer = rig.bench.observer
    assert observer.wait_state("psu1", 1, after=observer.mark())["state"] is False


@pytest.mark.parametrize("status", [2, 127])
def test_a_ping_that_can_not_be_made_is_no_failure_of_the_device(rig: Rig, status: int) -> None:
    rig.reset(True)
    rig.answer(status)
    deploy_watchdog(rig)
    before = rig.cycles()
    rig.node_red.wait_status("power-cycle", f"can't ping ({status})")
    pings = len((rig.folder / "pings").read_text().splitlines())
    wait_until(lambda: len((rig.folder / "pings").read_text().splitlines()) > pings + 6, "more pings")
    assert rig.cycles() == before


def test_what_can_not_be_reached_is_shown_as_such(rig: Rig) -> None:
    """The unit, then the agent itself; the last volts are not passed off as present ones. The last test: it ends the agent."""
    rig.answer(0)
    rig.reset(True)
    rig.node_red.wait_status("show", "3.0")
    rig.simulator.stop()
    rig.node_red.wait_status("show", "offline")
    rig.simulator.start()
    rig.node_red.wait_status("show", "3.0")
    rig.node_red.press("3.3 V, 0.5 A")
    rig.node_red.wait_status("show", "3.3")
    rig.bench.stop()
    wait_until(lambda: "offline" in (rig.node_red.status("show") or ""), "the agent shown as gone")

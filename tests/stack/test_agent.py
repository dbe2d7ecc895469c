"""From a simulated supply through the real agent, Mosquitto and Telegraf into the real InfluxDB, and back with commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.local.ports import free_port
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

from .client import Client
from .services import Broker, Store, Telegraf, stopping

pytestmark = pytest.mark.stack

PSU_AGENT = [sys.executable, "-c", "import sys; from agent.cli.main import main; sys.exit(main())"]
FIELDS = ("seq", "online", "state", "voltage", "current", "power", "voltage_limit", "current_limit", "mode", "tripped",
          "voltage_protection", "current_protection", "energy", "charge", "agent", "psu", "name", "model")  # fmt: skip


class Lab:
    """The whole of compose.yaml that can be had, with the shipped files; and a witness of everything on the broker."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.folder = folder
        self._checks = 0
        self.broker, self.store = Broker(folder / "broker", secrets), Store(folder / "store")
        self.telegraf = Telegraf(folder / "telegraf", self.broker, self.store.url)
        scpi = free_port()
        new = {"5025": str(scpi), "0.0.0.0": "127.0.0.1"}
        shipped = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["simulator"]["command"]
        command = [*PSU_AGENT, *(new.get(word, word) for word in shipped)]
        self.simulator = Process(command, folder / "simulator.log")
        text = (ROOT / "examples" / "stack" / "psu-agent.yaml").read_text()
        for old, replacement in (
            ("host: mosquitto", f"host: 127.0.0.1\n    port: {self.broker.port}"),
            ("::simulator::5025::", f"::127.0.0.1::{scpi}::"),
            ("/run/secrets/mqtt_password", str(secrets / "agent" / "mqtt_password")),
            ("/var/lib/psu-agent", str(folder / "state")),
            ("poll_interval: 1.0", "poll_interval: 0.1"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, replacement)
        self.config = folder / "psu-agent.yaml"
        self.config.write_text(text)
        self.agent = Process([*PSU_AGENT, "run", str(self.config)], folder / "agent.log")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of psu-agent's commands as the user `commands`."""
        broker = ("--broker", f"mqtt://commands@127.0.0.1:{self.broker.port}")
        environment = os.environ | {"PSU_AGENT_MQTT_PASSWORD": self.broker.password("commands")}
        done = [*PSU_AGENT, arguments[0], *broker, *arguments[1:]]
        return subprocess.run(done, env=environment, capture_output=True, text=True, timeout=60)

    def health(self) -> Process:
        """The image's health check, started."""
        command = [sys.executable, str(ROOT / "docker" / "healthcheck.py")]
        environment = {"PSU_AGENT_CONF": str(self.config), "PYTHONPATH": str(ROOT)}
        self._checks += 1
        return Process(command, self.folder / f"health-{self._checks}.log", environment=environment).start()

    def rows(self, where: str = "") -> list[dict[str, Any]]:
        return self.store.rows(f"SELECT * FROM psu_channel WHERE psu = 'demo' {where}")

    def has_a_gap(self) -> bool:
        """A sample is missing between the first and the last that is stored. One that a newer state overtook comes later."""
        sequences = [[row["seq"] for row in self.rows(f"AND channel = '{channel}'")] for channel in (1, 2, 3)]
        return any(sequence != list(range(sequence[0], sequence[0] + len(sequence))) for sequence in sequences)


@pytest.fixture
def lab(tmp_path: Path, secrets: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, secrets)
    with stopping(lab.agent, lab.simulator, lab.telegraf, lab.store, lab.broker):
        for service in (lab.broker, lab.store, lab.telegraf, lab.simulator):
            service.start()
        yield lab


def test_the_whole_way(lab: Lab) -> None:
    with Client(lab.broker, "reader", session="witness") as witness:
        witness.subscribe("psu/+/+/state", "psu/+/+/backlog", "psu/+/+/event")
        lab.agent.start()
        wait_until(lambda: len(lab.rows()) >= 9, "samples")

        # Commands: carried out, refused, and answered where an MQTT 5 requester asks for it.
        on = lab.command("set", "demo/1", "--state", "on", "--voltage-limit", "3.3")
        assert on.returncode == 0, on.stderr
        refused = lab.command("set", "demo/LOGIC", "--voltage-limit", "5.6")
        assert (refused.returncode, "limit" in refused.stdout + refused.stderr) == (1, True), refused
        request = ["mosquitto_rr", *lab.broker.client("commands"), "-q", "1", "-t", "psu/demo/2/set", "-m",
                   '{"id": "rr", "current_limit": 0.5}', "-e", "reply/commands/shell", "-W", "30"]  # fmt: skip
        response = json.loads(subprocess.run(request, capture_output=True, text=True, check=True).stdout)
        assert (response["id"], response["ok"], response["result"]["current_limit"]) == ("rr", True, 0.5)
        query = "SELECT * FROM psu_event WHERE psu = 'demo' AND \"field\" = 'current_limit'"
        (event,) = wait_until(lambda: lab.store.rows(query), "the event")
        assert (event["by"], event["id"], event["channel"]) == ("command", "rr", "2")
        wait_until(lambda: lab.rows("AND channel = '2'")[-1]["current_limit"] == 0.5, "the setpoint in the store")

        # The broker is away: the agent's backlog closes the gap.
        lab.broker.stop()
        wait_until(lambda: "trying again for ever" in lab.agent.text(), "the agent says so")
        threading.Event().wait(1.0)  # some samples without it
        lab.broker.start()
        wait_until(lambda: any(topic.endswith("/backlog") for topic, _, _ in witness.arrived), "a backlog", 30)
        query = "SELECT * FROM psu_agent WHERE agent = 'lab' AND polls > 0"
        figures = wait_until(lambda: lab.store.rows(query), "the agent's figures", 30)[0]
        assert (figures["units"], figures["units_online"]) == (1, 1)
        health = lab.health()

        # The supply is gone, then the agent.
        lab.simulator.stop()
        (offline, *_) = wait_until(lambda: lab.rows("AND online = false"), "the unit is offline", 30)
        assert offline["voltage"] is offline["state"] is offline["mode"] is None
        query = "SELECT last(offline) FROM psu_unit WHERE psu = 'demo'"
        wait_until(lambda: lab.store.rows(query)[0]["last"] == 1, "its status")
        lab.simulator.start()
        wait_until(lambda: lab.store.rows(query)[0]["last"] == 0, "it is back", 60)
        assert health.process.wait(60) == 0, health.text()
        wait_until(lambda: not lab.has_a_gap(), "every sample up to now")
        lab.agent.stop(signal.SIGKILL)
        query = "SELECT last(offline) FROM psu_agent WHERE agent = 'lab'"
        wait_until(lambda: lab.store.rows(query)[0]["last"] == 1, "the agent's will", 30)

    # Every sample that was published is a point, none is missing, none is another.
    published: dict[tuple[int, str], dict[str, Any]] = {}
    for topic, payload, _ in witness.arrived:
        if topic.startswith("psu/demo/") and not topic.endswith("/event"):
            state = json.loads(payload)
            published[state["index"], state["time"]] = state
    wait_until(lambda: len(lab.rows()) >= len(published), "the last sample")
    stored = {(row["channel"], row["seq"]): row for row in lab.rows()}
    assert len(stored) == len(lab.rows())
    for state in published.values():
        row = stored[str(state["index"]), state["seq"]]
        assert {key: row.get(key) for key in FIELDS} == {key: state[key] for key in FIELDS}


def test_the_health_check_says_what_is_wrong(lab: Lab) -> None:
    lab.broker.stop()
    no_broker = lab.health()
    assert (no_broker.process.wait(60), "refused" in no_broker.text()) == (1, True)
    lab.broker.start()
    no_agent = lab.health()
    assert no_agent.process.wait(60) == 1
    assert "nothing on psu/agents/lab/metrics" in no_agent.text()
    lab.config.write_text("settings: {}\n")
    no_units = lab.health()
    assert no_units.process.wait(60) == 1
    assert "units" in no_units.text()

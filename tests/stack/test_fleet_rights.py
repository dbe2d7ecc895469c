"""`make secrets` with a list of agents: each may speak for itself and its units, and a real one is denied nothing it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.simulator import Simulator
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

from .client import Client
from .services import Broker, generate_secrets, stopping

USERS = """
base_topic = "lab/psu"
discovery_prefix = "homeassistant"
users.commands = {role = "commands"}
users.reader = {role = "readers"}
users.health = {role = "health"}
"""
PSU_AGENT = [sys.executable, "-c", "import sys; from agent.cli.main import main; sys.exit(main())"]


def make(out: Path, *words: str, users: Path | None = None) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "make_secrets.py"
    options = ["--users", str(users)] if users else []
    command = [sys.executable, str(script), "--out", str(out), *options, *(["--agents", *words] if words else [])]
    return subprocess.run(command, capture_output=True, text=True)


def rules(out: Path, user: str) -> set[str]:
    """The lines of a user's part of the list."""
    text = (out / "mosquitto" / "acl").read_text()
    return set(text.partition(f"\nuser {user}\n")[2].partition("\n\n")[0].splitlines())


class AgentUsers:
    """Two agents, each with a user of its own and a unit of its own, at the shipped broker; and a third one for the first's."""

    def __init__(self, folder: Path) -> None:
        (folder / "users.toml").write_text(USERS)
        done = make(folder / "secrets", "bench1:psu1", "bench2:psu2", "bench3:psu3", users=folder / "users.toml")
        assert done.returncode == 0, done.stderr
        # A second run without the list keeps the agents.
        generate_secrets(folder / "secrets", folder / "users.toml")
        self.broker = Broker(folder / "broker", folder / "secrets", "log_type debug\nlog_type subscribe\n")
        self.files: list[Path] = []
        self.simulators = [Simulator("E36313A", f"MY6200000{number}") for number in (1, 2)]
        one, two = (simulator.start().resource for simulator in self.simulators)
        self.agents = [self._agent(folder / f"bench{number}", number, uri) for number, uri in ((1, one), (2, two))]
        self.third = self._agent(folder / "bench3", 3, one)

    def _agent(self, folder: Path, number: int, uri: str) -> Process:
        folder.mkdir()
        configuration = {
            "settings": {
                "agent": f"bench{number}",
                "state_dir": str(folder / "state"),
                "poll_interval": 0.1,
                "mqtt": {
                    "host": "127.0.0.1",
                    "port": self.broker.port,
                    "username": f"bench{number}",
                    "password_file": str(self.broker.secrets / "users" / f"bench{number}"),
                    "base_topic": "lab/psu",
                },
                "homeassistant": {"discovery_prefix": "homeassistant"},
            },
            "units": [
                {"name": f"psu{number}", "model": "E36313A", "uri": uri},
            ],
        }
        self.files.append(folder / "psu-agent.yaml")
        self.files[-1].write_text(json.dumps(configuration))
        return Process([*PSU_AGENT, "run", self.files[-1]], folder / "agent.log", folder=ROOT)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of psu-agent's commands as the user `commands`."""
        broker = ("--broker", f"mqtt://commands@127.0.0.1:{self.broker.port}", "--base-topic", "lab/psu")
        environment = os.environ | {"PSU_AGENT_MQTT_PASSWORD": self.broker.password("commands")}
        done = [*PSU_AGENT, arguments[0], *broker, *arguments[1:]]
        return subprocess.run(done, env=environment, capture_output=True, text=True, timeout=60)

    def denied(self) -> list[str]:
        """The broker's words on what it did not let an agent publish."""
        return [
            line for line in self.broker.text().splitlines() if re.search(r"Denied PUBLISH from (?!stranger)", line)
        ]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentUsers]:
    fleet = AgentUsers(tmp_path_factory.mktemp("fleet"))
    with stopping(*fleet.agents, fleet.third, fleet.broker):
        fleet.broker.start()
        with Client(fleet.broker, "reader") as reader:
            reader.subscribe("lab/psu/#")
            for agent in fleet.agents:
                agent.start()
            for number in (1, 2):
                topic = f"lab/psu/psu{number}/1/state"
                wait_until(lambda topic=topic: reader.heard_online(topic), topic)  # type: ignore[misc]
        yield fleet
    for simulator in fleet.simulators:
        simulator.stop()


def test_an_agent_is_denied_nothing_that_it_needs(fleet: AgentUsers) -> None:
    with Client(fleet.broker, "reader") as reader, Client(fleet.broker, "commands") as commands:
        reader.subscribe("lab/psu/#")

        def holder(number: int) -> Any:
            found = [
                payload for topic, payload, _ in reader.arrived if topic == f"lab/psu/psu{number}/lease" and payload
            ]
            return json.loads(found[-1])["holder"] if found else None

        for number in (1, 2):
            done = fleet.command("set", f"psu{number}/1", "--voltage-limit", "2", "--state", "on")
            assert done.returncode == 0, done.stdout + done.stderr
            commands.publish(f"lab/psu/psu{number}/lease/set", '{"holder": "ci", "ttl": 60}')
            wait_until(lambda n=number: holder(n) == "ci", "the lease")  # type: ignore[misc]
            refused = fleet.command("set", f"psu{number}/1", "--voltage-limit", "3")
            assert (refused.returncode, "claimed" in refused.stdout + refused.stderr) == (1, True)
            commands.publish(f"lab/psu/psu{number}/lease/set", '{"holder": "ci", "release": true}')
            wait_until(lambda n=number: holder(n) is None, "the end of the lease")  # type: ignore[misc]
            fleet.command("takeover", f"psu{number}")  # there is nothing to take over; it is asked for all the same
        expected = {
            *(f"lab/psu/psu{number}/{leaf}" for number in (1, 2) for leaf in ("status", "info", "1/state", "1/event")),
            *(f"lab/psu/agents/bench{number}/{leaf}" for number in (1, 2) for leaf in ("status", "info", "metrics")),
        }
        wait_until(lambda: expected <= reader.topics(), "everything that two agents publish")
    fleet.agents[0].stop()
    fleet.agents[0].start()
    with Client(fleet.broker, "reader") as reader:
        reader.subscribe("lab/psu/agents/bench1/status")
        wait_until(lambda: any(payload == b"online" for _, payload, _ in reader.arrived), "the agent is back")
    assert fleet.denied() == []
    for agent in fleet.agents:
        assert "not authorized" not in agent.text().lower()
        assert "does not let" not in agent.text()


def test_agents_with_such_rights_find_out_that_they_serve_one_supply(fleet: AgentUsers) -> None:
    with Client(fleet.broker, "reader") as reader:
        reader.subscribe("lab/psu/psu3/info")
        fleet.third.start()

        def conflict() -> Any:
            infos = [json.loads(payload) for _, payload, _ in reader.arrived]
            return next((info["conflict"] for info in infos if info["conflict"] and not info["serves"]), None)

        found = wait_until(conflict, "the third agent gives way")
        assert (found["agent"], found["unit"], found["why"]) == ("bench1", "psu1", "supply")
    fleet.third.stop()
    assert fleet.denied() == []


def test_the_measurement_of_the_broker_has_its_rights(fleet: AgentUsers) -> None:
    done = subprocess.run(
        [*PSU_AGENT, "check", "--connect", fleet.files[0]], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "may not" not in done.stdout + done.stderr
    assert fleet.denied() == []


def test_an_agents_password_is_of_no_use_against_another_agent(fleet: AgentUsers) -> None:
    stolen = ("bench1", fleet.broker.password("bench1"))
    foreign = ["psu2/status", "psu2/info", "psu2/1/state", "psu2/1/backlog", "psu2/1/event", "psu2/1/response", "psu2/lease",
               "psu2/1/lease", "psu2/1/homeassistant", "agents/bench2/status", "agents/bench2/info", "agents/bench2/metrics",
               "psu2/set", "psu2/1/set", "psu2/1/set/voltage_limit", "psu2/1/lease/set", "psu2/takeover", "all/set",
               "psu1/1/set", "psu1/takeover", "psu3/status", "agents/bench3/status"]  # fmt: skip
    with Client(fleet.broker, "reader") as reader:
        reader.subscribe("lab/psu/+/status")
        wait_until(lambda: reader.arrived, "the subscription")
        before = fleet.simulators[1].instrument.channels[1].settings.voltage
        with Client(fleet.broker, *stolen, session="stranger") as stranger:
            for topic in foreign:
                stranger.publish(
                    f"lab/psu/{topic}", '{"voltage_limit": 4.5}' if "set" in topic else "forged", retain=False
                )
            stranger.publish("lab/psu/psu1/status", "end", retain=False)
            stranger.settle()
            wait_until(lambda: any(payload == b"end" for _, payload, _ in reader.arrived), "what it may publish")
        assert not [one for one in reader.arrived if one[1] == b"forged"]
        assert fleet.command("get", "psu2/1").returncode == 0
        assert fleet.simulators[1].instrument.channels[1].settings.voltage == before
    denied = re.findall(r"Denied PUBLISH from stranger \([^'\n]*'([^']+)'", fleet.broker.text())
    assert denied == [f"lab/psu/{topic}" for topic in foreign]


def test_the_list_is_kept_and_added_to_and_passwords_stay(tmp_path: Path) -> None:
    out, users, password = tmp_path / "secrets", tmp_path / "users.toml", tmp_path / "secrets" / "users" / "bench1"
    users.write_text(USERS)
    assert make(out, "bench1:psu1", users=users).returncode == 0
    first, passwd = rules(out, "bench1"), password.read_text()
    assert "topic write lab/psu/psu1/+/state" in first
    assert not any("psu2" in line for line in first)
    (tmp_path / "agents.txt").write_text("# the second row\nbench2: psu2, psu3\n\nbench1: psu1 psu7  # a new one\n")
    done = make(out, str(tmp_path / "agents.txt"), users=users)
    assert f"MQTT user bench2 (agent for psu2, psu3): {out / 'users' / 'bench2'}" in done.stdout
    assert {"topic write lab/psu/psu1/status", "topic write lab/psu/psu7/status"} <= rules(out, "bench1")
    assert make(out, users=users).returncode == 0
    assert make(out, "bench1", users=users).returncode == 0  # its units are known
    assert "topic write lab/psu/psu3/status" in rules(out, "bench2")
    assert "topic write lab/psu/psu7/status" in rules(out, "bench1")
    assert password.read_text() == passwd


def test_without_a_list_it_is_as_it_was(tmp_path: Path) -> None:
    assert make(tmp_path / "secrets").returncode == 0
    assert not (tmp_path / "secrets" / "agents").exists()
    assert sorted(path.name for path in (tmp_path / "secrets" / "users").iterdir()) == ["commands", "health", "reader"]


def test_a_user_that_may_speak_for_all_is_named(tmp_path: Path) -> None:
    """That of the stack's own agent, where more agents come."""
    assert "The user agent may speak for every agent's units" in make(tmp_path / "secrets", "bench1:psu1").stdout


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("bench1", 'agent bench1: name its units, for instance AGENTS="bench1:psu1,psu2"'),
        ("commands:psu1", "agent commands: there is a user of that name"),
        ("telegraf:psu1", "agent telegraf: there is a user of that name"),
        ("bench1:a/b", "users.bench1.units: must be a list of names of units"),
        ("bench1:#", "users.bench1.units: must be a list of names of units"),
        ("bench1:psu#1", "users.bench1.units: must be a list of names of units"),
        ("bench1:psu1,all", "users.bench1.units: no unit may be called all"),
        ("bench1: # later", "agent bench1: name its units"),
        ("bench 1:psu1", "users.bench 1: a user name is made of letters"),
        ("../x:psu1", "users.../x: a user name is made of letters"),
        ("+:psu1", "users.+: a user name is made of letters"),
    ],
)
def test_a_fault_in_the_list_is_told_and_changes_nothing(tmp_path: Path, word: str, complaint: str) -> None:
    (tmp_path / "users.toml").write_text(USERS)
    done = make(tmp_path / "secrets", word, users=tmp_path / "users.toml")
    assert (done.returncode, complaint in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "secrets").exists()

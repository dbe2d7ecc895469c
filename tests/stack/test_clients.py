"""The agent at the shipped broker, among users who have a password and mean it no good."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.simulator import Simulator
from tests.stack.client import Client
from tests.stack.services import Broker, generate_secrets, stopping, tool
from tests.support.agents import AgentProcess
from tests.support.bench import settings, unit
from tests.support.waiting import wait_until

USERS = """
base_topic = "psu"
discovery_prefix = "homeassistant"
users.bench3 = {role = "agent", name = "bench3", units = ["psu1"]}
users.commands = {role = "commands"}
users.reader = {role = "readers"}
"""
OWN = "psu/psu1/1/response"


class Lab:
    """The shipped broker, and the agent bench3 with the unit psu1."""

    def __init__(self, folder: Path, simulator: Simulator, **mqtt: Any) -> None:
        tool("mosquitto", "install the Debian package mosquitto")
        (folder / "users.toml").write_text(USERS)
        secrets = generate_secrets(folder / "secrets", folder / "users.toml")
        for name in ("acl", "passwd"):
            (secrets / "mosquitto" / name).chmod(0o600)
        self.broker = Broker(folder / "broker", secrets)
        login = {"username": "bench3", "password": (secrets / "users" / "bench3").read_text(), "keepalive": 60, **mqtt}
        self.state = folder / "state"
        data = settings(self.broker.port, [unit("psu1", simulator)], self.state, agent="bench3", mqtt=login)
        self.agent = AgentProcess(data, folder / "agent")

    def client_id(self) -> str:
        """The agent's, as the broker's log has it."""
        return str(re.findall(r"as (\S+) \(p\S+, c1, k60, u'bench3'\)", self.broker.text())[-1])

    def connections(self) -> int:
        return len(re.findall(r"u'bench3'\)", self.broker.text()))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Simulator() as simulator:
        lab = Lab(tmp_path, simulator)
        with stopping(lab.broker):
            lab.broker.start()
            with lab.agent:
                yield lab


def command(client: Client, command_id: str, response_topic: str | None = None) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = command_id.encode()
    if response_topic is not None:
        properties.ResponseTopic = response_topic
    client.publish("psu/psu1/1/set", json.dumps({"id": command_id, "voltage_limit": 1}), properties=properties)


def responses(client: Client, topic: str) -> list[Any]:
    return [json.loads(payload) for name, payload, _ in client.arrived if name == topic]


def test_a_response_topic_that_the_agent_may_not_use_is_answered_where_it_may(lab: Lab) -> None:
    with Client(lab.broker, "commands") as client:
        client.subscribe("psu/#", "reply/commands/#", "elsewhere/#")
        wait_until(lambda: client.heard_online("psu/psu1/1/state"), "the unit")
        command(client, "refused", "elsewhere/x")
        wait_until(lambda: responses(client, OWN), "the response")
        (response,) = responses(client, OWN)
        assert (response["id"], response["ok"]) == ("refused", True)
        command(client, "allowed", "reply/commands/x")
        wait_until(lambda: responses(client, "reply/commands/x"), "the other response")
        command(client, "below the base topic", "psu/response/commands/x")
        wait_until(lambda: responses(client, "psu/response/commands/x"), "the response below the base topic")
        assert len(responses(client, OWN)) == 1


def test_nobody_can_take_the_agents_connection(lab: Lab) -> None:
    with Client(lab.broker, "reader") as reader:
        reader.subscribe("#", "$SYS/#")
        wait_until(lambda: reader.heard_online("psu/psu1/1/state"), "the unit")
        client_id = lab.client_id()
        assert re.fullmatch(r"psu-agent-bench3-[0-9a-f]{16}", client_id)
        for guess in ("psu-agent-bench3", "bench3", "psu-agent-bench3-"):
            with Client(lab.broker, "reader", session=guess):
                pass
        before = len(reader.arrived)
        wait_until(
            lambda: any(topic == "psu/agents/bench3/metrics" for topic, _, _ in reader.arrived[before:]), "metrics"
        )
        metrics = [json.loads(payload) for topic, payload, _ in reader.arrived if topic == "psu/agents/bench3/metrics"]
        assert metrics[-1]["broker_reconnects"] == 0
        assert lab.connections() == 1
        secret = client_id.rpartition("-")[2].encode()
        assert not any(secret in topic.encode() or secret in payload for topic, payload, _ in reader.arrived)
        assert not any(topic.startswith("$SYS") for topic in reader.topics())
    assert secret not in lab.agent.log.read_bytes()


def test_the_next_run_ends_what_a_killed_one_left_half_open(lab: Lab) -> None:
    """It has the same client identifier; with another one the last will of the old connection would come later."""
    with Client(lab.broker, "reader") as reader:
        reader.subscribe("psu/#")
        wait_until(lambda: reader.heard_online("psu/psu1/1/state"), "the unit")
        wait_until(lambda: any(b"client id" in file.read_bytes() for file in lab.state.iterdir()), "it is on the disk")
        client_id = lab.client_id()
        lab.agent.kill()
        lab.agent.start()
        wait_until(lambda: lab.connections() == 2, "the next connection")
        assert lab.client_id() == client_id


def test_the_status_is_put_right_where_somebody_else_changed_it(lab: Lab) -> None:
    """As the last will of an old connection does, which was made from another state directory."""
    status = "psu/agents/bench3/status"
    with Client(lab.broker, "reader") as reader, Client(lab.broker, "bench3") as other:
        reader.subscribe(status)
        wait_until(lambda: (status, b"online", False) in reader.arrived or reader.arrived, "the agent")
        wait_until(lambda: reader.arrived[-1][1] == b"online", "that it is online")
        before = len(reader.arrived)
        other.publish(status, "offline", retain=True)
        wait_until(lambda: [payload for _, payload, _ in reader.arrived[before:]] == [b"offline", b"online"], "that")
        before = len(reader.arrived)
        assert lab.agent.stop() == 0
        wait_until(lambda: reader.arrived[-1][1] == b"offline", "the end")
        assert [payload for _, payload, _ in reader.arrived[before:]] == [b"offline"]

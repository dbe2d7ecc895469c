"""A site's broker and a central one, both as shipped, with a link between them that can be cut."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.processes import ROOT
from tests.support.relay import Relay
from tests.support.waiting import wait_until

from .client import Client
from .publisher import Channel, Publisher
from .services import Broker, generate_secrets, stopping

CENTRAL = """
base_topic = "+/psu"
discovery_prefix = "homeassistant"
users.site1 = {role = "bridge", base_topic = "site1/psu"}
users.commands = {role = "commands"}
users.reader = {role = "readers"}
users.telegraf = {role = "telegraf"}
"""


class Sites:
    def __init__(self, folder: Path) -> None:
        (folder / "central.toml").write_text(CENTRAL)
        central_secrets = generate_secrets(folder / "central-secrets", folder / "central.toml")
        self.central = Broker(folder / "central", central_secrets)
        self.link = Relay(self.central.tls_port)

        secrets = generate_secrets(folder / "secrets")
        users = (ROOT / "mosquitto" / "users.toml").read_text()
        users += f'\n[bridge]\naddress = "127.0.0.1:{self.link.port}"\nusername = "site1"\nsite = "site1"\n'
        (folder / "site.toml").write_text(users)
        (secrets / "central_password").write_text(self.central.password("site1"))
        authority = (central_secrets / "mosquitto" / "tls" / "ca.crt").read_text()
        (secrets / "mosquitto" / "tls" / "central_ca.crt").write_text(authority)
        generate_secrets(secrets, folder / "site.toml")
        # It is written for the container, where secrets/mosquitto is /run/secrets.
        bridge = secrets / "mosquitto" / "conf.d" / "bridge.conf"
        text = bridge.read_text()
        assert text.count("/run/secrets") == 1
        self._requests = [f"site1/psu/{topic}" for topic in re.findall(r"^topic (\S+) in ", text, re.MULTILINE)]
        assert self._requests
        bridge.chmod(0o600)
        bridge.write_text(text.replace("/run/secrets", str(secrets / "mosquitto")))
        self.site = Broker(folder / "site", secrets)

    def linked(self) -> bool:
        """The bridge is connected to the centre, and has subscribed to all requests: it says that it is up before that."""
        since = self.central.text().rpartition("as site1-bridge")[2]
        return "Client site1-bridge" not in since and all(
            re.search(rf": site1-bridge\S* \d {re.escape(topic)}\n", since) for topic in self._requests
        )


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    sites = Sites(tmp_path_factory.mktemp("sites"))
    with stopping(sites.site, sites.central), sites.link:
        sites.central.start()
        sites.site.start()
        wait_until(sites.linked, "the bridge is up")
        yield sites
        # Mosquitto 2.0.11 may hang at the end of a clean stop with an MQTT 5 bridge, its database being written.
        sites.site.stop(signal.SIGKILL)


def test_what_the_site_publishes_is_seen_at_the_centre_and_kept_there(sites: Sites) -> None:
    channel = Channel()
    with Client(sites.central, "reader") as reader:
        reader.subscribe("site1/#")
        with Publisher(sites.site) as publisher:
            publisher.state(channel.state(1))
            publisher.state(channel.state(0), "backlog")
            publisher.send("psu1/1/event", channel.event(1, "state", "x"))
            publisher.send("psu1/lease", "ci", retain=True)
            publisher.send("psu1/1/lease", "ci", retain=True)
            publisher.send("psu1/status", "online", retain=True)
            publisher.send("psu1/1/voltage_limit", "5.0000", retain=True)
            publisher.send("agents/bench3/log", "{}")
            publisher.send("agents/bench3/status", "online", retain=True)
            publisher.settle()
        retained = {"psu1/1/voltage_limit"} | {
            "psu1/1/state",
            "psu1/status",
            "psu1/lease",
            "psu1/1/lease",
            "agents/bench3/status",
        }
        expected = {"psu1/1/backlog", "psu1/1/event", "agents/bench3/log"} | retained
        wait_until(lambda: reader.topics() == {f"site1/psu/{topic}" for topic in expected}, "all of it")
    with Client(sites.central, "reader") as late:
        late.subscribe("site1/#")
        wait_until(lambda: late.topics() == {f"site1/psu/{topic}" for topic in retained}, "what is retained")


def test_a_request_from_the_centre_is_answered_where_it_asked_for(sites: Sites) -> None:
    with Client(sites.site, "agent") as agent, Client(sites.central, "commands") as commands:
        agent.subscribe("psu/+/+/set")
        commands.subscribe("reply/commands/#")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic, properties.CorrelationData = "reply/commands/cli", b"7"
        commands.publish("site1/psu/psu1/1/set", '{"state": true}', properties=properties)
        wait_until(lambda: agent.arrived, "the request")

        seen: list[Any] = []
        agent.client.on_message = lambda _c, _d, message: seen.append(message)
        commands.publish("site1/psu/psu1/2/set", '{"state": true}', properties=properties)
        (request,) = wait_until(lambda: seen, "the second request")
        assert (request.properties.ResponseTopic, request.properties.CorrelationData) == ("reply/commands/cli", b"7")
        agent.publish(request.properties.ResponseTopic, '{"ok": true}')
        wait_until(lambda: commands.arrived, "the response")
    assert commands.arrived == [("reply/commands/cli", b'{"ok": true}', False)]


def test_nothing_comes_round(sites: Sites) -> None:
    with Client(sites.central, "commands") as centre, Client(sites.site, "commands") as site, \
            Client(sites.site, "agent") as agent:  # fmt: skip
        centre.subscribe("site1/psu/loop/#")
        site.subscribe("psu/loop/#")
        agent.subscribe("psu/loop/+/set", "psu/loop/set", "psu/loop/set/+", "psu/loop/+/lease/set", "psu/loop/takeover")
        site.publish("psu/loop/set/state", "ON")
        site.publish("psu/loop/set/lease", "ci")
        centre.publish("site1/psu/loop/lease/set", "rent")
        centre.publish("site1/psu/loop/1/lease/set", "rent 1")
        centre.publish("site1/psu/loop/takeover", "not from afar")
        site.publish("psu/loop/1/set", "here")
        centre.publish("site1/psu/loop/1/set", "there")
        with Publisher(sites.site) as publisher:
            for seq in range(20):
                publisher.state(Channel(psu="loop").state(seq))
            publisher.settle()
        wait_until(lambda: any(b'"seq": 19' in payload for _, payload, _ in centre.arrived), "the last sample")
        # Whatever went round would have been ahead of this.
        site.settle()
        centre.settle()
        centre.publish("site1/psu/loop/set", "end")
        wait_until(lambda: any(payload == b"end" for _, payload, _ in agent.arrived), "the end")
        wait_until(lambda: any(b'"seq": 19' in payload for _, payload, _ in site.arrived), "the site's last sample")
        states = [topic for topic, _, _ in centre.arrived if topic.endswith("/1/state")]
        assert (len(states), len([one for one in site.arrived if one[0].endswith("/1/state")])) == (20, 20)
        arrived = sorted(payload for _, payload, _ in agent.arrived)
        assert arrived == [b"ON", b"ci", b"end", b"here", b"rent", b"rent 1", b"there"]


def test_a_cut_loses_no_sample_and_replays_no_request(sites: Sites) -> None:
    """As many samples as three channels give in a minute of polling at 10 Hz; the site's broker restarts meanwhile."""
    channel, number = Channel(psu="cut"), 1800
    with Client(sites.central, "reader") as reader, Client(sites.site, "agent") as agent:
        reader.subscribe("site1/psu/cut/1/state")
        agent.subscribe("psu/cut/+/set", "psu/cut/set", "psu/all/set")
        sites.link.stop()
        wait_until(lambda: not sites.linked(), "the centre knows")
        with Client(sites.central, "commands") as commands:
            commands.publish("site1/psu/cut/1/set", '{"state": true}')
            commands.publish("site1/psu/all/set", "OFF")
            commands.settle()
        with Publisher(sites.site) as publisher:
            for seq in range(number // 2):
                publisher.state(channel.state(seq))
            publisher.settle()
        before = agent.granted
        sites.site.stop()
        sites.site.start()
        wait_until(lambda: agent.granted > before, "the agent is back", 60)
        with Publisher(sites.site) as publisher:
            for seq in range(number // 2, number):
                publisher.state(channel.state(seq))
            publisher.settle()
        assert reader.arrived == []
        sites.link.start()
        wait_until(sites.linked, "the bridge is up again", 60)
        wait_until(lambda: len({payload for _, payload, _ in reader.arrived}) == number, "every sample", 60)

        with Client(sites.central, "commands") as commands:
            commands.publish("site1/psu/cut/1/set", "fresh")
            wait_until(lambda: agent.arrived, "a new request")
        assert [payload for _, payload, _ in agent.arrived] == [b"fresh"]


def test_a_retained_request_comes_down_as_retained(sites: Sites) -> None:
    """The agent refuses those, so that flag must not get lost on the way."""
    with Client(sites.central, "commands") as commands:
        commands.publish("site1/psu/kept/1/set", '{"state": true}', retain=True)
        commands.settle()
    with Client(sites.site, "agent") as agent:
        agent.subscribe("psu/kept/+/set")
        sites.link.stop()
        wait_until(lambda: not sites.linked(), "the centre knows")
        sites.link.start()
        wait_until(sites.linked, "the bridge is up again", 60)
        with Client(sites.central, "commands") as commands:

            def the_end_came() -> bool:
                # Again and again: a bridge says that it is up before it has subscribed.
                commands.publish("site1/psu/kept/2/set", "end")
                return any(payload == b"end" for _, payload, _ in agent.arrived)

            wait_until(the_end_came, "the end")
    for topic, payload, retained in agent.arrived:
        assert payload == b"end" or retained, topic


def test_the_bridge_is_gone_when_it_is_gone_from_users_toml(tmp_path: Path) -> None:
    secrets = generate_secrets(tmp_path / "secrets")
    users = (ROOT / "mosquitto" / "users.toml").read_text()
    bridge = secrets / "mosquitto" / "conf.d" / "bridge.conf"
    (tmp_path / "site.toml").write_text(f'{users}\n[bridge]\naddress = "a:8883"\nusername = "s"\nsite = "s"\n')
    (secrets / "central_password").write_text("x")
    generate_secrets(secrets, tmp_path / "site.toml")
    assert "remote_password x" in bridge.read_text()
    assert "{" not in "".join(line for line in bridge.read_text().splitlines() if not line.startswith("#"))
    generate_secrets(secrets)
    assert not bridge.exists()

"""Who may do what at the shipped broker, judged by what arrives: a refused subscription is granted all the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from agent.protocol.fields import LEVELS
from scripts.rights import VALUE_TOPICS
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .client import Client
from .services import Broker, generate_secrets, stopping, tool

USERS = """
base_topic = "psu"
discovery_prefix = "homeassistant"
users.bench3 = {role = "agent", name = "bench3", units = ["psu1"]}
users.bench4 = {role = "agent", name = "bench4", units = ["psu4", "psu5"], discovery = false}
users.telegraf = {role = "telegraf"}
users.commands = {role = "commands"}
users.reader = {role = "readers"}
users.hass = {role = "homeassistant"}
users.site1 = {role = "bridge", base_topic = "site1/psu"}
users.health = {role = "health"}
"""
#: Everything the contract knows of one unit, its channels and its agent.
TELEMETRY = {"psu/psu1/1/state", "psu/psu1/1/backlog", "psu/psu1/1/event"}
RESPONSES = {"psu/psu1/1/response", "psu/psu1/response"}
LEASES = {"psu/psu1/lease", "psu/psu1/1/lease"}
STATUS = {"psu/psu1/status", "psu/agents/bench3/status"}
INFO = {"psu/psu1/info", "psu/agents/bench3/info"}
TAKEOVER = {"psu/psu1/takeover"}
METRICS = {"psu/agents/bench3/metrics"}
REMARKS = {"psu/agents/bench3/log"}
VALUES = {f"psu/psu1/1/{level}" for level in LEVELS.values()}
MEASURED = {"psu/agents/bench3/check/1/retained"}
PUBLISHED = TELEMETRY | RESPONSES | LEASES | STATUS | INFO | METRICS | REMARKS | VALUES
REQUESTS = {"psu/psu1/set", "psu/psu1/set/state", "psu/psu1/1/set", "psu/psu1/1/set/voltage_limit", "psu/psu1/get",
            "psu/psu1/1/get", "psu/psu1/set/lease", "psu/psu1/lease/set", "psu/psu1/1/lease/set"}  # fmt: skip
ALL = {"psu/all/set", "psu/all/set/state", "psu/all/1/set"}
#: Topics that mean a command and that nobody of a role for requests may publish to.
ODD = {"psu/psu1/1/2/set", "psu/psu1/1/set/state/x", "psu/psu1/get/x"}
OTHERS = {topic.replace("psu1", "psu9").replace("bench3", "bench9") for topic in PUBLISHED}
OTHERS_REQUESTS = {topic.replace("psu1", "psu9") for topic in REQUESTS}
OTHERS_TAKEOVER = {"psu/psu9/takeover"}
#: By which agents find out who serves what.
WHO_SERVES_WHAT = {topic for topic in PUBLISHED | OTHERS if topic.endswith("/info")} | {
    "psu/agents/bench3/status",
    "psu/agents/bench9/status",
}
DISCOVERY, BIRTH = {"homeassistant/device/psu1/config"}, {"homeassistant/status"}
FOR_HOMEASSISTANT = {"psu/psu1/1/homeassistant"}
REPLIES = {
    "reply/commands/1",
    "reply/reader/1",
    "psu/response/commands",
    "psu/response/commands/1",
    "psu/response/reader/1",
}
SITE = {f"site1/{topic}" for topic in PUBLISHED}
SITE_REQUESTS = {f"site1/{topic}" for topic in REQUESTS | ALL}
ELSEWHERE = {"other", "other/psu1/1/set", "psu", "psu/psu1", "psu/psu1/1", "psu/psu1/1/state/x"} | {
    "site2/psu/psu1/1/state"
}
EVERYTHING = set[str]().union(
    *(
        PUBLISHED,
        FOR_HOMEASSISTANT,
        REQUESTS,
        ALL,
        ODD,
        OTHERS,
        OTHERS_REQUESTS,
        TAKEOVER,
        OTHERS_TAKEOVER,
        MEASURED,
        {"psu/agents/bench9/check/1/retained"},
        DISCOVERY,
        BIRTH,
        REPLIES,
        SITE,
        SITE_REQUESTS,
    ),
    ELSEWHERE,
)
#: The requests that have the form of a state, {base}/{unit}/{ch}/state, or of a channel's lease.
LIKE_A_STATE = {
    "psu/psu1/set/state",
    "psu/psu9/set/state",
    "psu/all/set/state",
    "psu/psu1/set/lease",
    "psu/psu9/set/lease",
}

MAY_PUBLISH = {
    # To its own unit, where it needs no request to do what it likes.
    "bench3": PUBLISHED
    | FOR_HOMEASSISTANT
    | DISCOVERY
    | REPLIES
    | MEASURED
    | {"psu/psu1/set/state", "psu/psu1/set/lease"},
    "bench4": REPLIES,
    "telegraf": set(),
    "commands": REQUESTS | ALL | OTHERS_REQUESTS | TAKEOVER | OTHERS_TAKEOVER,
    "reader": set(),
    "hass": REQUESTS | ALL | OTHERS_REQUESTS | TAKEOVER | OTHERS_TAKEOVER | BIRTH,
    "site1": SITE | {topic for topic in REPLIES if topic.startswith("reply/")},
    "health": set(),
}
ANY_PUBLISHED = PUBLISHED | OTHERS
MAY_READ = {
    "bench3": MEASURED | REQUESTS | TAKEOVER | LEASES | ALL | ODD | BIRTH | DISCOVERY | METRICS | WHO_SERVES_WHAT,
    "bench4": ALL | WHO_SERVES_WHAT,
    "telegraf": {
        topic
        for topic in ANY_PUBLISHED
        if topic.endswith(("/state", "/backlog", "/event", "/status", "/metrics", "/info"))
        and not ("/agents/" in topic and topic.endswith("/info"))
    },
    "commands": ANY_PUBLISHED | LIKE_A_STATE | {"reply/commands/1", "psu/response/commands", "psu/response/commands/1"},
    "reader": ANY_PUBLISHED | {"reply/reader/1", "psu/response/reader/1"},
    "hass": ANY_PUBLISHED | FOR_HOMEASSISTANT | LIKE_A_STATE | DISCOVERY | BIRTH,
    "site1": SITE_REQUESTS - {f"site1/{topic}" for topic in LIKE_A_STATE},
    "health": {"$SYS/broker/uptime"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The shipped broker with a user of each role, and one, of this test only, who may do everything."""
    passwd = tool("mosquitto_passwd", "install the Debian package mosquitto")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "users.toml").write_text(USERS)
    secrets = generate_secrets(folder / "secrets", folder / "users.toml")
    for name in ("acl", "passwd"):
        (secrets / "mosquitto" / name).chmod(0o600)
    with (secrets / "mosquitto" / "acl").open("a") as acl:
        acl.write("\nuser witness\ntopic readwrite #\ntopic read $SYS/#\n")
    (secrets / "users" / "witness").write_text("seen")
    subprocess.run([passwd, "-b", secrets / "mosquitto" / "passwd", "witness", "seen"], check=True)
    broker = Broker(folder / "broker", secrets)
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.parametrize("version", [mqtt.MQTTv5, mqtt.MQTTv311])
def test_each_user_can_publish_what_it_should_and_nothing_else(lab: Broker, version: int) -> None:
    with Client(lab, "witness") as witness:
        witness.subscribe("#")
        for user in MAY_PUBLISH:
            with Client(lab, user, version=version) as client:
                for topic in sorted(EVERYTHING):
                    client.publish(topic, user)
                client.settle()
        witness.publish("end", "end")
        wait_until(lambda: "end" in witness.topics(), "the end")
    for user, allowed in MAY_PUBLISH.items():
        assert {topic for topic, payload, _ in witness.arrived if payload == user.encode()} == allowed, user


@pytest.mark.parametrize("retained", [False, True])
def test_each_user_can_read_what_it_should_and_nothing_else(lab: Broker, retained: bool) -> None:
    def everything() -> None:
        for topic in sorted(EVERYTHING):
            witness.publish(topic, "x", retain=retained)
        witness.settle()

    with Client(lab, "witness") as witness:
        if retained:
            everything()
        for user, allowed in MAY_READ.items():
            with Client(lab, user) as client:
                client.subscribe("#", "+/+/+/+", "psu/+/+/set", f"reply/{user}/end", "$SYS/#")
                if not retained:
                    everything()
                witness.publish(f"reply/{user}/end", "end")
                wait_until(lambda c=client, u=user: f"reply/{u}/end" in c.topics(), "the end")  # type: ignore[misc]
                if "$SYS/broker/uptime" in allowed:
                    wait_until(lambda c=client: "$SYS/broker/uptime" in c.topics(), "the broker's uptime")  # type: ignore[misc]
            assert client.topics() - {f"reply/{user}/end"} == allowed, user
        for topic in EVERYTHING:
            witness.publish(topic, "", retain=True)
        witness.settle()


@pytest.mark.parametrize(("user", "password"), [(None, None), ("commands", "wrong"), ("commands", ""), ("nobody", "x")])
def test_nobody_connects_without_a_password(lab: Broker, user: str | None, password: str | None) -> None:
    with Client(lab, user, password) as client:
        assert client.codes[0] == "Not authorized"


def test_the_list_has_the_plain_values_that_an_agent_publishes() -> None:
    assert sorted(VALUE_TOPICS) == sorted(LEVELS.values())
    bridge = (ROOT / "mosquitto" / "bridge.conf").read_text()
    assert [level for level in VALUE_TOPICS if f"topic +/+/{level} out 1 {{base}}/" not in bridge] == []


def test_the_health_check_of_compose(lab: Broker) -> None:
    """mosquitto_sub finds its options, user and password among them, where XDG_CONFIG_HOME says."""
    import yaml

    check = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["mosquitto"]["healthcheck"]["test"]
    assert check[0] == "CMD-SHELL"
    command = check[1].replace("$$", "$").replace("mosquitto_sub ", f"mosquitto_sub -p {lab.port} ")
    environment = {"PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": str(lab.secrets / "mosquitto")}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    assert (done.returncode, "seconds" in done.stdout) == (0, True), done
    broken = command.replace(str(lab.port), "1")
    assert subprocess.run(["sh", "-c", broken], env=environment, capture_output=True).returncode != 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_with_the_labs_own_authority(lab: Broker) -> None:
    authority = lab.secrets / "mosquitto" / "tls" / "ca.crt"

    def ask(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["mosquitto_sub", "-h", "localhost", "-p", str(lab.tls_port), "-u", "health", "-P",
                   lab.password("health"), "-t", "$SYS/broker/uptime", "-C", "1", *options]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True)

    assert ask("-W", "30", "--cafile", str(authority)).returncode == 0
    assert ask("-W", "2").returncode != 0, "without TLS"
    assert ask("-W", "2", "--capath", "/etc/ssl/certs").returncode != 0, "an authority nobody knows"

    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", lab.tls_port), 5) as raw, pytest.raises(ssl.SSLError):
        old.wrap_socket(raw, server_hostname="localhost")
    context = ssl.create_default_context(cafile=str(authority))
    with socket.create_connection(("127.0.0.1", lab.tls_port), 5) as raw, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(raw, server_hostname="somewhere.example.org")


def test_more_names_stay_in_a_renewed_certificate(tmp_path: Path) -> None:
    secrets = generate_secrets(tmp_path / "secrets")
    script = str(ROOT / "scripts" / "make_certs.sh")
    for names in ("broker.lab 10.0.0.5 fd00::5", ""):
        environment = {"PATH": "/usr/bin:/bin", "OUT": str(secrets), "NAMES": names}
        assert subprocess.run([script], env=environment, capture_output=True).returncode == 0
    tls = secrets / "mosquitto" / "tls"
    shown = subprocess.run(
        ["openssl", "x509", "-in", tls / "server.crt", "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
    ).stdout
    for name in (
        "DNS:mosquitto",
        "DNS:localhost",
        "DNS:broker.lab",
        "IP Address:10.0.0.5",
        "IP Address:FD00:0:0:0:0:0:0:5",
    ):
        assert name in shown
    verified = subprocess.run(["openssl", "verify", "-CAfile", str(secrets / "ca" / "ca.crt"), str(tls / "server.crt")])
    assert verified.returncode == 0
    assert secrets.stat().st_mode & 0o077 == 0
    assert (secrets / "ca" / "ca.key").stat().st_mode & 0o077 == 0


def test_a_message_that_is_too_large_harms_nobody(lab: Broker) -> None:
    with Client(lab, "witness") as witness:
        witness.subscribe("psu/#")
        with Client(lab, "bench3") as agent:
            agent.publish("psu/psu1/1/state", "x" * 131_072)
            agent.publish("psu/psu1/1/state", "x" * 131_073)
            agent.publish("psu/psu1/1/state", "after")
            wait_until(lambda: any(payload == b"after" for _, payload, _ in witness.arrived), "what came after it")
    assert [len(payload) for _, payload, retained in witness.arrived if not retained] == [131_072, 5]


def test_too_many_connections_harm_nobody_who_is_there(lab: Broker, tmp_path: Path) -> None:
    broker = Broker(tmp_path, lab.secrets)
    with stopping(broker):
        broker.start()
        with Client(broker, "witness") as witness, Client(broker, "bench3") as agent:
            witness.subscribe("psu/#")
            crowd = [socket.create_connection(("127.0.0.1", broker.port), 5) for _ in range(520)]
            agent.publish("psu/psu1/1/state", "still here")
            wait_until(lambda: witness.arrived, "a sample")
            wait_until(lambda: any(_closed(one) for one in reversed(crowd)), "one of the crowd to be turned away")
            for one in crowd:
                one.close()
        wait_until(lambda: broker.publish("bench3", "psu/psu1/1/state", "x").returncode == 0, "room again")


def _closed(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_retained_states_and_sessions_survive_a_restart(lab: Broker) -> None:
    with Client(lab, "bench3") as agent:
        agent.publish("psu/psu1/1/state", "last", retain=True)
        agent.settle()
    lab.stop()
    lab.start()
    with Client(lab, "reader") as reader:
        reader.subscribe("psu/#")
        wait_until(lambda: ("psu/psu1/1/state", b"last", True) in reader.arrived, "the state from before")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('role = "telegraf"', 'role = "telegrf"'), "users.telegraf.role: must be one of agent, telegraf"),
        (('units = ["+"]', 'units = ["a/b"]'), "users.agent.units: must be a list of names of units"),
        (('name = "+"\n', ""), "users.agent.name: missing; role agent needs it"),
        (('base_topic = "psu"', 'base_topic = "psu/#"'), "base_topic: must be a topic"),
        (('base_topic = "psu"', 'base_topik = "psu"'), "base_topik: unknown"),
        (("[users.reader]", "[users.'a b']"), "users.a b: a user name is made of letters"),
        (("[users.reader]", "[users.reader"), "users.toml: "),
    ],
)
def test_a_fault_in_users_toml_is_told_and_changes_nothing(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    text = (ROOT / "mosquitto" / "users.toml").read_text()
    assert change[0] in text
    (tmp_path / "users.toml").write_text(text.replace(change[0], change[1], 1))
    out = tmp_path / "secrets"
    script, users = ROOT / "scripts" / "make_secrets.py", tmp_path / "users.toml"
    done = subprocess.run(["python3", script, "--out", out, "--users", users], capture_output=True, text=True)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_secrets_stay_as_they_are_when_made_again(tmp_path: Path) -> None:
    secrets = generate_secrets(tmp_path / "secrets")
    kept = {path: path.read_bytes() for folder in ("users", "agent", "telegraf", "influxdb", "grafana")
            for path in (secrets / folder).iterdir()}  # fmt: skip
    assert len({*kept.values()}) == len(kept) == 8
    assert all(len(value) >= 32 for value in kept.values())
    generate_secrets(secrets)
    assert {path: path.read_bytes() for path in kept} == kept
    shutil.rmtree(secrets / "users")
    generate_secrets(secrets)
    assert (secrets / "users" / "commands").read_bytes() != kept[secrets / "users" / "commands"]


def test_new_users_and_a_new_certificate_are_taken_over_on_hup(tmp_path: Path) -> None:
    secrets = generate_secrets(tmp_path / "secrets")
    broker = Broker(tmp_path / "broker", secrets)

    def certificate() -> str:
        return ssl.get_server_certificate(("127.0.0.1", broker.tls_port))

    with stopping(broker):
        broker.start()
        before = certificate()
        users = (ROOT / "mosquitto" / "users.toml").read_text()
        (tmp_path / "users.toml").write_text(f'{users}\n[users.alice]\nrole = "commands"\n')
        generate_secrets(secrets, tmp_path / "users.toml")
        assert broker.publish("alice", "psu/psu1/1/set", "x").returncode != 0
        os.kill(broker.pid, signal.SIGHUP)
        wait_until(lambda: broker.publish("alice", "psu/psu1/1/set", "x").returncode == 0, "alice is let in")
        wait_until(lambda: certificate() != before, "the new certificate")


def test_nothing_secret_is_in_git_or_in_the_image() -> None:
    for name in (".gitignore", ".dockerignore"):
        assert "secrets/" in (ROOT / name).read_text().split(), name
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "secrets"], capture_output=True, text=True)
    assert listed.stdout == ""


def test_a_state_that_the_broker_refuses_is_told_to_an_mqtt_5_agent(lab: Broker) -> None:
    """`mosquitto_pub` says nothing of it on 3.1.1; on 5 the reason is there to be logged."""
    done = lab.publish("bench4", "psu/psu1/1/state", json.dumps({"psu": "psu1"}), "-d")
    assert "rc135" in done.stdout.replace(" ", "") or "Not authorized" in done.stdout + done.stderr

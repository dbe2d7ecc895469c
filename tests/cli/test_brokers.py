"""Brokers that are not there, not as they should be, or want a password."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.publish
import pytest
from paho.mqtt.client import MQTTv5

from agent.client.address import Address
from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from agent.simulator import Simulator
from tests.commandline import invoke
from tests.lab import needs


@pytest.mark.parametrize("command", [["get"], ["watch"], ["set", "psu1/1", "--state", "off"]])
def test_no_broker(command: list[str]) -> None:
    port = free_port()
    result = invoke(*command, "--broker", f"mqtt://127.0.0.1:{port}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"psu-agent: can't reach the broker mqtt://127.0.0.1:{port}: connection refused; is it running there?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--broker", "http://x"], "http:// is no address of an MQTT broker"),
        (["--broker", "mqtt://me:secret@x"], "set $PSU_AGENT_MQTT_PASSWORD"),
        (["--broker", "mqtt://x:99999"], "the broker's address is wrong"),
        (["--broker", "mqtt://x/psu"], "the base topic is --base-topic"),
        (["--broker", "mqtt://x", "--base-topic", "a/#"], "--base-topic holds a wildcard"),
        (["--broker", "mqtts://x", "--ca", "/nope"], "--ca can't be read (/nope: No such file or directory)"),
        (["--broker", "mqtt://x", "--ca", "/nope"], "give --broker mqtts://"),
        (["--broker", "mqtt://x", "--password-file", "/nope"], "the password file /nope can't be read"),
        (["--broker", "mqtt://nowhere.invalid"], "there is no host 'nowhere.invalid'"),
    ],
)
def test_broker_options_that_are_wrong(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("get", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["get"],
        ["watch"],
        ["set", "psu1/1", "--state", "off"],
        ["lease", "psu1", "--for", "60"],
        ["takeover", "psu1"],
    ],
)
def test_without_a_name_the_broker_of_this_computer_is_asked(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agent.config.loading.SYSTEM_FILE", tmp_path / "nope")
    port = free_port()
    assumed = Address.parse(f"localhost:{port}")
    monkeypatch.setattr(Address, "parse", lambda *_, **__: assumed)
    result = invoke(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"psu-agent: no broker was named, and there is none at mqtt://localhost:{port} (connection refused); name one with "
        "--broker mqtt://HOST or $PSU_AGENT_BROKER, or a configuration file with --config\n"
    )


def test_a_broker_of_this_computer_that_lets_nobody_in(
    make_broker: Callable[..., LocalBroker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agent.config.loading.SYSTEM_FILE", tmp_path / "nope")
    broker = make_broker(kind="mosquitto", conf="allow_anonymous false")
    assumed = Address.parse(f"localhost:{broker.port}")
    monkeypatch.setattr(Address, "parse", lambda *_, **__: assumed)
    result = invoke("get")
    assert result.exit_code == 2
    assert "not authorized; give the user in --broker" in result.stderr
    assert "no broker was named, so this is the one on this computer" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_passwords(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    needs("mosquitto_passwd")
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "lab", "s3cret"], check=True)
    broker = make_broker(kind="mosquitto", conf=f"password_file {passwords}\nallow_anonymous false")
    url = f"mqtt://lab@127.0.0.1:{broker.port}"
    right = invoke("get", "--broker", url, PSU_AGENT_MQTT_PASSWORD="s3cret")
    assert right.exit_code == 1, right.stderr  # it got in, and nothing is there
    (tmp_path / "secret").write_text("s3cret\n")
    assert invoke("get", "--broker", url, "--password-file", str(tmp_path / "secret")).exit_code == 1
    for wrong in (
        invoke("get", "--broker", url, PSU_AGENT_MQTT_PASSWORD="wr0ng"),
        invoke("get", "--broker", f"mqtt://127.0.0.1:{broker.port}"),
    ):
        assert wrong.exit_code == 2
        assert "refused the connection: not authorized" in wrong.stderr
        assert "wr0ng" not in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_a_broker_that_knows_mqtt_3_1_1_only(make_broker: Callable[..., LocalBroker]) -> None:
    broker = make_broker(kind="iotcore")
    port = broker.port_311
    paho.mqtt.publish.single("psu/agents/a/status", b"online", 1, True, broker.host, broker.port, protocol=MQTTv5)
    result = invoke("get", "--broker", f"mqtt://127.0.0.1:{port}")
    assert "no agent has published its state" in result.stderr


def test_something_that_is_no_broker() -> None:
    with Simulator("E36313A") as supply:
        result = invoke("get", "--broker", f"mqtt://127.0.0.1:{supply.socket_port}")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "broker" in result.stderr or "MQTT" in result.stderr

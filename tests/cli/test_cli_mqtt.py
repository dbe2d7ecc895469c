"""get, set, watch and check --connect against a real broker, the real daemon and a simulated supply."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import pytest
import yaml
from click.testing import Result
from paho.mqtt.client import MQTTv5

from agent.client.address import Address
from agent.client.connection import Client
from agent.local.broker import LocalBroker, free_port
from agent.simulator import Simulator
from tests.commandline import COMMAND, ROOT, Running, environment, invoke
from tests.lab import needs


@dataclass
class Lab:
    """A broker, two simulated supplies, one of them not there, and the agent that polls them."""

    broker: LocalBroker
    supply: Simulator
    file: Path
    agent: Running

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker.port}"

    def call(self, *arguments: str) -> Result:
        return invoke(*arguments, PSU_AGENT_BROKER=self.url)

    def get(self, target: str) -> Any:
        result = self.call("get", target)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "not within the time"
            time.sleep(0.05)


def _configuration(broker: LocalBroker, supply: Simulator, folder: Path, **mqtt: Any) -> Path:
    file = folder / "psu-agent.yaml"
    data = {
        "settings": {
            "agent": "lab",
            "poll_interval": 0.1,
            "state_dir": str(folder / "state"),
            "mqtt": {"host": "127.0.0.1", "port": broker.port, **mqtt},
        },
        "units": [
            {
                "name": "psu1",
                "model": "E36313A",
                "uri": supply.resource,
                "channels": {1: {"name": "VDD", "voltage_max": 5}},
            },
            {"name": "psu2", "model": "E36313A", "uri": f"TCPIP::127.0.0.1::{free_port()}::SOCKET"},
        ],
    }
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with LocalBroker(folder) as broker, Simulator("E36313A") as supply:
        file = _configuration(broker, supply, folder)
        with Running("run", str(file)) as agent:
            lab = Lab(broker, supply, file, agent)
            lab.until(lambda: lab.call("get", "psu1/1").exit_code == 0)
            lab.until(lambda: lab.call("get", "psu2").exit_code == 0)
            yield lab


# get


def test_get_on_a_pipe_is_json(lab: Lab) -> None:
    states = lab.get("psu1")
    assert [(state["psu"], state["index"]) for state in states] == [("psu1", 1), ("psu1", 2), ("psu1", 3)]
    assert states[0]["name"] == "VDD"
    assert states[0]["online"] is True
    one = lab.get("psu1/VDD")
    assert (one["index"], one["name"]) == (1, "VDD")
    assert lab.get("psu1/1")["index"] == 1


def test_get_all_shows_what_is_offline_as_such(lab: Lab) -> None:
    result = lab.call("get")
    states = json.loads(result.stdout)
    assert {state["psu"] for state in states} == {"psu1", "psu2"}
    for state in states:
        if state["psu"] == "psu2":
            assert state["online"] is False
            assert state["voltage"] is None
            assert state["state"] is None


def test_get_by_the_configuration(lab: Lab) -> None:
    assert invoke("get", "psu1/1", "--config", str(lab.file)).exit_code == 0
    assert invoke("get", "psu1/1", PSU_AGENT_CONF=str(lab.file)).exit_code == 0


@pytest.mark.parametrize("target", ["psu9", "psu1/9", "psu1/nope"])
def test_get_of_what_nobody_knows(lab: Lab, target: str) -> None:
    result = lab.call("get", target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"nothing is known of {target}" in result.stderr


@pytest.mark.parametrize("target", ["psu 1", "psu1/", "psu1/a/b", "agents", "#", "psu1/+"])
def test_targets_that_are_none(lab: Lab, target: str) -> None:
    for command in ("get", "watch", "set"):
        result = lab.call(command, target)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "names no" in result.stderr


def test_get_under_another_base_topic_finds_nothing(lab: Lab) -> None:
    result = lab.call("get", "--base-topic", "lab3/psu")
    assert result.exit_code == 1
    assert "no agent has published its state under lab3/psu/" in result.stderr


# set


def test_set_is_carried_out_and_printed(lab: Lab) -> None:
    result = lab.call("set", "psu1/2", "--state", "on", "--voltage-limit", "4.5", "--current-limit", "0.25")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(r"psu1/2 CH2: ON \d.* \(set 4.5000 V 0.2500 A\)\n", result.stdout)
    lab.until(lambda: bool(lab.get("psu1/2")["voltage_limit"] == 4.5))


def test_set_by_name_and_as_json(lab: Lab) -> None:
    result = lab.call("set", "psu1/VDD", "--voltage-limit", "1.5", "--id", "mine-1", "--json")
    response = json.loads(result.stdout)
    assert (result.exit_code, response["ok"], response["id"], response["index"]) == (0, True, "mine-1", 1)
    assert response["result"]["voltage_limit"] == 1.5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["psu1/1", "--voltage-limit", "5.5"], "limit_exceeded"),
        (["psu1/2", "--voltage-limit", "50"], "out_of_range"),
        (["psu1/2", "--voltage-limit", "-1"], "out_of_range"),
        (["psu1/9", "--state", "off"], "unknown_channel"),
        (["psu1/nope", "--state", "off"], "unknown_channel"),
        (["psu2/1", "--state", "on"], "offline"),
    ],
)
def test_a_refusal_is_told_with_its_code(lab: Lab, arguments: list[str], code: str) -> None:
    result = lab.call("set", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert " refused: " in result.stderr
    assert f"({code})" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    response = json.loads(lab.call("set", *arguments, "--json").stdout)
    assert response["error"]["code"] == code


def test_a_repeated_id_is_a_duplicate(lab: Lab) -> None:
    assert lab.call("set", "psu1/2", "--current-limit", "0.2", "--id", "twice").exit_code == 0
    result = lab.call("set", "psu1/2", "--current-limit", "0.3", "--id", "twice")
    assert result.exit_code == 1
    assert "(duplicate)" in result.stderr


def test_every_field(lab: Lab) -> None:
    arguments = ["--voltage-protection", "20", "--current-protection", "on", "--voltage-limit", "3", "--ramp", "100"]
    result = lab.call("set", "psu1/3", *arguments, "--expires-in", "60", "--json")
    response = json.loads(result.stdout)
    assert result.exit_code == 0
    state = response["result"]
    assert (state["voltage_protection"], state["current_protection"], state["voltage_limit"]) == (20, True, 3)
    assert lab.call("set", "psu1/3", "--current-protection", "off", "--clear-protection").exit_code == 0
    assert lab.call("set", "psu1/3", "--cycle", "0").exit_code == 0
    assert lab.get("psu1/3")["state"] is True


def test_a_whole_unit(lab: Lab) -> None:
    result = lab.call("set", "psu1", "--state", "on")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["psu1/1", "psu1/2", "psu1/3"]
    assert lab.call("set", "psu1", "--state", "off").exit_code == 0
    assert not any(state["state"] for state in lab.get("psu1"))


def test_everything_off(lab: Lab) -> None:
    assert lab.call("set", "psu1/2", "--state", "on").exit_code == 0
    result = lab.call("set", "all", "--state", "off", "--json")
    responses = {response["psu"]: response for response in map(json.loads, result.stdout.splitlines())}
    # psu2 is not there: nobody can say that it is off.
    assert result.exit_code == 1
    assert responses["psu1"]["ok"] is True
    assert responses["psu2"]["error"]["code"] == "offline"
    assert not any(state["state"] for state in lab.get("psu1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["psu1/2"], "asks for nothing"),
        (["all", "--state", "on"], "OFF and nothing else"),
        (["all/1", "--state", "off"], "`all` has no channels"),
        (["psu1", "--voltage-limit", "5"], "a whole unit takes state and clear_protection only"),
        (["psu1/2", "--ramp", "1"], "ramp needs a voltage_limit"),
        (["psu1/2", "--state", "on", "--id", "x" * 129], "1 to 128 characters"),
        (["psu1/2", "--voltage-limit", "nan"], "not a number"),
    ],
)
def test_what_can_t_be_is_not_sent(lab: Lab, arguments: list[str], message: str) -> None:
    result = lab.call("set", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_nobody_listens(lab: Lab) -> None:
    result = lab.call("set", "psu9/1", "--state", "off", "--timeout", "1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "psu9" in result.stderr


def test_nobody_answers(lab: Lab) -> None:
    """Somebody listens, and is no agent."""
    with Client(Address.parse(lab.url)) as listener:
        listener.subscribe(["psu/psu8/#"])
        result = lab.call("set", "psu8/1", "--state", "off", "--timeout", "0.3")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nobody answered for psu8/1 within 0.3 s" in result.stderr
    assert "is not known" in result.stderr


# watch


def test_watch_on_a_pipe_prints_a_line_for_each_change(lab: Lab) -> None:
    with Running("watch", "psu1/2", "--broker", lab.url) as watch:
        watch.wait_for("psu1/2 CH2:")
        assert lab.call("set", "psu1/2", "--voltage-limit", "7.25", "--state", "on").exit_code == 0
        watch.wait_for("(set 7.2500 V")
        assert watch.end(signal.SIGINT) == 0
        assert all("psu1/2 CH2:" in line for line in watch.output)
    assert lab.call("set", "psu1/2", "--state", "off").exit_code == 0


def test_watch_as_json(lab: Lab) -> None:
    with Running("watch", "--json", "--broker", lab.url) as watch:
        line = json.loads(watch.wait_for('"psu":"psu2"'))
        assert (line["online"], line["voltage"]) == (False, None)
        line = json.loads(watch.wait_for('"psu":"psu1"'))
        assert line["online"] is True


def _on_a_terminal(*arguments: str, until: str | None = None) -> tuple[str, int]:
    """What a command writes to a terminal of its own, and its exit code. With `until`, Ctrl-C when that is written."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = environment(TERM="xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        variables.pop(name, None)
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=variables, start_new_session=True
    )
    os.close(slave)
    written = b""
    deadline = time.monotonic() + 60
    interrupted = False
    with contextlib.suppress(OSError):  # its end, on Linux
        while True:
            ready, _, _ = select.select([master], [], [], 0.1)
            if ready:
                block = os.read(master, 65536)
                if not block:
                    break
                written += block
            if until is not None and not interrupted and re.search(until, _plain(written)):
                interrupted = True
                process.send_signal(signal.SIGINT)
            if time.monotonic() > deadline:
                process.kill()
    os.close(master)
    code = process.wait(30)
    assert interrupted or until is None, _plain(written)
    return written.decode(), code


def _plain(written: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode(errors="replace"))


def test_watch_on_a_terminal_is_a_table(lab: Lab) -> None:
    written, code = _on_a_terminal("watch", "--broker", lab.url, until=r"psu2 is offline: ")
    assert code == 0
    plain = _plain(written.encode())
    assert "1 of 2 units online" in plain
    assert re.search(r"psu1/1 +VDD +off +-?[0-9.]+ +-?[0-9.]+", plain)
    assert re.search(r"psu2/3 +CH3 +- +- +- +- +- +- +offline", plain)
    assert "\x1b[" in written
    assert max(len(line.rstrip("\r")) for line in plain.split("\n")) <= 80


def test_get_on_a_terminal_is_a_table(lab: Lab) -> None:
    written, code = _on_a_terminal("get", "--broker", lab.url)
    plain = _plain(written.encode())
    assert code == 0
    assert "psu2 is offline: " in plain
    assert re.search(r"CHANNEL +NAME +OUT +V +A +W +V set +A set +MODE", plain)
    assert re.search(r"psu1/1 +VDD +off", plain)


# A broker that is not as it should be.


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
        ([], "which broker? Give --broker mqtt://HOST, or a configuration file"),
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


# check --connect


def test_check_connects(lab: Lab) -> None:
    result = invoke("check", "--connect", str(lab.file))
    assert result.exit_code == 1  # psu2 is not there
    assert re.search(r"^ok +broker at mqtt://127.0.0.1:\d+: connected, MQTT 5", result.stdout, re.MULTILINE)
    assert re.search(r"^ok +psu1 at TCPIP.*: Keysight Technologies E36313A, serial MY", result.stdout, re.MULTILINE)
    assert re.search(r"^FAULT +psu2 at TCPIP.*: ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "E36312A"}, "and the configuration says E36312A"),
        ({"serial": "MY0"}, "and the configuration says serial MY0"),
    ],
)
def test_check_finds_the_wrong_instrument(lab: Lab, changes: dict[str, str], message: str, tmp_path: Path) -> None:
    data = yaml.safe_load(lab.file.read_text())
    data["units"] = [data["units"][0] | {"channels": {}} | changes]
    file = tmp_path / "psu-agent.yaml"
    file.write_text(yaml.safe_dump(data))
    result = invoke("check", "--connect", str(file))
    assert result.exit_code == 1
    assert message in result.stdout
    data["units"][0] = {key: value for key, value in data["units"][0].items() if key != "serial"} | {"model": "E36300"}
    file.write_text(yaml.safe_dump(data))
    assert invoke("check", "--connect", str(file)).exit_code == 0


def test_two_addresses_of_one_instrument(lab: Lab, tmp_path: Path) -> None:
    data = yaml.safe_load(lab.file.read_text())
    first = data["units"][0]
    second = first | {"name": "other", "uri": first["uri"].replace("127.0.0.1", "localhost")}
    data["units"] = [first, second]
    file = tmp_path / "psu-agent.yaml"
    file.write_text(yaml.safe_dump(data))
    result = invoke("check", "--connect", str(file))
    assert result.exit_code == 1
    assert "two addresses, one serial number" in result.stdout


# The last tests end the agent.


def test_an_agent_that_is_gone_is_shown_as_such(lab: Lab) -> None:
    lab.agent.process.kill()
    lab.agent.process.wait()
    lab.until(lambda: not lab.get("psu1/1")["online"])
    state = lab.get("psu1/1")
    assert state["voltage"] is None
    assert state["state"] is None
    result = lab.call("set", "all", "--state", "off", "--timeout", "1")
    assert result.exit_code == 2

"""The demonstration, run without a broker, an instrument or a configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import paho.mqtt.publish
import paho.mqtt.subscribe
import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from agent.local import broker as localbroker
from agent.local.ports import free_port
from tests.commandline import Running, invoke
from tests.lab import needs, wait_until

KINDS = [
    pytest.param([], id="mosquitto", marks=pytest.mark.skipif(localbroker._mosquitto() is None, reason="no mosquitto")),
    pytest.param(["--embedded-broker"], id="iotcore"),
]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def state_of(port: int, channel: int) -> dict[str, object]:
    message = paho.mqtt.subscribe.simple(  # type: ignore[no-untyped-call]
        f"psu/psu1/{channel}/state", hostname="127.0.0.1", port=port, protocol=MQTTv311
    )
    parsed: dict[str, object] = json.loads(message.payload)
    return parsed


@pytest.mark.parametrize("options", KINDS)
def test_the_printed_commands_work_and_ctrl_c_ends_everything(options: list[str], tmp_path: Path) -> None:
    port = free_port()
    with Running("demo", "--port", str(port), *options, TMPDIR=str(tmp_path)) as demo:
        demo.wait_for("psu1/3 CH3: ON")  # the front panel switched it on before the agent came
        printed = "\n".join(demo.output)
        assert ("iotcore" if options else "mosquitto") in printed

        publish = re.search(rf"mosquitto_pub -p {port} -t (\S+) -m '(.*)'", printed)
        assert publish is not None
        assert re.search(rf"mosquitto_sub -p {port} -v -t 'psu/#'", printed)
        paho.mqtt.publish.single(publish[1], publish[2], 1, hostname="127.0.0.1", port=port, protocol=MQTTv311)
        wanted = json.loads(publish[2])["voltage_limit"]
        wait_until(lambda: state_of(port, 2)["voltage_limit"] == wanted, "the setting")

        command = re.search(r"psu-agent (set .*)", printed)
        assert command is not None
        result = invoke(*command[1].split())
        assert (result.exit_code, result.stderr) == (0, "")
        assert "(set 5.0000 V" in result.stdout

        assert any(tmp_path.iterdir())
        running = children_of(demo.pid)
        assert len(running) == 3
        assert demo.end(signal.SIGINT) == 0
        assert not any(is_running(pid) for pid in running)
        assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in "\n".join(demo.output)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_it_as_well(number: signal.Signals) -> None:
    with Running("demo", "--port", str(free_port())) as demo:
        demo.wait_for("psu1/1")
        running = children_of(demo.pid)
        assert demo.end(number) == 0
        assert not any(is_running(pid) for pid in running)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_nothing_outlives_a_demonstration_that_is_killed() -> None:
    with Running("demo", "--port", str(free_port())) as demo:
        demo.wait_for("psu1/1")
        running = children_of(demo.pid)
        demo.process.kill()
        wait_until(lambda: not any(is_running(pid) for pid in running), "the end of all processes")


def test_a_given_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = invoke("demo", "--port", str(other.getsockname()[1]))
    assert result.exit_code == 2
    assert "is taken; give another, or none" in result.stderr


def test_another_port_is_taken_where_the_usual_one_is_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.cli import demo

    with socket.create_server(("127.0.0.1", 0)) as other:
        usual = other.getsockname()[1]
        monkeypatch.setattr(demo, "USUAL_PORT", usual)
        with demo.running() as running:
            assert running.port != usual
            assert f"Port {usual} is taken, so the broker has another." in running.instructions()
            assert running.agent.poll() is None


def test_an_agent_that_ends_is_told_with_its_words() -> None:
    with Running("demo", "--port", str(free_port())) as demo:
        demo.wait_for("psu1/1")
        (agent,) = [
            pid for pid in children_of(demo.pid) if b"agent.cli\0run" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(agent, signal.SIGKILL)
        assert "psu-agent: the agent ended by itself: " in demo.wait_for("ended by itself")
        assert demo.process.wait(30) == 2


def test_commands_reach_it_by_mqtt_5_too() -> None:
    """On iotcore the two versions have ports of their own; with Mosquitto it is the same."""
    port = free_port()
    needs("mosquitto")
    with Running("demo", "--port", str(port)) as demo:
        demo.wait_for("psu1/2")
        paho.mqtt.publish.single("psu/psu1/2/set/state", "OFF", 1, hostname="127.0.0.1", port=port, protocol=MQTTv5)
        wait_until(lambda: state_of(port, 2)["state"] is False, "off")
        assert demo.end() == 0

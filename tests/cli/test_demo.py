"""The demonstration, run without a broker, an instrument or a configuration."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.publish
import paho.mqtt.subscribe
import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from agent.local import broker as localbroker
from agent.local.ports import free_port
from tests.commandline import COMMAND, Running, environment, invoke
from tests.lab import needs, wait_until
from tests.support.processes import Process

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


@contextlib.contextmanager
def started(commands: list[str], folder: Path) -> Iterator[list[Path]]:
    """Commands one after another by a shell, each as a process that ends with the context; the files that have what they say."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "psu-agent").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (programs / "psu-agent").chmod(0o755)
    path = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    outputs = []
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, programs)
        for number, command in enumerate(commands):
            output = folder / f"output{number}"
            stack.callback(output.unlink)
            process = Process(["sh", "-c", f"exec {command}"], output, environment=environment(**path), folder=folder)
            stack.enter_context(process)
            if " watch" not in command and "_sub" not in command:
                assert process.process.wait(30) == 0, output.read_text()
            if "_pub" not in command:
                outputs.append(output)
        yield outputs


@pytest.mark.parametrize("options", KINDS)
def test_the_printed_commands_work_and_ctrl_c_ends_everything(options: list[str], tmp_path: Path) -> None:
    port = free_port()
    with Running("demo", "--port", str(port), *options, TMPDIR=str(tmp_path)) as demo:
        demo.wait_for("psu1/3 LAMP: ON")  # the front panel switched it on before the agent came
        printed = "\n".join(demo.output)
        assert ("iotcore" if options else "mosquitto") in printed
        instructions = demo.output[: demo.output.index("Ctrl-C ends everything.")]
        assert max(map(len, instructions)) < 80
        assert "Its channels: 1 LOGIC, 2 MOTOR, 3 LAMP." in printed
        commands = re.findall(r"(?m)^  (\S.*(?:\\\n.*)?)$", printed)
        programs = [shlex.split(command)[0] for command in commands]
        if shutil.which("mosquitto_pub"):
            assert programs == ["mosquitto_sub", "mosquitto_pub", *["psu-agent"] * 3]
        else:
            assert programs == [*["psu-agent"] * 3, "mosquitto_pub"]
            assert "sudo apt install mosquitto-clients" in printed
            commands.pop()
        # As a shell takes them, to the letter.
        with started(commands, tmp_path) as outputs:
            wait_until(lambda: state_of(port, 3)["state"] is False, "the lamp is off")
            wait_until(lambda: state_of(port, 2)["voltage_limit"] == 5, "the setting")
            wait_until(lambda: all("psu1" in output.read_text() for output in outputs), "that each tells of the unit")

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

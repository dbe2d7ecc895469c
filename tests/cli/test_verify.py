"""`psu-agent verify` against simulated supplies, as a process: to its end, ended by signals, and with its link cut."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import pytest
import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.client.test_fleet import info
from tests.commandline import COMMAND, Running, environment
from tests.commandline import called as psu_agent
from tests.support.waiting import wait_until

#: s a message, so that a signal comes in the middle.
SLOW = 0.02


def outputs(supply: Simulator) -> list[bool]:
    return [channel.output for channel in supply.instrument.channels.values()]


def report(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*.json")
    data: dict[str, Any] = json.loads(file.read_text())
    return data


def arguments(supply: Simulator, folder: Path, *more: str) -> list[str]:
    return ["verify", supply.resource, "--model", "E36313A", "--yes", "--report", str(folder), *more]


@pytest.mark.parametrize("model", ["E36311A", "E36313A"])
def test_everything_that_the_series_file_claims_holds_on_the_simulator(model: str, tmp_path: Path) -> None:
    with Simulator(model, serial="MY99887766") as supply:
        supply.instrument.panel.knob_voltage(1, 3.3)
        supply.instrument.panel.knob_current(1, 1.5)
        done = psu_agent("verify", supply.resource, "--model", "E36300", "--yes", "--report", str(tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        data = report(tmp_path)
        assert {check["verdict"] for check in data["checks"]} == {"ok", "skipped"}
        assert [check["name"] for check in data["checks"] if check["verdict"] == "skipped"] == ["remote and panel lock"]
        assert data["model"] == model
        assert outputs(supply) == [False] * 3
        assert supply.instrument.execute("VOLT? (@1);:CURR? (@1)") == "+3.30000E+00;+1.50000E+00"
        sent = [line["sent"] for line in data["transcript"]]
        volts = [float(text.split()[1].split(",")[0]) for text in sent if text.startswith("VOLT ")]
        assert max(abs(value) for value in volts if value != 3.3) == 1.0
    for file in tmp_path.iterdir():
        assert "MY99887766" not in file.read_text()
        assert "127.0.0.1" not in file.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_the_outputs_off(number: int, tmp_path: Path) -> None:
    with Simulator(latency=SLOW) as supply, Running(*arguments(supply, tmp_path)) as running:
        wait_until(lambda: any(outputs(supply)), "an output that is on")
        assert running.end(number) == 130
        assert outputs(supply) == [False] * 3
        assert "ending: the outputs are turned off" in running.text()
    assert report(tmp_path)["left"]["output"] == "off"


def test_a_link_that_is_cut_in_the_middle_is_opened_again_for_the_off(tmp_path: Path) -> None:
    with Simulator(latency=SLOW) as supply, Running(*arguments(supply, tmp_path)) as running:
        wait_until(lambda: any(outputs(supply)), "an output that is on")
        # The driver opens a link again by itself, once: that one is cut, too.
        for _ in range(2):
            supply.freeze()
            wait_until(lambda: supply.waiting, "a message")
            supply.disconnect(reset=True)
        supply.thaw()
        running.wait_for("the link was opened again for the off")
        assert running.process.wait(30) == 1
        assert outputs(supply) == [False] * 3
    assert report(tmp_path)["left"]["output"] == "off"


def test_a_unit_that_is_gone_leaves_an_unknown_output_and_exit_code_3(tmp_path: Path) -> None:
    with Simulator(latency=SLOW) as supply, Running(*arguments(supply, tmp_path, "--patience", "0.5")) as running:
        wait_until(lambda: any(outputs(supply)), "an output that is on")
        supply.stop()
        running.wait_for("THE OUTPUT MAY STILL BE ON")
        assert running.process.wait(60) == 3
    assert report(tmp_path)["left"]["output"] == "unknown"


def test_nobody_is_there_to_say_that_nothing_is_connected(tmp_path: Path) -> None:
    with Simulator() as supply:
        supply.instrument.clear_log()
        done = psu_agent("verify", supply.resource, "--model", "E36313A", cwd=tmp_path)
        assert done.returncode == 2
        assert "--yes says that nothing is connected" in done.stderr
        assert "NOTHING MAY BE CONNECTED" in done.stdout
        assert all("?" in message for message in supply.instrument.log)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "code", "sets"), [(b"n\n", 1, False), (b"\n", 1, False), (b"y\n", 0, True)])
def test_the_question_on_the_terminal_is_heeded(answer: bytes, code: int, sets: bool, tmp_path: Path) -> None:
    near, far = pty.openpty()
    with Simulator() as supply:
        supply.instrument.panel.press_output(2, on=True)
        command = [
            *COMMAND,
            "verify",
            supply.resource,
            "--model",
            "E36313A",
            "--channel",
            "2",
            "--report",
            str(tmp_path),
        ]
        os.write(near, answer)
        done = subprocess.run(command, stdin=far, capture_output=True, text=True, env=environment(), timeout=60)
        os.close(near)
        os.close(far)
        assert "Output 2 is on now. It will be turned off and left off." in done.stdout
        assert "NOTHING MAY BE CONNECTED TO THE OUTPUTS." in done.stdout
        assert "Is everything disconnected from the outputs?" in done.stdout + done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        assert any("?" not in message for message in supply.instrument.log) is sets
        assert outputs(supply)[1] is not sets


def test_a_second_signal_does_not_keep_the_outputs_on(tmp_path: Path) -> None:
    with Simulator(latency=SLOW) as supply, Running(*arguments(supply, tmp_path)) as running:
        wait_until(lambda: any(outputs(supply)), "an output that is on")
        running.signal(signal.SIGINT)
        running.wait_for("ending: the outputs are turned off")
        assert running.end(signal.SIGTERM) == 130
        assert outputs(supply) == [False] * 3


def test_a_unit_of_the_configuration_keeps_its_own_limits(tmp_path: Path) -> None:
    with Simulator() as supply:
        file = tmp_path / "psu-agent.yaml"
        unit = {"name": "psu1", "model": "E36313A", "uri": supply.resource, "channels": {1: {"voltage_max": 0.4}}}
        file.write_text(yaml.safe_dump({"settings": {"mqtt": {"host": "localhost"}}, "units": [unit]}))
        done = psu_agent(
            "verify", "psu1", "-c", str(file), "--yes", "--channel", "1", "--report", str(tmp_path / "out")
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not any(message.startswith("VOLT 1,") for message in supply.instrument.log)
        assert any(message.startswith("VOLT 0.4,") for message in supply.instrument.log)
        assert not any("(@2)" in message and "?" not in message for message in supply.instrument.log)


def test_an_agent_that_serves_the_supply_is_named(broker: LocalBroker, tmp_path: Path) -> None:
    with Simulator("E36313A", serial="MY99887766") as supply:
        identity = {"manufacturer": "Keysight Technologies", "model": "E36313A", "serial": "MY99887766"}
        told = info("psu7", agent="bench1", host="host1", online=True, reason=None, **identity)
        for topic, payload in (("psu/psu7/info", told), ("psu/agents/bench1/status", b"online")):
            paho.mqtt.publish.single(topic, payload, 1, True, broker.host, broker.port_311)
        file = tmp_path / "psu-agent.yaml"
        unit = {"name": "psu1", "model": "E36313A", "uri": supply.resource}
        mqtt = {"host": broker.host, "port": broker.port}
        file.write_text(yaml.safe_dump({"settings": {"mqtt": mqtt}, "units": [unit]}))
        done = psu_agent("verify", "psu1", "-c", str(file), "--report", str(tmp_path / "out"))
        assert "agent bench1 on host1 serves it as psu7; stop it before anything is set" in done.stderr
        assert done.returncode == 2  # nobody said that nothing is connected
        paho.mqtt.publish.single("psu/agents/bench1/status", b"offline", 1, True, broker.host, broker.port_311)
        assert "bench1" not in psu_agent("verify", "psu1", "-c", str(file)).stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["TCPIP::127.0.0.1::9::SOCKET"], "give --model too"),
        (["TCPIP::127.0.0.1::9::SOCKET", "--model", "E3631X"], "is not a supported model; nearest"),
        (["TCPIP::127.0.0.1::9", "--model", "E36313A"], "ends in a port"),
        (["TCPIP::127.0.0.1::9::SOCKET", "--model", "E36313A", "--yes"], "Connection refused"),
        (["psu9", "-c", "none.yaml"], "can't be read"),
    ],
)
def test_wrong_usage_is_told_in_one_sentence(given: list[str], said: str, tmp_path: Path) -> None:
    done = psu_agent("verify", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_the_unit_does_not_have(tmp_path: Path) -> None:
    with Simulator() as supply:
        done = psu_agent(*arguments(supply, tmp_path, "--channel", "7"))
    assert done.returncode == 2
    assert "the E36313A has no output 7; it has 1, 2, 3" in done.stderr

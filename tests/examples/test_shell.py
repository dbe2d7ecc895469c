"""The shell examples, run by sh with Mosquitto's own clients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from tests.examples.conftest import EXAMPLES
from tests.lab import Bench, wait_until

SHELL = EXAMPLES / "shell"
Environment = Callable[..., dict[str, str]]

pytestmark = pytest.mark.skipif(
    shutil.which("mosquitto_rr") is None, reason="mosquitto_rr is not installed (Debian, Ubuntu: mosquitto-clients)"
)


def run(environment: Environment, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SHELL / command[0]), *command[1:]], env=environment(), capture_output=True, text=True, timeout=60
    )


def test_set_waits_for_the_response(bench: Bench, environment: Environment) -> None:
    done = run(environment, "psu-set", "psu1/DUT", '{"state": true, "voltage_limit": 3.3}')
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert (result["state"], result["voltage_limit"]) == (True, 3.3)


def test_set_tells_a_refusal(bench: Bench, environment: Environment) -> None:
    done = run(environment, "psu-set", "psu1/2", '{"voltage_limit": 13}')
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "limit_exceeded"
    done = run(environment, "psu-set", "psu1/2", '{"voltage_limit": "5"}')
    assert done.returncode == 1
    assert (
        json.loads(done.stdout)["error"]["message"] == 'voltage_limit takes a number (write it without quotes), not "5"'
    )


def test_set_tells_that_nobody_answers(broker: LocalBroker, environment: Environment) -> None:
    done = run(environment, "psu-set", "psu9/1", '{"state": false}', "1")
    assert done.returncode == 2
    assert "nobody answered for psu9/1 within 1 s" in done.stderr
    assert run(environment, "psu-set", "psu9/1").returncode == 2


def test_off_turns_everything_off(bench: Bench, environment: Environment) -> None:
    for channel in (1, 2):
        assert bench.observer.ask(f"psu/psu1/{channel}/set", {"state": True, "voltage_limit": 1})["ok"]
    mark = bench.observer.mark()
    assert run(environment, "psu-off").returncode == 0
    for channel in (1, 2):
        bench.observer.wait_state("psu1", channel, after=mark, state=False)


def test_a_trip_runs_a_command(bench: Bench, environment: Environment, tmp_path: Path) -> None:
    log = tmp_path / "trips"
    program = tmp_path / "tell"
    program.write_text(f'#!/bin/sh\nprintf "%s %s %s\\n" "$@" >>{log}\n')
    program.chmod(0o755)
    with subprocess.Popen(
        [str(SHELL / "psu-on-trip"), str(program), "TRIP"], env=environment(), start_new_session=True
    ) as alarm:
        try:
            assert bench.observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 10})["ok"]

            def trip() -> bool:
                # Until the script listens: nobody knows when that is.
                bench.observer.ask("psu/psu1/2/set", {"clear_protection": True, "current_protection": False})
                bench.observer.ask("psu/psu1/2/set", {"state": True, "current_limit": 1.0})
                bench.observer.ask("psu/psu1/2/set", {"current_protection": True, "current_limit": 0.1})
                bench.observer.wait_state("psu1", 2, after=bench.observer.mark(), tripped="OCP")
                return log.exists() and log.read_text().endswith("\n")  # all of it

            wait_until(trip, "the command to be run")
            argument, topic, event = log.read_text().splitlines()[0].split(" ", 2)
            assert (argument, topic) == ("TRIP", "psu/psu1/2/event")
            assert json.loads(event)["to"] == "OCP"
        finally:
            os.killpg(alarm.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    "script", [*sorted(SHELL.iterdir()), EXAMPLES / "board-farm" / "psu-power"], ids=lambda path: path.name
)
def test_scripts_are_executable_and_plain_sh(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", str(script)], check=True)

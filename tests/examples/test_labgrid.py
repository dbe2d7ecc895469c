"""The driver for labgrid, in a real labgrid: in tests of a board, and by labgrid-client through coordinator and exporter."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from tests.examples.conftest import EXAMPLES, FARM_TOOLS, holders, needs_farm_tools, states, wait_states
from tests.lab import PATIENCE, Bench, wait_until

pytestmark = needs_farm_tools
Environment = Callable[..., dict[str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the files as shipped."""
    return Path(shutil.copytree(EXAMPLES / "labgrid", tmp_path / "labgrid"))


def run(place: Path, environment: Environment, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(FARM_TOOLS / "bin" / command[0]), *command[1:]],
        cwd=place,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 6,
    )


def test_a_board_s_tests_as_shipped(bench: Bench, place: Path, environment: Environment) -> None:
    file = place / "local.yaml"
    file.write_text(file.read_text().replace("lease: 28800", "lease: 28800\n        delay: 0.1"))
    done = run(
        place, environment, "pytest", "-q", "-p", "no:cacheprovider", "--lg-env", "local.yaml", PSU_AGENT_HOLDER="me"
    )
    assert done.returncode == 0, done.stdout
    wait_states(bench, True, False, True, False, True, False)
    wait_until(lambda: holders(bench)[-1:] == [None], "the channel given back")
    assert set(holders(bench)) == {"me", None}


_FAULTS = """
import sys
from labgrid import Environment
from labgrid.driver.exception import ExecutionError
driver = Environment("local.yaml").get_target().get_driver("PsuAgentPowerDriver")
def told(action):
    try:
        print("done", action())
    except ExecutionError as error:
        print("fault", error)
told(driver.get)
told(lambda: driver.volts)
told(driver.on)
sys.stdin.readline()  # the supply is taken away
told(driver.get)
told(lambda: driver.amperes)
told(driver.off)
sys.stdin.readline()  # the broker is taken away
told(driver.get)
told(driver.on)
told(driver.off)
"""


def test_faults_are_told_and_no_old_value_is(
    bench: Bench, broker: LocalBroker, place: Path, environment: Environment
) -> None:
    bench.simulator.instrument.execute("VOLT 20,(@2)")
    file = place / "local.yaml"
    file.write_text(file.read_text().replace("voltage: 5", "voltage: 13").replace("lease: 28800", "delay: 0"))
    with subprocess.Popen(
        [str(FARM_TOOLS / "bin" / "python"), "-u", "-c", _FAULTS],
        cwd=place,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "done False\n"
            assert process.stdout.readline().startswith("done ")
            assert "13 V is above the 12 V that channel 2 (DUT) of psu1" in process.stdout.readline()
            bench.simulator.stop()
            bench.observer.wait_online("psu1", online=False)
            process.stdin.write("\n")
            for _ in range(2):
                assert process.stdout.readline().startswith("fault psu1 is offline: ")
            assert process.stdout.readline().startswith("fault ")
            broker.kill()
            process.stdin.write("\n")
            for _ in range(3):
                assert f"mqtt://{broker.host}:{broker.port}" in process.stdout.readline()
        finally:
            process.kill()
    assert states(bench) == []


@contextmanager
def started(place: Path, environment: Environment, ready: str, *command: str) -> Iterator[None]:
    log = place / f"{command[0]}.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [str(FARM_TOOLS / "bin" / command[0]), *command[1:]],
            cwd=place,
            env=environment(PYTHONUNBUFFERED="1"),
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:

            def is_ready() -> bool:
                assert process.poll() is None, log.read_text()
                return ready in log.read_text()

            wait_until(is_ready, f"{command[0]} to be ready", PATIENCE * 2)
            yield
        finally:
            process.kill()


@pytest.mark.timeout(300)  # labgrid-client begins five times
def test_labgrid_client_by_coordinator_and_exporter(
    bench: Bench, broker: LocalBroker, place: Path, environment: Environment
) -> None:
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 5})["ok"]
    exported = place / "exporter.yaml"
    exported.write_text(exported.read_text().replace("mqtt://localhost", f"mqtt://{broker.host}:{broker.port}"))
    coordinator = f"127.0.0.1:{free_port()}"
    variables = {"LG_COORDINATOR": coordinator}

    def environment_there(**more: str) -> dict[str, str]:
        return environment(**variables, **more)

    def client(*arguments: str) -> str:
        done = run(place, environment_there, "labgrid-client", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with (
        started(place, environment_there, "Coordinator ready", "labgrid-coordinator", "-l", coordinator),
        started(
            place, environment_there, "connected to coordinator", "labgrid-exporter", "--name", "desk", "exporter.yaml"
        ),
    ):
        client("-p", "board1", "create")
        client("-p", "board1", "add-match", "*/board1/*")
        client("-p", "board1", "acquire")
        power = ("-c", "remote.yaml", "-p", "board1", "power")
        client(*power, "on")
        assert "is on" in client(*power, "get")
    wait_states(bench, True)

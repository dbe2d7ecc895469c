"""The pytest fixture: the device has power in the test, and none after it, however the test ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, ROOT, states, wait_states
from tests.lab import Bench, wait_until

Environment = Callable[..., dict[str, str]]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Somebody's test suite, into which the example was copied as its first line says."""
    folder = tmp_path / "suite"
    folder.mkdir()
    for name in ("conftest.py", "test_board.py"):
        shutil.copy(EXAMPLES / "pytest" / name, folder)
    return folder


def start(suite: Path, environment: Environment, holder: str = "the test") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(suite)],
        cwd=suite,
        env=environment(
            DUT="psu1/DUT", DUT_VOLTAGE="5", DUT_CURRENT="0.8", PSU_AGENT_HOLDER=holder, PYTHONPATH=str(ROOT)
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_example_passes_and_leaves_the_output_off(bench: Bench, suite: Path, environment: Environment) -> None:
    with start(suite, environment) as run:
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 0, output
    assert "2 passed" in output
    # On and off for each of the two tests, and off and on in the power cycle of the second.
    wait_states(bench, True, False, True, False, True, False)

    def holders() -> list[str | None]:
        return [message.json["holder"] for message in bench.observer.on("psu/psu1/2/lease")]

    wait_until(
        lambda: holders()[-1:] == [None] and len([one for one in holders() if one]) == 2, "both reservations' ends"
    )
    assert [holder for holder in holders() if holder] == ["the test"] * 2
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["result"]["state"] is False


@pytest.mark.parametrize("end", ["assert False", "raise KeyboardInterrupt"])
def test_off_after_a_test_that_ends_badly(bench: Bench, suite: Path, environment: Environment, end: str) -> None:
    (suite / "test_board.py").write_text(f"def test_it(psu):\n    assert psu.state().state is not None\n    {end}\n")
    with start(suite, environment) as run:
        run.communicate(timeout=60)
    assert run.returncode != 0
    assert bench.observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["result"]["state"] is False
    wait_states(bench, True, False)


def test_off_after_a_test_that_is_killed(bench: Bench, suite: Path, environment: Environment) -> None:
    """Nothing of it runs any more: the broker sends its last will."""
    (suite / "test_board.py").write_text("import time\ndef test_it(psu):\n    time.sleep(600)\n")
    with start(suite, environment) as run:
        bench.observer.wait_state("psu1", 2, state=True)
        mark = bench.observer.mark()
        os.kill(run.pid, signal.SIGKILL)
        bench.observer.wait_state("psu1", 2, after=mark, state=False)


def test_no_power_while_somebody_else_has_reserved_it(bench: Bench, suite: Path, environment: Environment) -> None:
    assert bench.observer.ask("psu/psu1/2/lease/set", {"holder": "ann", "ttl": 60})["ok"]
    with start(suite, environment) as run:
        output, _ = run.communicate(timeout=60)
    assert run.returncode != 0
    assert "channel 2 of psu1 is reserved for ann until" in output
    assert states(bench) == []

"""The Python example, as a program."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from agent.local.broker import LocalBroker
from tests.examples.conftest import EXAMPLES, ROOT
from tests.lab import Bench

Environment = Callable[..., dict[str, str]]


def start(environment: Environment, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "python" / "iv_curve.py"), *arguments],
        env=environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_off(bench: Bench) -> bool:
    return bench.observer.ask("psu/psu1/2/set", {"current_limit": 0.5})["result"]["state"] is False


def test_it_measures_a_resistor(bench: Bench, environment: Environment) -> None:
    with start(environment, "psu1/DUT", "1", "3", "1", "0.12") as run:
        output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    rows = list(csv.DictReader(output.splitlines()))
    assert [row["set_V"] for row in rows] == ["1", "2", "3"]
    assert [float(row["current_A"]) for row in rows] == pytest.approx([0.05, 0.1, 0.12], abs=0.005)
    assert [row["mode"] for row in rows] == ["CV", "CV", "CC"]
    assert is_off(bench)


def test_a_refusal_is_told_and_leaves_it_off(bench: Bench, environment: Environment) -> None:
    with start(environment, "psu1/DUT", "11", "13", "1", "0.8") as run:
        output, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert errors.startswith("iv_curve.py: voltage_limit 13 V is above the 12 V that channel 2")
    assert len(output.splitlines()) == 3
    assert is_off(bench)
    for numbers in (
        ["1"],
        ["0", "5", "0", "0.8"],
        ["5", "0", "1", "0.8"],
        ["0", "5", "-1", "0.8"],
        ["0", "inf", "1", "1"],
    ):
        with start(environment, "psu1/DUT", *numbers) as run:
            assert run.communicate(timeout=60)[1].startswith("usage: ")
        assert run.returncode == 2


def test_it_never_goes_above_its_end(bench: Bench, environment: Environment) -> None:
    """Of steps that do not end there it took one more: 6 V, where 5 V were asked for."""
    with start(environment, "psu1/DUT", "0", "5", "3", "0.8") as run:
        output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    assert [row["set_V"] for row in csv.DictReader(output.splitlines())] == ["0", "3"]


def test_it_is_off_after_it_was_killed(bench: Bench, broker: LocalBroker, environment: Environment) -> None:
    with start(environment, "psu1/DUT", "0", "6", "0.00001", "0.8") as run:
        bench.observer.wait_state("psu1", 2, state=True)
        mark = bench.observer.mark()
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=60)
        bench.observer.wait_state("psu1", 2, after=mark, state=False)

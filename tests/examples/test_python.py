"""The Python example, as a program and as a module."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from agent.local.broker import LocalBroker
from tests.examples.conftest import EXAMPLES
from tests.lab import Bench

PROGRAM = EXAMPLES / "python" / "psu.py"
Environment = Callable[..., dict[str, str]]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("psu", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)


def test_as_a_program(bench: Bench, environment: Environment) -> None:
    done = run(environment, "psu1/DUT", "state=on", "voltage_limit=5")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] is True
    done = run(environment, "psu1/DUT", "voltage_limit=13")
    assert (done.returncode, done.stderr.split(":")[0]) == (1, "limit_exceeded")
    done = run(environment, "psu1/DUT", "voltage_limit=high")
    assert done.stderr == 'bad_payload: voltage_limit takes a number, not "high"\n'
    assert run(environment, "psu1/DUT").returncode == 2


def test_as_a_module(bench: Bench, broker: LocalBroker) -> None:
    psu = load()
    with psu.Supplies(broker.host, broker.port) as supplies:
        result = supplies.set("psu1/2", state=True, voltage_limit=4)
        assert result["current"] == pytest.approx(0.2, abs=0.05)
        assert supplies.state("psu1/DUT")["voltage_limit"] == 4
        with pytest.raises(psu.Refused, match="12 V that channel 2") as refusal:
            supplies.set("psu1/2", voltage_limit=12.5)
        assert refusal.value.code == "limit_exceeded"


def test_each_of_many_gets_its_own_answer(bench: Bench, broker: LocalBroker) -> None:
    psu = load()
    with psu.Supplies(broker.host, broker.port) as supplies:
        found: dict[int, float] = {}

        def ask(number: int) -> None:
            target, value = f"psu1/{number % 3 + 1}", 1 + number / 100
            found[number] = supplies.set(target, voltage_limit=value, timeout=30)["voltage_limit"]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: pytest.approx(1 + number / 100, abs=0.002) for number in range(12)}


def test_nobody_there(broker: LocalBroker) -> None:
    psu = load()
    with psu.Supplies(broker.host, broker.port) as supplies:
        with pytest.raises(TimeoutError, match=r"nobody answered for psu1/2 within 0\.5 s"):
            supplies.set("psu1/2", state=True, timeout=0.5)
        with pytest.raises(TimeoutError, match="nothing is known of psu1/2"):
            supplies.state("psu1/2", timeout=0.2)

"""docs/python.md: its code runs, in its order, and its table has every error."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import client
from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import Bench, unit

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.fixture
def bench(broker: LocalBroker, tmp_path: Path) -> Iterator[Bench]:
    simulator = Simulator(loads={2: Resistor(20.0)}).start()
    units = [unit("psu1", simulator, channels={2: {"name": "VDD", "voltage_max": 5}})]
    made = Bench(broker.port, tmp_path, [simulator], units)
    try:
        yield made.start()
    finally:
        made.close()


def test_its_code_runs(bench: Bench, broker: LocalBroker, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for block in blocks:
        code = block.replace("mqtt://localhost", f"mqtt://{broker.host}:{broker.port}")
        exec(compile(code, "docs/python.md", "exec"), names)
    supplies = names["supplies"]
    assert isinstance(supplies, client.Supplies)
    supplies.close()
    printed = capsys.readouterr().out
    assert "limit_exceeded voltage_limit 30 V is above the 5 V that channel 2 (VDD) of psu1 is limited to" in printed
    assert "voltage_limit 3.3 V → 3.2 V by command" in printed


def test_it_has_every_error() -> None:
    errors = [
        name
        for name in client.__all__
        if inspect.isclass(found := getattr(client, name)) and issubclass(found, Exception)
    ]
    assert len(errors) == 7
    for name in errors:
        assert f"`{name}`" in PAGE


def test_all_that_it_gives_is_described() -> None:
    """Of each public method: the first sentence, and its parameters where there are some that no type explains."""
    for name in client.__all__:
        thing = getattr(client, name)
        assert inspect.getdoc(thing), name
        for attribute, method in inspect.getmembers(thing, inspect.isfunction):
            if not attribute.startswith("_") and method.__module__.startswith("agent.client"):
                assert inspect.getdoc(method), f"{name}.{attribute}"

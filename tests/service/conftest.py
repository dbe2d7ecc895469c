"""One agent on two simulated supplies for all tests of a module, set back before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import Bench, Observer, unit


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """``psu1``, whose channel 1 is called VDD and limited to 5.5 V and 1 A, and ``psu2``."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as broker:
        simulators = [Simulator().start(), Simulator().start()]
        units = [
            unit("psu1", simulators[0], channels={1: {"name": "VDD", "voltage_max": 5.5, "current_max": 1.0}}),
            unit("psu2", simulators[1]),
        ]
        with Bench(broker.port, tmp_path_factory.mktemp("bench"), simulators, units) as bench:
            yield bench


@pytest.fixture
def bench(shared: Bench) -> Bench:
    """The module's bench with every output off and a load of 100 ohms on it."""
    for simulator in shared.simulators:
        simulator.tamper = None
        simulator.instrument.execute("*RST;*CLS;CURR 0.9,(@1)")
        for channel in (1, 2, 3):
            simulator.instrument.set_load(channel, Resistor(100.0))
    for name in ("psu1", "psu2"):
        shared.observer.wait_state(name, after=shared.observer.mark(), state=False, voltage_limit=0.0)
    shared.observer.clear()
    return shared


@pytest.fixture
def observer(bench: Bench) -> Observer:
    """The observer of the module's bench."""
    return bench.observer

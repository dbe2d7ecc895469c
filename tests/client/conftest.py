"""A supply with something on its second output, and the client library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.client import BrokerError, ChannelClient, NobodyAnsweredError, OfflineError, Supplies, connect
from agent.local.broker import LocalBroker
from agent.mqtt import tls
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import PATIENCE, Bench, unit


@pytest.fixture(autouse=True)
def _certificates_of_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk hangs here: tests/faults/test_disks.py has one that does."""
    monkeypatch.setattr(tls, "FILES_TIMEOUT", PATIENCE)


@pytest.fixture
def bench(broker: LocalBroker, tmp_path: Path) -> Iterator[Bench]:
    simulator = Simulator(loads={2: Resistor(20.0)}).start()
    units = [unit("psu1", simulator, channels={2: {"name": "DUT", "voltage_max": 12, "current_max": 1}})]
    made = Bench(broker.port, tmp_path, [simulator], units)
    simulator.instrument.execute("CURR 0.8,(@2)")
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def supplies(bench: Bench, broker: LocalBroker) -> Iterator[Supplies]:
    with connect(f"mqtt://127.0.0.1:{broker.port}", holder="me") as made:
        yield made


def is_back(channel: ChannelClient) -> bool:
    """True as soon as the channel's state can be read."""
    try:
        return channel.state().online
    except (BrokerError, OfflineError, NobodyAnsweredError):
        return False

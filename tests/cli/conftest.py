"""The laboratory that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.client.broker import measuring
from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.cli.lab import Lab, configuration
from tests.commandline import Running
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with LocalBroker(folder) as broker, Simulator("E36313A") as supply:
        file = configuration(broker, supply, folder)
        with Running("run", str(file)) as agent:
            lab = Lab(broker, supply, file, agent)
            for target in ("psu1/1", "psu2"):
                wait_until(lambda t=target: lab.call("get", t).exit_code == 0, f"the state of {target}")  # type: ignore[misc]
            yield lab


@pytest.fixture(autouse=True)
def _no_waiting_for_an_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check --connect` waits 2.5 s for a message to expire; tests/client/test_measuring.py has that."""
    monkeypatch.setattr(measuring, "EXPIRY", 0)

"""The laboratory that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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

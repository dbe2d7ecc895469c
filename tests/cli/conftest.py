"""The laboratory that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.cli.lab import Lab, configuration
from tests.commandline import Running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with LocalBroker(folder) as broker, Simulator("E36313A") as supply:
        file = configuration(broker, supply, folder)
        with Running("run", str(file)) as agent:
            lab = Lab(broker, supply, file, agent)
            lab.until(lambda: lab.call("get", "psu1/1").exit_code == 0)
            lab.until(lambda: lab.call("get", "psu2").exit_code == 0)
            yield lab

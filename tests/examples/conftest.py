"""A supply with something on its second output, an agent and a broker, for the examples to talk to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.lab import Bench, unit, wait_until

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
#: Filled by .ci/board-farm-tools.
FARM_TOOLS = Path(os.environ.get("PSU_AGENT_BOARD_FARM_TOOLS", ROOT / ".cache" / "board-farm"))

needs_farm_tools = pytest.mark.skipif(
    not (FARM_TOOLS / ".installed-2").exists(),
    reason=f"labgrid and pdudaemon are not in {FARM_TOOLS}; .ci/board-farm-tools installs them",
)


def states(bench: Bench) -> list[bool]:
    """The states that channel 2 was switched to, as far as their events have come."""
    return [event["to"] for event in bench.observer.events("psu1", 2) if event["field"] == "state"]


def wait_states(bench: Bench, *expected: bool) -> None:
    """Until the events tell of these states, and of no others. They may come after the end of the program that switched."""
    wait_until(lambda: states(bench) == [*expected], f"the events of {expected}, not {states(bench)}")


def holders(bench: Bench) -> list[str | None]:
    """Who held channel 2, one after the other, as far as it is known by now."""
    found = [message.json["holder"] for message in bench.observer.on("psu/psu1/2/lease")]
    return [holder for number, holder in enumerate(found) if number == 0 or found[number - 1] != holder]


@pytest.fixture
def bench(broker: LocalBroker, tmp_path: Path) -> Iterator[Bench]:
    simulator = Simulator(loads={2: Resistor(20.0)}).start()
    simulator.instrument.execute("CURR 0.8,(@2)")
    channels = {2: {"name": "DUT", "voltage_max": 12, "current_max": 1}}
    units = [unit("psu1", simulator, channels=channels)]
    made = Bench(broker.port, tmp_path, [simulator], units)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def psu_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `psu-agent` as an installation has it, for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "psu-agent"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m agent.cli "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture
def environment(broker: LocalBroker, psu_agent: Path) -> Callable[..., dict[str, str]]:
    """An environment for a child process: the broker, by every way that the examples know it, and more variables."""

    def make(*path: Path, **more: Any) -> dict[str, str]:
        folders = [*map(str, path), str(psu_agent), os.environ["PATH"]]
        return {
            **os.environ,
            "PATH": os.pathsep.join(folders),
            "MQTT_HOST": broker.host,
            "MQTT_PORT": str(broker.port),
            "PSU_AGENT_BROKER": f"mqtt://{broker.host}:{broker.port}",
            **more,
        }

    return make

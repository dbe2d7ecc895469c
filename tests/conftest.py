"""Fixtures of all tests: a real broker of the test's own, and a bench."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from agent.instruments import catalogue
from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import Bench, needs
from tests.properties import FUZZ
from tests.support import inside

# With nohup, or in the background of a script, they are ignored, and so they would be by every agent that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# The environment of the user who runs the tests has no influence on them.
for _name in ("PSU_AGENT_CONF", "PSU_AGENT_BROKER", "PSU_AGENT_MQTT_PASSWORD", "PSU_AGENT_DEBUG", "STATE_DIRECTORY"):
    os.environ.pop(_name, None)

# Images of containers often set this. Then each process compiles the agent anew, which is a third of its start (0.25 s), and each
# worker of pytest-xdist rewrites the assertions of all tests (10 s).
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    inside.ports_of_worker(int(_worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))

# For `make fuzz`: what does not say how many examples it takes, takes these.
hypothesis.settings.register_profile(
    "fuzz",
    max_examples=FUZZ or 20_000,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    database=None,
)

#: The tests that have a target of their own, by their marker, with the variable that the target sets.
_APART = {"long": "PSU_AGENT_FLEET", "stack": "PSU_AGENT_STACK"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests that take minutes to `make fleet` and `make test-stack`."""
    left = {name for name, variable in _APART.items() if not os.environ.get(variable)}
    apart = [item for item in items if any(item.get_closest_marker(name) for name in left)]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in set(apart)]


@pytest.fixture(autouse=True)
def _shipped_series() -> Iterator[None]:
    """Forget the series files that a command or an agent in this process has read, as the end of a process would."""
    yield
    catalogue.use([])


@pytest.fixture
def make_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalBroker]]:
    """Start brokers, ``make_broker(conf="…", kind=…, folder=…)``; all are ended with the test.

    Mosquitto where it is installed, else iotcore: see `LocalBroker` for their ports. A test that asks for Mosquitto is skipped
    without it.
    """
    brokers: list[LocalBroker] = []

    def make(*, folder: Path | None = None, **arguments: object) -> LocalBroker:
        if arguments.get("kind") == "mosquitto":
            needs("mosquitto")
        broker = LocalBroker(folder or tmp_path_factory.mktemp("broker"), **arguments)  # type: ignore[arg-type]
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(make_broker: Callable[..., LocalBroker]) -> LocalBroker:
    """A broker on a free port of loopback: ``host``, ``port``, ``start()``, ``stop()``, ``kill()``."""
    return make_broker()


@pytest.fixture
def make_bench(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A `Bench` that has been started, on a broker of its own unless ``port`` is given: see there for the arguments."""
    benches: list[Bench] = []

    def make(
        simulators: list[Simulator] | None = None,
        units: list[dict[str, Any]] | None = None,
        *,
        port: int = 0,
        online: bool = True,
        **more: Any,
    ) -> Bench:
        bench = Bench(port or make_broker().port, tmp_path, simulators or [Simulator()], units, **more)
        benches.append(bench)
        return bench.start(online=online)

    yield make
    for bench in benches:
        bench.close()

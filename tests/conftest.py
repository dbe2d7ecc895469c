"""Fixtures for everybody: a real broker of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.localbroker import LocalBroker


@pytest.fixture
def make_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalBroker]]:
    """Start brokers, ``make_broker(conf="…", kind=…, folder=…)``; all are ended with the test.

    Mosquitto where it is installed, else iotcore: see `LocalBroker` for their ports.
    """
    brokers: list[LocalBroker] = []

    def make(*, folder: Path | None = None, **arguments: object) -> LocalBroker:
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

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.local.broker import LocalBroker
from tests.faults.proxy import Proxy
from tests.support import inside


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent of this process tries again soon, and publishes its metrics often."""
    inside.retry_soon(monkeypatch.setattr)
    inside.measure_often(monkeypatch.setattr)


@pytest.fixture
def way(broker: LocalBroker) -> Iterator[Proxy]:
    """The agent's connection to the broker. The observer has one of its own, and sees all that comes after a fault."""
    with Proxy(broker.port) as proxy:
        yield proxy

"""A session on a broker behind a proxy, and quick tries to connect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from tests.mqtt.alone import Alone
from tests.support.inside import retry_soon


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    retry_soon(monkeypatch.setattr, longest=0.1)


@pytest.fixture
def alone(broker: LocalBroker, tmp_path: Path) -> Iterator[Alone]:
    alone = Alone(broker, tmp_path)
    yield alone
    alone.close()

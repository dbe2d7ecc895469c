from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .services import Broker, Store, generate_secrets


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_secrets(tmp_path_factory.mktemp("stack") / "secrets")


@pytest.fixture(scope="module")
def broker(secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"), secrets)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as store:
        yield store

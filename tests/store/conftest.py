"""A store on a file of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import store as store_module
from agent.store.store import Store
from tests.lab import PATIENCE
from tests.store.disk import opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RETRY", 0.05)
    # No disk hangs in opening here: tests/faults/test_disks.py has one that does.
    monkeypatch.setattr(store_module, "OPENING_TIMEOUT", PATIENCE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bench.sqlite3"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with opened(file) as store:
        yield store

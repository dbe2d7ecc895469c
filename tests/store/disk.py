"""Stores for tests, and disks that fail or hang."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from agent.store.rows import Row, Rows
from agent.store.store import Store
from tests.lab import PATIENCE, wait_until


@contextmanager
def opened(file: Path, capacity: int = 100) -> Iterator[Store]:
    """A store with its thread, closed in the end."""
    store = Store(file, capacity)
    store.start()
    try:
        yield store
    finally:
        store.close(PATIENCE)


def saved(store: Store) -> None:
    """Wait until the file has all that is in memory."""
    wait_until(lambda: store.is_saved, "the disk")


def fetched(rows: Rows, after: int = 0, limit: int = 1000) -> list[Row]:
    """The rows that answer a request."""
    answered = threading.Event()
    answer: list[Row] = []

    def deliver(found: list[Row]) -> None:
        answer.extend(found)
        answered.set()

    rows.request(after, limit, deliver)
    assert answered.wait(PATIENCE)
    return answer


def payloads(store: Store, after: int = 0, limit: int = 1000) -> list[bytes]:
    return [row.payload for row in fetched(store.backlog.samples, after, limit)]


def fill(store: Store, numbers: range) -> None:
    for number in numbers:
        store.backlog.add_samples([(f"t/{number}", str(number).encode())])


class Disk:
    """Stands before the database's connection, and fails or hangs where it is told to."""

    def __init__(self, store: Store, failing: str = "") -> None:
        self.failing = failing  # the beginning of the statements that fail
        self.hangs = threading.Event()  # a statement has come, and waits
        self.works = threading.Event()
        self.works.set()
        self._db = store._database.connection
        store._database.connection = cast(sqlite3.Connection, self)

    def _check(self, query: str) -> None:
        if not self.works.is_set():
            self.hangs.set()
            assert self.works.wait(PATIENCE)
        if self.failing and query.startswith(self.failing):
            raise sqlite3.OperationalError("database or disk is full")

    def execute(self, query: str, *values: Any) -> Any:
        self._check(query)
        return self._db.execute(query, *values)

    def executemany(self, query: str, *values: Any) -> Any:
        self._check(query)
        return self._db.executemany(query, *values)

    def close(self) -> None:
        self._db.close()

"""Duplicates: known at once, for ten minutes of a clock that nobody sets, and over a restart."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import timing
from agent.store import seen as seen_module
from agent.store.store import Store
from tests.lab import PATIENCE
from tests.store.disk import Disk, opened, saved


class Clocks:
    """The clock that nobody sets, and the wall clock, in s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steady, self.wall, self.boot = 5_000.0, 1_000_000.0, "first"
        monkeypatch.setattr(time, "time", lambda: self.wall)

    def pass_(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds

    @contextmanager
    def store(self, file: Path) -> Iterator[Callable[[bytes], bool]]:
        store = Store(file, 1, lambda: self.steady, self.boot)
        store.start()
        yield store.seen.is_duplicate
        assert store.close(PATIENCE)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_duplicates_within_ten_minutes_and_over_a_restart(file: Path, clocks: Clocks) -> None:
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")
        clocks.pass_(599)
        assert is_duplicate(b"a")
    clocks.steady, clocks.boot = 17.0, "second"  # the host was started anew, too
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
        clocks.pass_(2)
        assert not is_duplicate(b"a")  # ten minutes from the first time, however often it came since
        assert is_duplicate(b"a")
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
        clocks.pass_(601)
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_wall_clock_that_is_set_forgets_nothing(file: Path, clocks: Clocks, step: float) -> None:
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")
        clocks.wall += step
        assert is_duplicate(b"a")
        assert not is_duplicate(b"b")
        clocks.pass_(601)
        assert not is_duplicate(b"a")


@pytest.mark.parametrize("step", [-1e6, -3600, 3600, 1e9])
def test_a_wall_clock_that_is_set_across_a_restart_forgets_nothing(file: Path, clocks: Clocks, step: float) -> None:
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")
        clocks.wall += step / 2
        assert not is_duplicate(b"b")
    clocks.wall += step
    clocks.pass_(300)
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
        assert is_duplicate(b"b")
        clocks.pass_(301)
        assert not is_duplicate(b"a")
        assert not is_duplicate(b"b")


def test_where_nobody_knows_the_boot_the_wall_clock_counts(file: Path, clocks: Clocks) -> None:
    clocks.boot = ""
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")
    clocks.steady = 1.0
    clocks.pass_(599)
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
    clocks.pass_(601)
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")


def test_a_moment_that_is_yet_to_come_counts_as_now(file: Path, clocks: Clocks) -> None:
    """A container with a clock of its own on the same boot."""
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")
    clocks.steady -= 1000
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
        clocks.pass_(601)
        assert not is_duplicate(b"a")


def test_a_file_of_version_0_1_is_read(file: Path, clocks: Clocks) -> None:
    with clocks.store(file):
        pass
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE seen")
        db.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO seen VALUES (?, ?)", (b"a", clocks.wall - 100))
    db.close()
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
        assert not is_duplicate(b"b")
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"b")


def test_the_boot_of_this_host_is_known() -> None:
    assert timing.boot_id() == timing.boot_id()
    assert len(timing.boot_id()) == 36


def test_times_in_the_future_count_as_seen_just_now(file: Path, clocks: Clocks) -> None:
    with clocks.store(file) as is_duplicate:
        assert not is_duplicate(b"a")
    clocks.wall, clocks.boot = clocks.wall - 3600, "second"
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")
        clocks.pass_(601)
        assert not is_duplicate(b"a")


def test_what_is_too_old_leaves_the_file(file: Path, clocks: Clocks) -> None:
    store = Store(file, 1, lambda: clocks.steady)
    store.start()
    for number in range(20):
        store.seen.is_duplicate(b"%d" % number)
        saved(store)
        clocks.pass_(60)
    assert store._database.select("SELECT count(*) FROM seen")[0][0] == 11
    assert store.close(PATIENCE)


def test_ids_are_remembered_up_to_a_number(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_module, "MOST_SEEN", 50)
    with opened(file) as store:
        for number in range(200):
            assert not store.seen.is_duplicate(str(number).encode())
    with opened(file) as store:
        assert store.seen.is_duplicate(b"199")
        assert store.seen.is_duplicate(b"150")
        assert not store.seen.is_duplicate(b"149")


@pytest.mark.parametrize("failing", ["BEGIN", "DELETE", "INSERT", "COMMIT"])
def test_a_full_disk_lets_no_command_through_twice(file: Path, failing: str) -> None:
    with opened(file) as first:
        disk = Disk(first, failing)
        assert not first.seen.is_duplicate(b"a")
        assert first.seen.is_duplicate(b"a")
        disk.failing = ""
        assert not first.seen.is_duplicate(b"b")
    with opened(file) as second:
        assert second.seen.is_duplicate(b"a")
        assert second.seen.is_duplicate(b"b")


def test_a_key_that_is_seen_again_while_its_old_time_is_deleted_stays(file: Path, clocks: Clocks) -> None:
    store = Store(file, 1, lambda: clocks.steady)
    store.start()
    disk = Disk(store)
    assert not store.seen.is_duplicate(b"a")
    saved(store)
    clocks.pass_(601)
    disk.failing = "COMMIT"
    assert not store.seen.is_duplicate(b"a")
    time.sleep(0)
    disk.failing = ""
    assert store.close(PATIENCE)
    with clocks.store(file) as is_duplicate:
        assert is_duplicate(b"a")

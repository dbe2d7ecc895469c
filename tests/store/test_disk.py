"""A disk that is full, damaged, not writable or hangs: nothing that stops the agent, or makes it wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.store.database import StoreError
from agent.store.store import Store
from tests.lab import PATIENCE, wait_until
from tests.store.disk import Disk, fetched, fill, opened, payloads, saved


@pytest.mark.parametrize("failing", ["BEGIN", "INSERT", "COMMIT"])
def test_what_a_full_disk_does_not_take_stays_in_memory(
    store: Store, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, range(3))
    saved(store)
    disk = Disk(store, failing)
    fill(store, range(3, 5))
    store.backlog.add_messages([("t", b"m", None)])
    store.meters.save({"psu1": {1: (1.0, 1.0)}})
    wait_until(lambda: "samples may be lost" in caplog.text, "the complaint")
    assert (store.backlog.sample_count, store.backlog.message_count) == (5, 1)
    assert payloads(store) == [b"0", b"1", b"2", b"3", b"4"]
    assert [row.payload for row in fetched(store.backlog.messages)] == [b"m"]
    fill(store, range(5, 6))
    disk.failing = ""
    saved(store)
    assert payloads(store) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert store.backlog.sample_count == 6
    assert store.backlog.dropped == 0
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1  # not one a sample


@pytest.mark.parametrize("failing", ["DELETE", "COMMIT"])
def test_what_can_not_be_removed_from_the_file_is_not_delivered_again(
    store: Store, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, range(5))
    saved(store)
    disk = Disk(store, failing)
    store.backlog.remove_samples([row.id for row in fetched(store.backlog.samples, 0, 2)])
    wait_until(lambda: "samples may be lost" in caplog.text, "the complaint")
    assert store.backlog.sample_count == 3
    assert payloads(store, 0, 2) == [b"2", b"3"]
    disk.failing = ""
    saved(store)
    assert payloads(store) == [b"2", b"3", b"4"]


def test_a_disk_that_can_not_be_read_leaves_what_is_in_memory(store: Store) -> None:
    fill(store, range(3))
    saved(store)
    disk = Disk(store, "SELECT")
    store.backlog.add_samples([("t", b"new")])
    assert payloads(store) in ([b"new"], [])  # it may have been written already
    disk.failing = ""
    assert payloads(store) == [b"0", b"1", b"2", b"new"]


def test_a_disk_that_is_really_full(file: Path) -> None:
    """SQLite's own limit of pages makes it say what it says of a full disk."""
    with opened(file, 1_000_000) as store:
        fill(store, range(10))
        saved(store)
        store._database.connection.execute("PRAGMA max_page_count=1")
        store.backlog.add_samples([("t", b"x" * 5000)] * 1000)
        assert (store.backlog.sample_count, store.backlog.dropped) == (1010, 0)
        assert not store.is_saved
        store._database.connection.execute("PRAGMA max_page_count=100000")
        saved(store)
        assert len(payloads(store, 0, 2000)) == 1010


# Damage.


@pytest.mark.parametrize(
    "rubbish", [b"this is no database" * 1000, b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 8000]
)
def test_a_damaged_file_is_put_aside(file: Path, rubbish: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file.parent.mkdir()
    file.write_bytes(rubbish)
    with opened(file, 10) as store:
        fill(store, range(2))
        saved(store)
        assert payloads(store) == [b"0", b"1"]
    aside = [path for path in file.parent.iterdir() if ".damaged-" in path.name]
    assert [path.read_bytes() for path in aside] == [rubbish]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("table", ["samples", "messages", "seen", "meters", "discovered"])
def test_a_file_with_damaged_pages_is_put_aside(file: Path, table: str) -> None:
    """The head is sound; the damage is found when the table is read."""
    with opened(file, 1000) as first:
        first.backlog.add_samples([("t", b"x" * 500)] * 200)
        first.backlog.add_messages([("t", b"x" * 500, None)] * 200)
        for number in range(500):
            first.seen.is_duplicate(str(number).encode() * 20)
            first.discovered.remember(f"topic {number}", "x" * 100)
        first.meters.save({f"psu{number}": {1: (1.0, 1.0)} for number in range(500)})
        saved(first)
        page = first._database.select("SELECT rootpage FROM sqlite_master WHERE name = ?", table)[0][0]
        size = first._database.select("PRAGMA page_size")[0][0]
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = b"\xa5" * size
    file.write_bytes(content)
    with opened(file, 1000) as second:
        second.backlog.add_samples([("t", b"new")])
        assert not second.seen.is_duplicate(b"new")
        assert payloads(second) == [b"new"]
        assert second.backlog.dropped == 0


def test_damage_that_comes_later_costs_what_was_in_the_file_alone(file: Path) -> None:
    with opened(file, 1000) as store:
        store.backlog.add_samples([("t", b"x" * 500)] * 200)
        store.discovered.remember("a", "1")
        store.meters.save({"psu1": {1: (1.0, 1.0)}})
        assert not store.seen.is_duplicate(b"key")
        saved(store)
        store._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store._database.connection.execute("PRAGMA cache_size=0")
        content = bytearray(file.read_bytes())
        content[4096:] = b"\xa5" * (len(content) - 4096)
        file.write_bytes(content)
        store.backlog.add_samples([("t", b"new")])
        payloads(store)
        saved(store)
        store.backlog.add_samples([("t", b"newer")])
        saved(store)
        assert payloads(store) == [b"new", b"newer"]
        assert (store.backlog.sample_count, store.backlog.dropped) == (2, 200)
    with opened(file, 1000) as store:
        assert payloads(store) == [b"new", b"newer"]
        assert store.discovered.all() == {"a": "1"}
        assert store.meters.all() == {"psu1": {1: (1.0, 1.0)}}
        assert store.seen.is_duplicate(b"key")


def test_a_journal_of_a_damaged_file_does_not_come_into_the_new_one(file: Path) -> None:
    with opened(file, 1000) as first:
        first.backlog.add_samples([("t", b"old")] * 100)
        saved(first)
        first._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        first.backlog.add_samples([("t", b"young")] * 100)
        saved(first)
        journal = file.with_name(file.name + "-wal")
        kept = journal.read_bytes()
        assert kept
    file.write_bytes(b"rubbish" * 1000)
    journal.write_bytes(kept)
    with opened(file, 1000) as second:
        assert second.backlog.sample_count == 0
        fill(second, range(1))
        saved(second)
        assert payloads(second) == [b"0"]


# Not to be used.


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"settings\.state_dir must be a writable directory"):
        Store(tmp_path / "file" / "bench.sqlite3", 10)


def test_a_path_that_is_a_directory(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"settings\.state_dir must be a writable directory"):
        Store(file, 10)


def test_two_agents_of_one_name(file: Path, store: Store) -> None:
    with pytest.raises(StoreError, match="another agent of this name uses it"):
        Store(file, 10)
    fill(store, range(1))
    saved(store)
    assert store.backlog.sample_count == 1


# A disk that hangs.

USES: dict[str, Callable[[Store], object]] = {
    "add samples": lambda store: store.backlog.add_samples([("t", b"1")]),
    "add messages": lambda store: store.backlog.add_messages([("t", b"1", None)]),
    "remove": lambda store: store.backlog.remove_samples([1, 2]),
    "remove messages": lambda store: store.backlog.remove_messages([1]),
    "count": lambda store: (store.backlog.sample_count, store.backlog.message_count, store.backlog.dropped),
    "capacity": lambda store: setattr(store.backlog, "capacity", 5),
    "request": lambda store: store.backlog.request_samples(0, 10, lambda _: None),
    "request messages": lambda store: store.backlog.request_messages(0, 10, lambda _: None),
    "seen": lambda store: store.seen.is_duplicate(b"key"),
    "meters": lambda store: store.meters.all(),
    "save meters": lambda store: store.meters.save({"psu1": {1: (1.0, 2.0)}}, lambda: None),
    "discovered": lambda store: store.discovered.all(),
    "remember": lambda store: store.discovered.remember("b", "2"),
    "forget": lambda store: store.discovered.forget("a"),
    "is saved": lambda store: store.is_saved,
}


@pytest.mark.parametrize("use", USES)
def test_nothing_waits_for_a_disk_that_hangs(file: Path, use: str) -> None:
    """If anything waited, it would wait for ever: the disk works again only when the call has returned."""
    with opened(file) as store:
        fill(store, range(3))
        store.discovered.remember("a", "1")
        saved(store)
        disk = Disk(store)
        disk.works.clear()
        fill(store, range(3, 6))
        assert disk.hangs.wait(PATIENCE)
        USES[use](store)
        disk.works.set()


def test_closing_waits_for_a_disk_that_hangs_no_longer_than_it_was_told(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(file) as store:
        disk = Disk(store)
        disk.works.clear()
        fill(store, range(3))
        begun = time.monotonic()
        assert not store.close(0.2)
        assert 0.2 <= time.monotonic() - begun < PATIENCE
        assert "not everything could be written" in caplog.text
        disk.works.set()


def test_closing_writes_what_a_disk_takes_that_was_slow(file: Path) -> None:
    with opened(file) as store:
        disk = Disk(store)
        disk.works.clear()
        fill(store, range(3))
        assert disk.hangs.wait(PATIENCE)
        fill(store, range(3, 6))
        disk.works.set()
        assert store.close(PATIENCE)
    with opened(file) as store:
        assert payloads(store) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_samples_that_a_disk_that_hangs_has_not_taken_can_be_read(store: Store) -> None:
    """Those that it is at too."""
    disk = Disk(store)
    disk.works.clear()
    fill(store, range(3))
    assert disk.hangs.wait(PATIENCE)
    fill(store, range(3, 5))
    assert payloads(store) == [b"0", b"1", b"2", b"3", b"4"]
    store.backlog.remove_samples([1, 4])
    assert payloads(store) == [b"1", b"2", b"4"]
    disk.works.set()
    saved(store)
    assert payloads(store) == [b"1", b"2", b"4"]
    assert store.backlog.sample_count == 3


def test_closing_tries_a_disk_that_failed_once_more(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(file) as store:
        disk = Disk(store, "BEGIN")
        fill(store, range(3))
        wait_until(lambda: "samples may be lost" in caplog.text, "the complaint")
        disk.failing = ""
        assert store.close(PATIENCE)
    with opened(file) as store:
        assert payloads(store) == [b"0", b"1", b"2"]
        Disk(store, "BEGIN")
        fill(store, range(3, 4))
        assert not store.close(PATIENCE)


def test_an_error_of_our_own_is_logged_and_the_store_goes_on(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def raise_(_: object) -> None:
        raise RuntimeError("of the reader's")

    fill(store, range(1))
    saved(store)
    store.backlog.request_samples(0, 1, raise_)
    wait_until(lambda: "of the reader's" in caplog.text, "the traceback")
    fill(store, range(1, 2))
    saved(store)
    assert payloads(store) == [b"0", b"1"]

"""What outlives a lost broker and a restart, and what a bad disk does to it: nothing that stops the agent."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.store import spool as spool_module
from agent.store.spool import Spool, SpoolError
from agent.unit.meters import Meter


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bench.sqlite3"


@pytest.fixture
def spool(file: Path) -> Iterator[Spool]:
    spool = Spool(file, 100)
    yield spool
    spool.close()


def fill(spool: Spool, numbers: range) -> None:
    for number in numbers:
        spool.add_samples([(f"t/{number}", str(number).encode())])


def payloads(spool: Spool, after: int = 0, limit: int = 1000) -> list[bytes]:
    return [row.payload for row in spool.samples(after, limit)]


class BadDisk:
    """Stands before the database and fails where it is told to."""

    def __init__(self, db: sqlite3.Connection, failing: str) -> None:
        self._db = db
        self.failing = failing

    def _check(self, query: str) -> None:
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


def test_samples_come_out_as_they_went_in(spool: Spool) -> None:
    fill(spool, range(5))
    rows = spool.samples(0, 3)
    assert [(row.topic, row.payload) for row in rows] == [("t/0", b"0"), ("t/1", b"1"), ("t/2", b"2")]
    assert payloads(spool, rows[-1].id) == [b"3", b"4"]
    spool.remove_samples([rows[0].id, rows[2].id])
    assert payloads(spool) == [b"1", b"3", b"4"]
    assert spool.sample_count == 3


def test_samples_and_messages_survive_a_restart(file: Path) -> None:
    first = Spool(file, 100)
    fill(first, range(3))
    first.add_messages([("t", b"m", b"\x00\xff"), ("u", b"n", None)])
    first.close()
    second = Spool(file, 100)
    assert (second.sample_count, second.message_count) == (3, 2)
    assert [row[1:] for row in second.messages(0, 10)] == [("t", b"m", b"\x00\xff"), ("u", b"n", None)]
    fill(second, range(3, 4))
    assert payloads(second) == [b"0", b"1", b"2", b"3"]
    second.close()


def test_an_id_is_not_used_again(spool: Spool) -> None:
    """What is read from after the last id must not overlook what was added when the table was empty."""
    fill(spool, range(2))
    last = spool.samples(0, 10)[-1].id
    spool.remove_samples([row.id for row in spool.samples(0, 10)])
    fill(spool, range(2, 3))
    assert payloads(spool, last) == [b"2"]


def test_of_too_many_the_oldest_go_and_are_counted(spool: Spool) -> None:
    fill(spool, range(130))
    assert (spool.sample_count, spool.dropped) == (100, 30)
    assert payloads(spool)[0] == b"30"
    spool.add_samples([("t", str(number).encode()) for number in range(1000, 1250)])
    assert (spool.sample_count, spool.dropped) == (100, 280)
    assert payloads(spool) == [str(number).encode() for number in range(1150, 1250)]


def test_a_capacity_of_nothing(file: Path) -> None:
    spool = Spool(file, 0)
    fill(spool, range(3))
    assert (spool.sample_count, spool.dropped, payloads(spool)) == (0, 3, [])
    spool.close()


def test_a_smaller_capacity_after_a_restart(file: Path) -> None:
    first = Spool(file, 100)
    fill(first, range(50))
    first.close()
    second = Spool(file, 10)
    fill(second, range(50, 51))
    assert payloads(second) == [str(number).encode() for number in range(41, 51)]
    second.close()


def test_of_too_many_messages_the_oldest_go(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MOST_MESSAGES", 5)
    spool.add_messages([("t", str(number).encode(), None) for number in range(8)])
    assert [row.payload for row in spool.messages(0, 10)] == [b"3", b"4", b"5", b"6", b"7"]
    assert spool.message_count == 5
    spool.remove_messages([row.id for row in spool.messages(0, 10)])
    assert spool.message_count == 0


def test_meters_survive(file: Path) -> None:
    first = Spool(file, 1)
    first.save_meters({"psu1": {1: Meter(12.5, 2.25), 2: Meter(0.0, 0.0)}})
    first.save_meters({"psu1": {1: Meter(13.5, 2.5)}})
    first.close()
    second = Spool(file, 1)
    meters = second.meters()
    assert (meters["psu1"][1].energy, meters["psu1"][1].charge) == (13.5, 2.5)
    assert set(meters["psu1"]) == {1, 2}
    second.close()


def test_duplicates_within_ten_minutes_and_over_a_restart(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    first = Spool(file, 1)
    assert not first.is_duplicate(b"a")
    first.save_seen()
    now += 599
    assert first.is_duplicate(b"a")
    first.close()
    second = Spool(file, 1)
    assert second.is_duplicate(b"a")
    now += 2
    assert not second.is_duplicate(b"a")  # ten minutes from the first time, however often it came since
    second.close()


def test_a_clock_that_is_set_back_forgets_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    assert not spool.is_duplicate(b"a")
    now -= 3600
    assert spool.is_duplicate(b"a")


def test_ids_are_remembered_up_to_a_number(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MOST_SEEN", 50)
    for number in range(200):
        assert not spool.is_duplicate(str(number).encode())
    assert spool.is_duplicate(b"199")
    assert spool.is_duplicate(b"150")
    assert not spool.is_duplicate(b"149")


# A bad disk.


@pytest.mark.parametrize("failing", ["BEGIN", "INSERT", "COMMIT"])
def test_a_full_disk_loses_samples_and_counts_them(
    spool: Spool, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(spool, range(3))
    disk = BadDisk(spool._db, failing)
    spool._db = disk  # type: ignore[assignment]
    spool.add_samples([("t", b"lost"), ("t", b"too")])
    spool.add_messages([("t", b"lost", None)])
    spool.save_meters({"psu1": {1: Meter(1.0, 1.0)}})
    assert spool.dropped == 2
    assert (spool.sample_count, spool.message_count) == (3, 0)
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1  # not one a sample
    disk.failing = ""
    fill(spool, range(3, 4))
    assert payloads(spool) == [b"0", b"1", b"2", b"3"]
    assert spool.sample_count == 4


@pytest.mark.parametrize("failing", ["DELETE", "COMMIT"])
def test_what_could_not_be_removed_still_counts(spool: Spool, failing: str) -> None:
    fill(spool, range(3))
    disk = BadDisk(spool._db, failing)
    spool._db = disk  # type: ignore[assignment]
    spool.remove_samples([1, 2])
    assert spool.sample_count == 3
    disk.failing = ""
    assert len(payloads(spool)) == 3


@pytest.mark.parametrize("failing", ["BEGIN", "DELETE", "INSERT", "COMMIT"])
def test_a_full_disk_lets_no_command_through_twice(file: Path, failing: str) -> None:
    first = Spool(file, 1)
    disk = BadDisk(first._db, failing)
    first._db = disk  # type: ignore[assignment]
    assert not first.is_duplicate(b"a")
    first.save_seen()
    assert first.is_duplicate(b"a")
    disk.failing = ""
    assert not first.is_duplicate(b"b")
    first.save_seen()
    first.close()
    second = Spool(file, 1)
    assert second.is_duplicate(b"a")
    assert second.is_duplicate(b"b")
    second.close()


def test_a_disk_that_is_really_full(spool: Spool) -> None:
    """SQLite's own limit of pages makes it say what it says of a full disk."""
    spool.capacity = 1_000_000
    fill(spool, range(10))
    spool._db.execute("PRAGMA max_page_count=1")
    spool.add_samples([("t", b"x" * 5000)] * 1000)
    assert (spool.sample_count, spool.dropped) == (10, 1000)
    spool._db.execute("PRAGMA max_page_count=100000")
    spool.add_samples([("t", b"x" * 5000)])
    assert spool.sample_count == 11


@pytest.mark.parametrize(
    "rubbish", [b"this is no database" * 1000, b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 8000]
)
def test_a_damaged_file_is_put_aside(file: Path, rubbish: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file.parent.mkdir()
    file.write_bytes(rubbish)
    spool = Spool(file, 10)
    fill(spool, range(2))
    assert payloads(spool) == [b"0", b"1"]
    spool.close()
    aside = [path for path in file.parent.iterdir() if ".damaged-" in path.name]
    assert [path.read_bytes() for path in aside] == [rubbish]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("table", ["samples", "messages", "seen", "meters"])
def test_a_file_with_damaged_pages_is_put_aside(file: Path, table: str) -> None:
    """The head is sound; what is wrong is found when the table is read."""
    first = Spool(file, 1000)
    first.add_samples([("t", b"x" * 500)] * 200)
    first.add_messages([("t", b"x" * 500, None)] * 200)
    for number in range(500):
        first.is_duplicate(str(number).encode() * 20)
    first.save_seen()
    first.save_meters({f"psu{number}": {1: Meter(1.0, 1.0)} for number in range(500)})
    damage(first, table)
    second = Spool(file, 1000)
    second.add_samples([("t", b"new")])
    assert not second.is_duplicate(b"new")
    assert payloads(second) == [b"new"]
    assert second.dropped == 0
    second.close()


def damage(spool: Spool, table: str) -> None:
    page = spool._db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    size = spool._db.execute("PRAGMA page_size").fetchone()[0]
    spool.close()
    content = bytearray(spool.path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xa5" * size
    spool.path.write_bytes(content)


def test_damage_that_comes_later_costs_what_was_kept_and_no_more(file: Path) -> None:
    first = Spool(file, 1000)
    first.add_samples([("t", b"x" * 500)] * 200)
    first._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    first._db.execute("PRAGMA cache_size=0")
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)
    first.add_samples([("t", b"new")])
    first.samples(0, 1000)
    first.add_samples([("t", b"newer")])
    assert payloads(first)[-1] == b"newer"
    assert first.sample_count == len(payloads(first))
    assert first.dropped in (200, 201)
    first.close()


def test_a_journal_of_a_damaged_file_does_not_come_into_the_new_one(file: Path) -> None:
    first = Spool(file, 1000)
    first.add_samples([("t", b"old")] * 100)
    first._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    first.add_samples([("t", b"young")] * 100)
    journal = file.with_name(file.name + "-wal")
    kept = journal.read_bytes()
    assert kept
    first.close()
    file.write_bytes(b"rubbish" * 1000)
    journal.write_bytes(kept)
    second = Spool(file, 1000)
    assert second.sample_count == 0
    fill(second, range(1))
    assert payloads(second) == [b"0"]
    second.close()


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpoolError, match=r"settings\.state_dir must be a writable directory"):
        Spool(tmp_path / "file" / "bench.sqlite3", 10)


def test_a_path_that_is_a_directory(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(SpoolError, match=r"settings\.state_dir must be a writable directory"):
        Spool(file, 10)


def test_two_agents_of_one_name(file: Path, spool: Spool) -> None:
    with pytest.raises(SpoolError, match="another agent of this name uses it"):
        Spool(file, 10)
    fill(spool, range(1))
    assert spool.sample_count == 1

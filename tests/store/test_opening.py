"""A file that is opened late, or not at all: what memory has by then, and what an earlier run left, are one afterwards."""

from __future__ import annotations

import errno
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.store import rows as rows_module
from agent.store import store as store_module
from agent.store.database import Database
from agent.store.store import Store
from tests.lab import PATIENCE, wait_until
from tests.store.disk import Disk, fetched, fill, opened, payloads, saved


class Place:
    """Where the file is to be: fails as a disk does, for as long as the test says so."""

    def __init__(self) -> None:
        self.problem: Exception | None = OSError(errno.EROFS, "Read-only file system")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(store_module, "RETRY_OPENING", 0.02)
    place = Place()
    really = Database.open

    def open_(self: Database) -> None:
        if place.problem is not None:
            raise place.problem
        really(self)

    monkeypatch.setattr(Database, "open", open_)
    return place


def earlier(file: Path, place: Place) -> None:
    """An earlier run, on a disk that was well."""
    problem, place.problem = place.problem, None
    with opened(file) as store:
        fill(store, range(3))
        store.backlog.add_messages([("t", b"response", b"c")])
        assert not store.seen.is_duplicate(b"earlier")
        store.meters.save({"psu1": {1: (10.0, 1.0)}, "gone": {1: (5.0, 0.5)}})
        store.discovered.remember("a", "1")
        store.discovered.remember("b", "1")
        saved(store)
    place.problem = problem


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.OperationalError("attempt to write a readonly database"),
    ],
)
def test_a_file_that_is_opened_late(
    file: Path, place: Place, problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    earlier(file, place)
    place.problem = problem
    hidden = file.rename(file.with_name("hidden"))  # it can't even be read
    with opened(file) as store:
        assert store.meters.begin() == {}
        hidden.rename(file)
        fill(store, range(3, 6))
        assert payloads(store) == [b"3", b"4", b"5"]
        store.backlog.add_messages([("t", b"newer", None)])
        assert not store.seen.is_duplicate(b"new")
        assert store.seen.is_duplicate(b"new")
        store.meters.save({"psu1": {1: (0.25, 0.5)}})
        store.discovered.remember("a", "2")
        assert not store.is_saved
        assert len([r for r in caplog.records if "settings.state_dir" in r.getMessage()]) == 1
        (delivered,) = [row.id for row in fetched(store.backlog.samples, 0, 1)]
        place.problem = None
        saved(store)
        store.backlog.remove_samples([delivered])  # the broker has it
        saved(store)
        assert payloads(store) == [b"0", b"1", b"2", b"4", b"5"]
        assert [row.payload for row in fetched(store.backlog.messages)] == [b"response", b"newer"]
        assert store.seen.is_duplicate(b"earlier")
        assert store.seen.is_duplicate(b"new")
        assert store.discovered.all() == {"a": "2", "b": "1"}
        # A unit counts on from 0 until it is told; what it counted is not lost, and nothing is added twice.
        store.meters.save({"psu1": {1: (0.5, 0.5)}})
        assert store.meters.all() == {"psu1": {1: (10.5, 1.5)}, "gone": {1: (5.0, 0.5)}}
        assert store.meters.take_late() == {"psu1": {1: (10.0, 1.0)}, "gone": {1: (5.0, 0.5)}}
        assert store.meters.take_late() == {}
        store.meters.save({"psu1": {1: (10.75, 1.5)}})
        saved(store)
    with opened(file) as store:
        assert payloads(store) == [b"0", b"1", b"2", b"4", b"5"]
        assert store.meters.begin() == {"psu1": {1: (10.75, 1.5)}, "gone": {1: (5.0, 0.5)}}
        assert store.meters.take_late() == {}
        assert store.seen.is_duplicate(b"new")


def test_what_was_counted_before_the_file_was_known_does_not_take_its_place(file: Path, place: Place) -> None:
    """An output that was off all the time counted nothing: what memory had to write, 0, was written over the earlier run's."""
    earlier(file, place)
    place.problem = OSError(errno.EIO, "Input/output error")
    hidden = file.rename(file.with_name("hidden"))
    with opened(file) as store:
        assert store.meters.begin() == {}
        hidden.rename(file)
        store.meters.save({"psu1": {1: (0.0, 0.0)}})
        place.problem = None
        saved(store)
    with opened(file) as store:
        assert store.meters.begin()["psu1"] == {1: (10.0, 1.0)}


def test_a_file_that_can_only_be_read_is_known_from_the_start(file: Path, place: Place) -> None:
    earlier(file, place)
    with opened(file) as store:
        assert store.meters.begin() == {"psu1": {1: (10.0, 1.0)}, "gone": {1: (5.0, 0.5)}}
        assert store.seen.is_duplicate(b"earlier")
        assert store.discovered.all() == {"a": "1", "b": "1"}
        store.meters.save({"psu1": {1: (10.5, 1.25)}})
        place.problem = None
        saved(store)
        assert payloads(store) == [b"0", b"1", b"2"]
        assert store.meters.take_late() == {}  # nothing is added twice
        assert store.meters.all() == {"psu1": {1: (10.5, 1.25)}, "gone": {1: (5.0, 0.5)}}
        assert store.seen.is_duplicate(b"earlier")
    with opened(file) as store:
        assert store.meters.all() == {"psu1": {1: (10.5, 1.25)}, "gone": {1: (5.0, 0.5)}}


def test_a_file_that_can_be_read_late_and_opened_later_still_adds_nothing_twice(file: Path, place: Place) -> None:
    earlier(file, place)
    hidden = file.rename(file.with_name("hidden"))
    store = Store(file, 10)
    assert store.meters.begin() == {}
    store.meters.save({"psu1": {1: (0.5, 0.5)}})
    hidden.rename(file)
    with store._database.reading() as database:
        store.meters.load(database)
    store.meters.save({"psu1": {1: (0.75, 0.5)}})
    place.problem = None
    store.start()
    saved(store)
    assert store.meters.all() == {"psu1": {1: (10.75, 1.5)}, "gone": {1: (5.0, 0.5)}}
    assert store.meters.take_late() == {"psu1": {1: (10.0, 1.0)}, "gone": {1: (5.0, 0.5)}}
    store.meters.save({"psu1": {1: (11.0, 1.5)}})
    assert store.close(PATIENCE)
    with opened(file) as store:
        assert store.meters.all() == {"psu1": {1: (11.0, 1.5)}, "gone": {1: (5.0, 0.5)}}


def test_a_file_that_could_be_read_in_part_is_made_up_for(file: Path, place: Place) -> None:
    """After a crash the newest changes are in a journal, which can't be read without writing."""
    earlier(file, place)
    with opened(file) as store:
        assert store.meters.begin()["psu1"] == {1: (10.0, 1.0)}
        with sqlite3.connect(file) as newer:
            newer.execute("UPDATE meters SET energy = 12, charge = 2 WHERE unit = 'psu1'")
        newer.close()
        store.meters.save({"psu1": {1: (10.5, 1.25)}})
        place.problem = None
        saved(store)
        assert store.meters.take_late() == {"psu1": {1: (2.0, 1.0)}}
        assert store.meters.all()["psu1"] == {1: (12.5, 2.25)}


def test_files_that_are_opened_late_again_and_again_keep_their_order(file: Path, place: Place) -> None:
    """The ids of rows that began in memory lie above all that a file has; the next run that begins so needs that room, too."""
    earlier(file, place)
    number = 3
    for _ in range(3):
        place.problem = OSError(errno.EIO, "Input/output error")
        with opened(file) as store:
            fill(store, range(number, number + 2))
            place.problem = None
            saved(store)
            fill(store, range(number + 2, number + 4))
            number += 4
            saved(store)
            assert payloads(store) == [b"%d" % n for n in range(number)]
        with opened(file) as store:
            fill(store, range(number, number + 1))
            number += 1
            saved(store)
            assert payloads(store) == [b"%d" % n for n in range(number)]
            assert store.backlog.dropped == 0


def test_memory_is_bounded_and_what_it_has_no_room_for_is_counted(
    file: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MOST_QUEUED", 20)
    with opened(file, 100) as store:
        fill(store, range(50))
        store.backlog.add_messages([("t", b"%d" % number, None) for number in range(30)])
        assert (store.backlog.sample_count, store.backlog.dropped) == (20, 30)
        assert (store.backlog.message_count, store.backlog.dropped_messages) == (20, 10)
        assert payloads(store) == [b"%d" % number for number in range(30, 50)]
        place.problem = None
        saved(store)
        assert payloads(store) == [b"%d" % number for number in range(30, 50)]


def test_an_agent_that_can_never_open_its_file_ends(file: Path, place: Place) -> None:
    store = Store(file, 10)
    store.start()
    fill(store, range(1))
    assert not store.close(PATIENCE)
    assert not file.exists()


def test_a_damaged_file_that_could_not_be_replaced_is_replaced_later(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed by then, which was an error of its own for ever."""
    with opened(file) as store:
        fill(store, range(2))
        saved(store)
        really = Path.rename

        def fail(self: Path, target: Any) -> Any:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "rename", fail)
        damage = sqlite3.DatabaseError("database disk image is malformed")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        monkeypatch.setattr(Disk, "_check", lambda self, query: (_ for _ in ()).throw(damage))
        Disk(store)
        fill(store, range(2, 4))
        wait_until(lambda: "samples may be lost" in caplog.text, "the complaint")
        monkeypatch.setattr(Path, "rename", really)
        saved(store)
        assert payloads(store) == [b"2", b"3"]


# Other names.


@pytest.mark.parametrize(("advice", "told"), [("give settings.agent", True), (None, False)])
def test_state_of_other_names_is_told_where_this_one_has_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, advice: str | None, told: bool
) -> None:
    """A container has another host name each time it is made, and the agent's name is the host's unless it is given."""
    caplog.set_level(logging.WARNING)
    for name in ("3f2a", "91bc"):
        with opened(tmp_path / f"{name}.sqlite3"):
            pass
    for _ in range(2):  # the second time it has a file of its own
        store = Store(tmp_path / "77de.sqlite3", 10, advice=advice)
        store.start()
        assert store.close(PATIENCE)
    found = [
        r.getMessage() for r in caplog.records if "3f2a.sqlite3, 91bc.sqlite3; give settings.agent" in r.getMessage()
    ]
    assert len(found) == int(told)


def test_a_first_start_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "notes.txt").touch()
    store = Store(tmp_path / "bench.sqlite3", 10, advice="give settings.agent")
    store.start()
    assert store.close(PATIENCE)
    assert "settings.agent" not in caplog.text

"""Energy, charge and the records of discovery: in memory at once, in the file soon after."""

from __future__ import annotations

import threading
from pathlib import Path

from agent.store.store import Store
from tests.lab import PATIENCE, wait_until
from tests.store.disk import Disk, opened, saved


def test_meters_survive(file: Path) -> None:
    with opened(file) as first:
        first.meters.save({"psu1": {1: (12.5, 2.25), 2: (0.0, 0.0)}})
        first.meters.save({"psu1": {1: (13.5, 2.5)}})
        assert first.meters.all() == {"psu1": {1: (13.5, 2.5), 2: (0.0, 0.0)}}
    with opened(file) as second:
        assert second.meters.all() == {"psu1": {1: (13.5, 2.5), 2: (0.0, 0.0)}}


def test_who_waits_for_meters_is_told_when_the_file_has_them(file: Path) -> None:
    with opened(file) as store:
        disk = Disk(store, "COMMIT")
        told: list[int] = []
        store.meters.save({"psu1": {1: (1.0, 1.0)}}, lambda: told.append(1))
        store.meters.save({"psu1": {1: (2.0, 1.0)}}, lambda: told.append(2))
        assert told == []
        disk.failing = ""
        wait_until(lambda: told, "the end of saving")
        saved(store)
        assert told[-1] == 2
        with_nothing_new = threading.Event()
        store.meters.save({"psu1": {1: (2.0, 1.0)}}, with_nothing_new.set)
        assert with_nothing_new.wait(PATIENCE)


def test_who_waits_for_meters_and_raises_ends_nothing(store: Store) -> None:
    def raise_() -> None:
        raise RuntimeError("of the caller's")

    store.meters.save({"psu1": {1: (1.0, 1.0)}}, raise_)
    saved(store)
    store.meters.save({"psu1": {1: (2.0, 1.0)}})
    saved(store)
    assert store._database.select("SELECT energy FROM meters") == [(2.0,)]


def test_records_survive(file: Path) -> None:
    with opened(file) as first:
        first.discovered.remember("a", "1")
        first.discovered.remember("b", "1")
        first.discovered.remember("a", "2")
        first.discovered.forget("b")
        first.discovered.forget("never there")
        assert first.discovered.all() == {"a": "2"}
    with opened(file) as second:
        assert second.discovered.all() == {"a": "2"}
        second.discovered.forget("a")
    with opened(file) as third:
        assert third.discovered.all() == {}


def test_a_disk_that_fails_is_tried_again(file: Path) -> None:
    with opened(file) as first:
        disk = Disk(first, "BEGIN")
        first.discovered.remember("a", "1")
        first.meters.save({"psu1": {1: (1.0, 1.0)}})
        disk.failing = ""
        saved(first)
    with opened(file) as second:
        assert second.discovered.all() == {"a": "1"}
        assert second.meters.all() == {"psu1": {1: (1.0, 1.0)}}


def test_one_part_that_can_not_be_written_keeps_no_other_from_the_disk(file: Path) -> None:
    with opened(file) as first:
        Disk(first, "INSERT OR REPLACE INTO meters")
        first.meters.save({"psu1": {1: (1.0, 1.0)}})
        first.discovered.remember("a", "1")
        wait_until(lambda: not first.discovered.is_dirty, "the record")
    with opened(file) as second:
        assert second.discovered.all() == {"a": "1"}
        assert second.meters.all() == {}

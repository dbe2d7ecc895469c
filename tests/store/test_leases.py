"""The records of leases: in memory at once, in the file soon after, and what is left of them after a restart."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.store.leases import LeaseRecord
from agent.store.store import Store
from tests.store.disk import opened, saved

_LEASE = LeaseRecord("ci-42", 1000.0, 1060.0, 60.0, "boot 1", 5060.0)
_FREE = LeaseRecord(None, 0.0, 0.0, 0.0, "", 0.0)


def test_records_survive(file: Path) -> None:
    with opened(file) as first:
        assert first.leases.is_loaded
        first.leases.remember(("psu1", None), _LEASE)
        first.leases.remember(("psu1", 2), _FREE)
        first.leases.remember(("psu2", 1), _LEASE)
        first.leases.forget(("psu2", 1))
        first.leases.forget(("psu9", None))
        assert first.leases.take_loaded() == {}
    with opened(file) as second:
        assert second.leases.take_loaded() == {("psu1", None): _LEASE, ("psu1", 2): _FREE}
        assert second.leases.take_loaded() == {}
        second.leases.forget(("psu1", None))
    with opened(file) as third:
        assert third.leases.take_loaded() == {("psu1", 2): _FREE}


def test_what_came_before_the_file_was_opened_is_newer(file: Path, store: Store) -> None:
    store.leases.remember(("psu1", None), _LEASE)
    store.leases.remember(("psu1", 1), _LEASE)
    saved(store)
    newer = LeaseRecord("ann", 1.0, 2.0, 1.0, "", 3.0)
    with opened(file.with_name("other.sqlite3")) as late:
        late.leases.remember(("psu1", None), newer)
        late.leases.load(store._database)
        assert late.leases.take_loaded() == {("psu1", 1): _LEASE}
        assert late.leases._known == {("psu1", None): newer, ("psu1", 1): _LEASE}


@pytest.mark.parametrize("changes", [{"until": math.inf}, {"until": 1e300}, {"since": -1e300}, {"moment": -math.inf}])
def test_a_record_that_no_date_can_be_made_of_is_left_out(file: Path, changes: dict[str, float]) -> None:
    with opened(file) as first:
        first.leases.remember(("psu1", None), replace(_LEASE, **changes))  # type: ignore[arg-type]
        first.leases.remember(("psu1", 2), _LEASE)
    with opened(file) as second:
        assert second.leases.take_loaded() == {("psu1", 2): _LEASE}


def test_a_file_that_is_made_anew_gets_them_all(store: Store) -> None:
    store.leases.remember(("psu1", None), _LEASE)
    saved(store)
    store._database.connection.execute("DELETE FROM leases")
    store.leases.restart()
    store.leases.remember(("psu1", 2), _FREE)
    saved(store)
    rows = store._database.select("SELECT unit, channel, holder FROM leases ORDER BY channel")
    assert rows == [("psu1", 0, "ci-42"), ("psu1", 2, None)]


@pytest.mark.parametrize(
    ("boot", "now", "wall", "left"),
    [
        ("boot 1", 5000.0, 0.0, 60.0),  # within one boot the wall clock does not count
        ("boot 1", 5059.0, 9e9, 1.0),
        ("boot 1", 5061.0, 1000.0, -1.0),
        ("boot 2", 5.0, 1010.0, 50.0),
        ("boot 2", 5.0, 1100.0, -40.0),
        ("boot 2", 5.0, 10.0, 60.0),  # the clock was set back: never longer than it was given for
        ("", 5000.0, 1010.0, 50.0),
        ("boot 1", -1e6, 1010.0, 60.0),
    ],
)
def test_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, boot: str, now: float, wall: float, left: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: wall)
    assert math.isclose(_LEASE.left(boot, now), left)

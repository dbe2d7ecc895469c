"""Samples and messages that outlive a lost broker and a restart: none lost below the capacity, none doubled, in order."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.store import backlog as backlog_module
from agent.store import rows as rows_module
from agent.store.database import Database
from agent.store.part import Shared
from agent.store.rows import Row, Rows
from agent.store.store import Store
from tests.properties import examples
from tests.store.disk import Disk, fetched, fill, opened, payloads, saved


def test_samples_come_out_as_they_went_in(store: Store) -> None:
    fill(store, range(5))
    rows = fetched(store.backlog.samples, 0, 3)
    assert [(row.topic, row.payload) for row in rows] == [("t/0", b"0"), ("t/1", b"1"), ("t/2", b"2")]
    assert payloads(store, rows[-1].id) == [b"3", b"4"]
    store.backlog.remove_samples([rows[0].id, rows[2].id])
    assert payloads(store) == [b"1", b"3", b"4"]
    assert store.backlog.sample_count == 3
    saved(store)
    assert payloads(store) == [b"1", b"3", b"4"]
    assert store.backlog.sample_count == 3


def test_samples_and_messages_survive_a_restart(file: Path) -> None:
    with opened(file) as first:
        fill(first, range(3))
        first.backlog.add_messages([("t", b"m", b"\x00\xff"), ("u", b"n", None)])
    with opened(file) as second:
        assert (second.backlog.sample_count, second.backlog.message_count) == (3, 2)
        assert [row[1:] for row in fetched(second.backlog.messages)] == [("t", b"m", b"\x00\xff"), ("u", b"n", None)]
        fill(second, range(3, 4))
        assert payloads(second) == [b"0", b"1", b"2", b"3"]


def test_an_id_is_not_used_again(file: Path) -> None:
    """A reader who asks for what comes after the last id must not overlook what was added when the table was empty."""
    with opened(file) as first:
        fill(first, range(2))
        saved(first)
        rows = fetched(first.backlog.samples)
        first.backlog.remove_samples([row.id for row in rows])
        fill(first, range(2, 3))
        assert payloads(first, rows[-1].id) == [b"2"]
        saved(first)
        first.backlog.remove_samples([row.id for row in fetched(first.backlog.samples)])
    with opened(file) as second:
        fill(second, range(3, 4))
        assert fetched(second.backlog.samples)[0].id > rows[-1].id + 1


@pytest.mark.parametrize("step", [1, 130])
def test_of_too_many_the_oldest_go_and_are_counted(store: Store, step: int) -> None:
    for start in range(0, 130, step):
        fill(store, range(start, start + step))
        saved(store)
    assert (store.backlog.sample_count, store.backlog.dropped) == (100, 30)
    assert payloads(store)[0] == b"30"
    store.backlog.add_samples([("t", str(number).encode()) for number in range(1000, 1250)])
    saved(store)
    assert (store.backlog.sample_count, store.backlog.dropped) == (100, 280)
    assert payloads(store) == [str(number).encode() for number in range(1150, 1250)]


def test_a_capacity_of_nothing(file: Path) -> None:
    with opened(file, 0) as store:
        fill(store, range(3))
        assert (store.backlog.sample_count, store.backlog.dropped, payloads(store)) == (0, 3, [])


def test_a_smaller_capacity_after_a_restart(file: Path) -> None:
    with opened(file) as first:
        fill(first, range(50))
    with opened(file, 10) as second:
        fill(second, range(50, 51))
        saved(second)
        assert payloads(second) == [str(number).encode() for number in range(41, 51)]


def test_a_smaller_capacity_while_it_runs(store: Store) -> None:
    fill(store, range(50))
    saved(store)
    store.backlog.capacity = 10
    fill(store, range(50, 51))
    saved(store)
    assert payloads(store) == [str(number).encode() for number in range(41, 51)]
    assert store.backlog.dropped == 41


def test_what_was_dropped_while_it_was_on_its_way_is_not_missed(store: Store) -> None:
    fill(store, range(100))
    saved(store)
    on_their_way = [row.id for row in fetched(store.backlog.samples, 0, 50)]
    fill(store, range(100, 150))
    saved(store)
    store.backlog.remove_samples(on_their_way)
    assert store.backlog.sample_count == 100
    assert payloads(store)[0] == b"50"


def test_of_too_many_messages_the_oldest_go(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "MOST_MESSAGES", 5)
    with opened(file) as store:
        store.backlog.add_messages([("t", str(number).encode(), None) for number in range(8)])
        saved(store)
        rows = fetched(store.backlog.messages)
        assert [row.payload for row in rows] == [b"3", b"4", b"5", b"6", b"7"]
        assert store.backlog.message_count == 5
        assert store.backlog.dropped == 0
        store.backlog.remove_messages([row.id for row in rows])
        assert store.backlog.message_count == 0


def test_what_is_in_memory_alone_is_delivered_at_once(file: Path) -> None:
    store = Store(file, 100)  # its thread has not been started
    fill(store, range(3))
    answers: list[list[Row]] = []
    store.backlog.request_samples(0, 2, answers.append)
    store.backlog.request_samples(answers[0][-1].id, 2, answers.append)
    assert [[row.payload for row in rows] for rows in answers] == [[b"0", b"1"], [b"2"]]
    store.backlog.remove_samples([row.id for row in answers[0]])
    assert store.close(10)
    with opened(file) as second:
        assert payloads(second) == [b"2"]


def test_more_than_one_transaction(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST_IN_TRANSACTION", 7)
    with opened(file) as store:
        fill(store, range(50))
    with opened(file) as store:
        assert payloads(store) == [str(number).encode() for number in range(50)]
        store.backlog.remove_samples([row.id for row in fetched(store.backlog.samples, 0, 40)])
    with opened(file) as store:
        assert payloads(store) == [str(number).encode() for number in range(40, 50)]


def test_of_too_many_that_no_disk_takes_the_oldest_go_and_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MOST_QUEUED", 20)
    Disk(store, "BEGIN")
    fill(store, range(50))
    assert (store.backlog.sample_count, store.backlog.dropped) == (20, 30)
    assert payloads(store) == [str(number).encode() for number in range(30, 50)]
    monkeypatch.setattr(rows_module, "MOST_QUEUED_BYTES", 1000)
    store.backlog.add_messages([("t", b"x" * 300, None)] * 5)
    assert store.backlog.message_count == 3


def test_a_reader_beside_a_writer_gets_each_once_and_in_order(file: Path) -> None:
    with opened(file, 1_000_000) as store:

        def write() -> None:
            for number in range(3000):
                store.backlog.add_samples([("t", b"%d" % number)])

        writer = threading.Thread(target=write)
        writer.start()
        read: list[int] = []
        after = 0
        while len(read) < 3000:
            rows = fetched(store.backlog.samples, after, 70)
            read += [int(row.payload) for row in rows]
            after = rows[-1].id if rows else after
            store.backlog.remove_samples([row.id for row in rows])
        writer.join()
        assert read == list(range(3000))
        assert store.backlog.sample_count == 0
        saved(store)
        assert store._database.select("SELECT count(*) FROM samples") == [(0,)]


@examples(40)
class RowsMachine(RuleBasedStateMachine):
    """A table whose disk fails now and then, in the store's order of calls, against a list."""

    @initialize(capacity=st.integers(0, 12))
    def open(self, capacity: int) -> None:
        self.database = Database.__new__(Database)  # without a file
        self.database.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.database.connection.execute(
            "CREATE TABLE samples (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, payload BLOB)"
        )
        self.rows = Rows(Shared(), "samples", ("id", "topic", "payload"), capacity)
        self.rows.load(self.database)
        self.kept: list[int] = []  # the numbers that may still be there, oldest first
        self.added = 0
        self.known: dict[int, int] = {}  # id → number

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.connection.close()

    @rule(count=st.integers(1, 5))
    def add(self, count: int) -> None:
        numbers = range(self.added, self.added + count)
        self.rows.add([("t", b"%d" % number, None) for number in numbers])
        self.kept.extend(numbers)
        self.added += count

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.known:
            self.forget(data.draw(st.sampled_from(sorted(self.known))))

    def forget(self, number: int) -> None:
        self.rows.remove([number])
        self.kept.remove(self.known.pop(number))

    @rule(fails=st.booleans(), meanwhile=st.lists(st.integers(0, 20), max_size=3))
    def write(self, fails: bool, meanwhile: list[int]) -> None:
        if not self.rows.is_dirty:
            return
        self.database.connection.execute("BEGIN")
        self.rows.write(self.database.connection)
        for number in meanwhile:  # from another thread, while the disk is at it
            if number in self.known:
                self.forget(number)
        self.database.connection.execute("ROLLBACK" if fails else "COMMIT")
        self.rows.finish(not fails)

    @rule(after=st.integers(0, 20), limit=st.integers(1, 6))
    def read(self, after: int, limit: int) -> None:
        answers: list[list[Row]] = []
        self.rows.request(after, limit, answers.append)
        self.rows.answer(self.database)
        assert len(answers) == 1
        rows = answers[0]
        assert len(rows) <= limit
        ids = [row.id for row in rows]
        assert ids == sorted(set(ids))
        assert all(number > after for number in ids)
        for row in rows:
            self.known[row.id] = int(row.payload)
        found = [int(row.payload) for row in rows]
        assert set(found) <= set(self.kept)  # nothing that was removed comes again

    @invariant()
    def all_that_was_not_dropped_is_there(self) -> None:
        if not hasattr(self, "rows"):
            return
        answers: list[list[Row]] = []
        self.rows.request(0, 1000, answers.append)
        self.rows.answer(self.database)
        found = [int(row.payload) for row in answers[0]]
        assert found == sorted(set(found))
        missing = set(self.kept) - set(found)
        assert set(found) <= set(self.kept)
        # The missing ones have been counted.
        assert len(missing) <= self.rows.dropped
        if not self.rows.is_dirty:
            assert len(self.rows) == len(found) <= self.rows.capacity
        for row in answers[0]:
            self.known[row.id] = int(row.payload)


TestRowsMachine = RowsMachine.TestCase

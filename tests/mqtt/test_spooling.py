"""Messages go to the backlog and come back, each once and in order, at any time that the store delivers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import pytest

from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.mqtt.spooling import Spooling
from agent.store.backlog import Backlog
from agent.store.rows import Row


class Shelf:
    """A backlog that delivers when the test says so."""

    def __init__(self) -> None:
        self.samples: dict[int, Row] = {}
        self.messages: dict[int, Row] = {}
        self.requests: list[Callable[[], None]] = []
        self._last = 0

    def _add(self, rows: dict[int, Row], topic: str, payload: bytes, correlation: bytes | None) -> None:
        self._last += 1
        rows[self._last] = Row(self._last, topic, payload, correlation)

    def add_samples(self, samples: Sequence[tuple[str, bytes]]) -> None:
        for topic, payload in samples:
            self._add(self.samples, topic, payload, None)

    def add_messages(self, messages: Sequence[tuple[str, bytes, bytes | None]]) -> None:
        for message in messages:
            self._add(self.messages, *message)

    def remove_samples(self, ids: Iterable[int]) -> None:
        for number in ids:
            del self.samples[number]

    def remove_messages(self, ids: Iterable[int]) -> None:
        for number in ids:
            del self.messages[number]

    def _request(self, rows: dict[int, Row], after: int, limit: int, deliver: Callable[[list[Row]], None]) -> None:
        self.requests.append(lambda: deliver([row for row in rows.values() if row.id > after][:limit]))

    def request_samples(self, after: int, limit: int, deliver: Callable[[list[Row]], None]) -> None:
        self._request(self.samples, after, limit, deliver)

    def request_messages(self, after: int, limit: int, deliver: Callable[[list[Row]], None]) -> None:
        self._request(self.messages, after, limit, deliver)

    @property
    def sample_count(self) -> int:
        return len(self.samples)

    @property
    def message_count(self) -> int:
        return len(self.messages)

    def deliver(self) -> None:
        requests, self.requests = self.requests, []
        for request in requests:
            request()


class Bench:
    def __init__(self) -> None:
        self.shelf = Shelf()
        self.woken = 0
        self.spooling = Spooling(cast(Backlog, self.shelf), self.wake)
        self.now = 1000.0
        self.begin()

    def wake(self) -> None:
        self.woken += 1

    def begin(self) -> None:
        """A new connection."""
        self.outbox = Outbox()
        self.sent: list[Item] = []
        self.spooling.restart()

    def turn(self, seconds: float = 0.1) -> list[Item]:
        """Some time passes: what is sent then."""
        self.now += seconds
        before = len(self.sent)
        self.spooling.feed(self.outbox, self.now)
        self.outbox.send(self.publish, self.now)
        return self.sent[before:]

    def publish(self, item: Item) -> int:
        self.sent.append(item)
        return len(self.sent)

    def acknowledge(self, *items: Item) -> None:
        for item in items:
            assert self.outbox.acknowledged(self.sent.index(item) + 1, self.now) is item
            if item.row:
                self.spooling.acknowledged(item)
        self.spooling.settle()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def samples(*numbers: int) -> list[Item]:
    return [Item(Kind.STATE, "state", b"%d" % number, backlog_topic="backlog") for number in numbers]


def test_each_kind_goes_where_it_belongs(bench: Bench) -> None:
    bench.spooling.keep(
        [
            *samples(1),
            Item(Kind.KEEP, "info", b"{}"),
            Item(Kind.MESSAGE, "event", b"e"),
            Item(Kind.PASSING, "metrics", b"{}"),
            Item(Kind.RESPONSE, "response", b"r", b"correlation"),
        ]
    )
    assert [row[1:] for row in bench.shelf.samples.values()] == [("backlog", b"1", None)]
    assert [row[1:] for row in bench.shelf.messages.values()] == [
        ("event", b"e", None),
        ("response", b"r", b"correlation"),
    ]


def test_what_was_kept_is_asked_for_once_and_sent_when_it_comes(bench: Bench) -> None:
    bench.spooling.keep([*samples(1, 2), Item(Kind.MESSAGE, "event", b"e")])
    assert bench.turn() == []
    assert len(bench.shelf.requests) == 2
    assert bench.turn() == []
    assert len(bench.shelf.requests) == 2
    assert not bench.spooling.has_delivered
    bench.shelf.deliver()
    assert bench.spooling.has_delivered
    assert bench.woken == 2
    sent = bench.turn()
    assert [item.topic for item in sent] == ["event", "backlog", "backlog"]
    assert not any(item.retain for item in sent)
    bench.acknowledge(*sent)
    assert not bench.spooling.has_kept
    assert bench.turn() == []
    assert bench.shelf.requests == []


def test_more_than_one_request_takes(bench: Bench) -> None:
    bench.spooling.keep(samples(*range(1200)))
    got: list[int] = []
    for _ in range(100):
        sent = bench.turn()
        got += [int(item.payload) for item in sent]
        bench.acknowledge(*sent)
        bench.shelf.deliver()
    assert got == list(range(1200))


def test_what_an_older_connection_asked_for_is_not_taken(bench: Bench) -> None:
    bench.spooling.keep(samples(1, 2))
    bench.turn()
    late = bench.shelf.requests
    bench.shelf.requests = []
    bench.begin()
    bench.turn()
    for request in late:
        request()
    assert bench.turn() == []
    bench.shelf.deliver()
    assert [item.payload for item in bench.turn()] == [b"1", b"2"]


def test_what_was_not_acknowledged_is_sent_on_the_next_connection(bench: Bench) -> None:
    bench.spooling.keep(samples(1, 2, 3))
    bench.turn()
    bench.shelf.deliver()
    sent = bench.turn()
    bench.acknowledge(sent[1])
    bench.begin()
    bench.turn()
    bench.shelf.deliver()
    assert [item.payload for item in bench.turn()] == [b"1", b"3"]


def test_samples_that_the_broker_refuses_stay_and_are_tried_again_later(bench: Bench) -> None:
    bench.spooling.keep(samples(1, 2, 3))
    bench.turn()
    bench.shelf.deliver()
    sent = bench.turn()
    for item in sent:
        bench.outbox.acknowledged(bench.sent.index(item) + 1, bench.now)
        bench.spooling.refused(item, bench.outbox, bench.now)
    assert bench.shelf.sample_count == 3
    assert bench.turn(59) == []
    assert bench.shelf.requests == []
    assert bench.spooling.patience(bench.outbox, bench.now, 1.0) == 1.0
    bench.turn(2)
    bench.shelf.deliver()
    assert [item.payload for item in bench.turn()] == [b"1", b"2", b"3"]


def test_a_message_that_the_broker_refuses_is_dropped(bench: Bench) -> None:
    bench.spooling.keep([Item(Kind.RESPONSE, "response", b"r")])
    bench.turn()
    bench.shelf.deliver()
    (sent,) = bench.turn()
    bench.outbox.acknowledged(1, bench.now)
    bench.spooling.refused(sent, bench.outbox, bench.now)
    bench.spooling.settle()
    assert bench.shelf.message_count == 0


def test_a_store_that_delivers_less_than_it_counts_is_asked_again_in_a_while(bench: Bench) -> None:
    bench.spooling.keep(samples(1))
    kept = dict(bench.shelf.samples)
    bench.turn()
    bench.shelf.samples.clear()  # the disk can't be read
    bench.shelf.deliver()
    bench.shelf.samples.update(kept)
    assert bench.turn() == []
    assert bench.shelf.requests == []
    assert bench.spooling.patience(bench.outbox, bench.now, 1.0) == 1.0
    bench.turn(1.0)
    bench.shelf.deliver()
    assert [item.payload for item in bench.turn()] == [b"1"]


def test_the_rate_is_looked_at_often_while_it_holds_the_backlog_back(bench: Bench) -> None:
    assert bench.spooling.patience(bench.outbox, bench.now, 1.0) == 1.0
    bench.spooling.keep(samples(*range(300)))
    bench.turn()
    bench.shelf.deliver()
    sent = bench.turn()
    assert bench.spooling.patience(bench.outbox, bench.now, 1.0) == 1.0  # an acknowledgement will come
    bench.acknowledge(*sent)
    assert bench.spooling.patience(bench.outbox, bench.now, 1.0) < 0.1

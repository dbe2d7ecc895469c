"""The outbox: the order, the number in flight and the rest at the end, without a socket and at times that the test gives."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.mqtt import outbox as outbox_module
from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import BACKLOG_RATE, FEW, MOST_BACKLOG_IN_FLIGHT, Outbox
from tests.properties import examples


class Wire:
    """Takes what an outbox sends, under packet identifiers from 1 on."""

    def __init__(self) -> None:
        self.sent: list[Item] = []

    def publish(self, item: Item) -> int:
        self.sent.append(item)
        return len(self.sent)

    @property
    def topics(self) -> list[str]:
        return [item.topic for item in self.sent]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


def state(topic: str, number: int = 0) -> Item:
    return Item(Kind.STATE, topic, b"%d" % number, backlog_topic=f"{topic}/backlog")


def response(topic: str, *behind: str) -> Item:
    return Item(Kind.RESPONSE, topic, b"{}", behind=behind)


def event(topic: str) -> Item:
    return Item(Kind.MESSAGE, topic, b"{}")


def old(number: int) -> Item:
    return Item(Kind.STATE, "backlog", b"%d" % number, row=number)


def take(outbox: Outbox, *items: Item) -> list[Item]:
    return outbox.take(deque(items))


def test_states_go_before_responses_and_these_before_events(outbox: Outbox, wire: Wire) -> None:
    take(outbox, event("e"), response("r", "s1"), state("s1"), Item(Kind.KEEP, "info", b"{}"))
    outbox.put_backlog([old(1)])
    outbox.send(wire.publish, 100.0)
    assert wire.topics == ["s1", "info", "r", "e", "backlog"]
    assert [item.retain for item in wire.sent] == [True, True, False, False, False]
    assert {item.sent for item in wire.sent} == {100.0}


def test_responses_go_before_states_that_queue(outbox: Outbox, wire: Wire) -> None:
    take(outbox, *(state(f"s{number}") for number in range(FEW + 1)), event("e"), response("r", "s1"))
    outbox.send_responses(wire.publish, 100.0)
    assert wire.topics == []
    outbox.send(wire.publish, 100.0)
    assert wire.topics[:3] == ["r", "e", "s0"]
    assert len(wire.topics) == FEW + 3


def test_a_response_waits_for_the_states_of_its_own_channels_alone(outbox: Outbox, wire: Wire) -> None:
    take(outbox, state("s1", 1), state("s2"), state("s1", 2), response("r1", "s1"), state("s3"), response("r2", "s3"))
    outbox.send_responses(wire.publish, 100.0)
    assert wire.topics == ["s1", "s1", "r1", "s3", "r2"]
    assert [item.payload for item in wire.sent[:2]] == [b"1", b"2"]
    outbox.send(wire.publish, 100.0)
    assert wire.topics[5:] == ["s2"]


def test_the_window_is_kept(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 3
    take(outbox, *(state("s", number) for number in range(5)), response("r", "s"))
    outbox.send_responses(wire.publish, 100.0)
    assert wire.topics == []  # there is no room for the states and the response
    outbox.send(wire.publish, 100.0)
    assert (len(wire.sent), outbox.in_flight_count, outbox.live_count) == (3, 3, 2)
    assert outbox.acknowledged(2) is wire.sent[1]
    assert outbox.acknowledged(2) is None
    outbox.send(wire.publish, 101.0)
    assert len(wire.sent) == 4
    assert outbox.oldest_sent == 100.0
    for mid in (1, 3):
        outbox.acknowledged(mid)
    assert outbox.oldest_sent == 101.0
    outbox.send(wire.publish, 102.0)
    assert wire.topics == ["s"] * 5 + ["r"]
    for mid in (4, 5, 6):
        assert not outbox.is_idle
        outbox.acknowledged(mid)
    assert outbox.is_idle
    take(outbox, response("r", "s"), response("r", "s"))
    assert outbox.response_count == 2
    assert outbox.oldest_sent is None


def test_the_backlog_is_sent_at_a_rate_and_in_its_part_of_the_window(outbox: Outbox, wire: Wire) -> None:
    outbox.put_backlog([old(number) for number in range(1, 1001)])
    outbox.send(wire.publish, 100.0)
    assert len(wire.sent) == MOST_BACKLOG_IN_FLIGHT == outbox.backlog_in_flight
    assert outbox.is_idle  # the backlog has what is in flight
    for mid in range(1, 51):
        outbox.acknowledged(mid)
    outbox.send(wire.publish, 100.0)
    assert len(wire.sent) == 100  # the rate allows no more
    outbox.send(wire.publish, 100.0 + 10 / BACKLOG_RATE)
    assert 109 <= len(wire.sent) <= 110
    outbox.send(wire.publish, 200.0)
    assert len(wire.sent) == 150  # what was not used of the rate is not made up for, and 100 are in flight
    outbox.send(wire.publish, 201.0, backlog=False)
    assert len(wire.sent) == 150


def test_a_narrow_window_leaves_half_to_the_present(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 10
    outbox.put_backlog([old(number) for number in range(1, 50)])
    outbox.send(wire.publish, 100.0)
    assert outbox.in_flight_count == 5
    outbox.window = 1
    assert outbox.room_for_backlog(200.0) == 0


def test_a_backlog_that_is_refused_waits(outbox: Outbox, wire: Wire) -> None:
    outbox.put_backlog([old(1), old(2)])
    outbox.pause_backlog(160.0)
    assert not outbox.has_backlog
    outbox.put_backlog([old(1)])
    outbox.send(wire.publish, 159.0)
    assert wire.sent == []
    assert outbox.is_paused(159.0)
    outbox.send(wire.publish, 160.0)
    assert len(wire.sent) == 1


def test_the_oldest_of_too_many_states_are_handed_back(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MOST_LIVE", 10)
    info = Item(Kind.KEEP, "info", b"{}")
    items = [state("s", 0), info, *(state("s", number) for number in range(1, 10))]
    wire = Wire()
    overflow = take(outbox, *items)
    assert overflow == [item for item in items[:6] if item is not info]
    outbox.send(wire.publish, 0.0)
    assert wire.sent == [info, *items[6:]]


def test_what_was_not_acknowledged_is_left_at_the_end(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 4
    items = [state("s", 1), state("s", 2), event("e"), response("r")]
    take(outbox, *items)
    outbox.put_messages([Item(Kind.MESSAGE, "kept", b"", row=7)])
    outbox.put_backlog([old(1)])
    outbox.send(wire.publish, 0.0)
    outbox.acknowledged(1)
    assert outbox.undelivered() == [items[1], items[3], items[2]]
    assert outbox.undelivered() == []
    assert outbox.is_idle


@examples(100)
class OutboxMachine(RuleBasedStateMachine):
    """Messages come, are sent, acknowledged or cut off in any order: none is lost or doubled, and each topic keeps its order."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.outbox.window = 7
        self.wire = Wire()
        self.now = 100.0
        self.put: list[Item] = []
        self.handed_back: list[Item] = []
        self.in_flight: dict[int, Item] = {}
        self.acknowledged: list[Item] = []
        self.row = 0

    def publish(self, item: Item) -> int:
        mid = self.wire.publish(item)
        self.in_flight[mid] = item
        return mid

    @rule(
        what=st.lists(
            st.tuples(st.sampled_from([Kind.STATE, Kind.KEEP, Kind.MESSAGE, Kind.RESPONSE]), st.integers(1, 3)),
            max_size=30,
        )
    )
    def take(self, what: list[tuple[Kind, int]]) -> None:
        items = [
            Item(kind, f"{kind.name}/{channel}", b"", behind=(f"STATE/{channel}",) if kind is Kind.RESPONSE else ())
            for kind, channel in what
        ]
        self.put += items
        self.handed_back += self.outbox.take(deque(items))

    @rule(count=st.integers(1, 5))
    def put_backlog(self, count: int) -> None:
        items = [old(self.row + number) for number in range(1, count + 1)]
        self.row += count
        self.put += items
        self.outbox.put_backlog(items)

    @rule(passed=st.floats(0, 1), backlog=st.booleans())
    def send(self, passed: float, backlog: bool) -> None:
        self.now += passed
        self.outbox.send(self.publish, self.now, backlog=backlog)

    @rule()
    def send_responses(self) -> None:
        before = len(self.wire.sent)
        self.outbox.send_responses(self.publish, self.now)
        for number, item in enumerate(self.wire.sent[before:], before):
            if item.kind is Kind.RESPONSE:
                older = [s for s in self.put if s.topic in item.behind and self.put.index(s) < self.put.index(item)]
                done = [*self.wire.sent[:number], *self.handed_back]
                assert all(any(s is d for d in done) for s in older)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        mid = data.draw(st.sampled_from(sorted(self.in_flight)))
        item = self.in_flight.pop(mid)
        assert self.outbox.acknowledged(mid) is item
        self.acknowledged.append(item)

    @rule()
    def cut(self) -> None:
        left = self.outbox.undelivered()
        gone = {id(item) for item in (*self.acknowledged, *self.handed_back)}
        expected = [item for item in self.put if id(item) not in gone and not item.row]
        assert {id(item) for item in left} == {id(item) for item in expected}
        assert len(left) == len(expected)
        for kind in (Kind.STATE, Kind.MESSAGE):
            for channel in (1, 2, 3):
                topic = f"{kind.name}/{channel}"
                assert [i for i in left if i.topic == topic] == [i for i in expected if i.topic == topic]
        self.put, self.handed_back, self.acknowledged, self.in_flight = [], [], [], {}
        self.wire = Wire()
        self.outbox = Outbox()
        self.outbox.window = 7

    @invariant()
    def the_window_is_kept(self) -> None:
        assert self.outbox.in_flight_count == len(self.in_flight) <= 7
        assert self.outbox.backlog_in_flight == sum(item.row > 0 for item in self.in_flight.values()) <= 3

    @invariant()
    def each_is_sent_once_and_each_topic_in_order(self) -> None:
        sent = self.wire.sent
        assert len({id(item) for item in sent}) == len(sent)
        position = {id(item): number for number, item in enumerate(self.put)}
        newest: dict[str, int] = {}
        for item in sent:
            assert position[id(item)] > newest.get(item.topic, -1)
            newest[item.topic] = position[id(item)]


TestOutboxMachine = OutboxMachine.TestCase

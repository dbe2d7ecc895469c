"""Plain values on their way: the newest of each topic, again on each connection, and behind all that others wait for."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import settings as rules
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.mqtt.queues.values import MOST_IN_FLIGHT, ValueQueue
from agent.protocol.report import Report
from tests.lab import Observer, wait_until
from tests.mqtt.alone import Alone
from tests.mqtt.reports import state
from tests.properties import FUZZ

pytestmark = pytest.mark.usefixtures("quick")


def payloads(alone: Alone, topic: str) -> list[bytes]:
    return [message.payload for message in alone.observer.on(topic)]


def retained(alone: Alone) -> dict[str, bytes]:
    """What the broker keeps of plain values."""
    with_all = Observer(alone.observer_port, "psu/#")
    try:
        alone.session.keep("psu/end", b"1")
        wait_until(lambda: with_all.on("psu/end"), "the end")
        return {m.topic: m.payload for m in with_all.received if m.topic.startswith("psu/psu1/1/") and m.payload}
    finally:
        with_all.close()


def test_values_are_retained_and_one_that_is_empty_is_removed(alone: Alone) -> None:
    alone.start()
    alone.session.keep_values({"psu/psu1/1/voltage": b"5.0000", "psu/psu1/1/output": b"ON"})
    wait_until(lambda: payloads(alone, "psu/psu1/1/output") == [b"ON"], "the values")
    alone.session.keep_values({"psu/psu1/1/voltage": b""})
    wait_until(lambda: payloads(alone, "psu/psu1/1/voltage") == [b"5.0000", b""], "the removal")
    assert retained(alone) == {"psu/psu1/1/output": b"ON"}


def test_a_broker_that_comes_back_gets_the_newest_of_each(alone: Alone) -> None:
    alone.start()
    alone.session.keep_values({"psu/psu1/1/voltage": b"1.0", "psu/psu1/1/current": b"1.0", "psu/psu1/1/mode": b"CV"})
    wait_until(lambda: payloads(alone, "psu/psu1/1/mode"), "the values")
    alone.lost()
    for number in range(5):
        alone.session.keep_values({"psu/psu1/1/voltage": b"%d.0" % number})
    alone.session.keep_values({"psu/psu1/1/current": b""})
    alone.session.forget("psu/psu1/1/mode")
    alone.reconnected()
    wait_until(lambda: b"" in payloads(alone, "psu/psu1/1/current"), "the removal")
    wait_until(lambda: payloads(alone, "psu/psu1/1/voltage") == [b"1.0", b"4.0"], "the newest and no other")
    assert payloads(alone, "psu/psu1/1/mode") == [b"CV"]  # it is another agent's now, and stays
    assert alone.store.backlog.sample_count == alone.store.backlog.message_count == 0


def test_values_that_wait_are_delivered_before_the_end(alone: Alone) -> None:
    alone.start()
    topics = [f"psu/psu1/{number}/voltage" for number in range(300)]
    alone.session.keep_values(dict.fromkeys(topics, b"5.0000"))
    assert alone.session.stop(10)
    wait_until(lambda: all(alone.observer.count(topic) for topic in topics), "all of them")


def test_states_go_ahead_of_a_thousand_values(alone: Alone) -> None:
    """They came later, and the connection begins with both."""
    alone.session.keep_values({f"psu/psu1/{number}/voltage": b"5.0000" for number in range(1000)})
    alone.session.report(Report(states=[state(1, index) for index in range(1, 10)]))
    alone.start()
    observer = alone.observer
    wait_until(lambda: observer.count("psu/psu1/999/voltage"), "the last value")
    order = [message.topic for message in observer.received]
    first = next(place for place, topic in enumerate(order) if topic.endswith("/voltage"))
    assert sum(topic.endswith("/state") for topic in order[:first]) == 9


class Machine(RuleBasedStateMachine):
    """Threads put and forget, the session sends, and brokers come, go and forget: in the end a broker has the newest."""

    TOPICS = st.sampled_from(["a", "b", "c", "d"])

    def __init__(self) -> None:
        super().__init__()
        self.queue = ValueQueue()
        self.wanted: dict[str, bytes] = {}
        self.forgotten: set[str] = set()
        self.broker: dict[str, bytes] = {}
        self.flying: list[Item] = []

    @rule(topic=TOPICS, payload=st.sampled_from([b"", b"1", b"2"]))
    def put(self, topic: str, payload: bytes) -> None:
        self.queue.put({topic: payload})
        self.wanted[topic] = payload
        self.forgotten.discard(topic)

    @rule(topic=TOPICS)
    def forget(self, topic: str) -> None:
        self.queue.forget(topic)
        self.wanted.pop(topic, None)
        self.forgotten.add(topic)

    @rule(room=st.integers(0, 3))
    def send(self, room: int) -> None:
        taken = self.queue.take(room)
        assert len(taken) + len(self.flying) <= max(room, len(self.flying))
        assert not {item.topic for item in taken} & self.forgotten
        self.flying += taken
        assert not self.queue.has_news

    @rule(was_taken=st.booleans())
    def answer(self, was_taken: bool) -> None:
        if self.flying:
            item = self.flying.pop(0)
            if was_taken:
                self.broker[item.topic] = item.payload
            self.queue.ended(item, was_taken=was_taken)

    @rule(loses=st.booleans())
    def reconnect(self, loses: bool) -> None:
        if loses:
            self.broker.clear()
        self.flying.clear()
        self.queue.begin_connection()

    @rule()
    def repeat(self) -> None:
        self.queue.repeat()

    @rule()
    def settle(self) -> None:
        self.reconnect(loses=True)
        while self.queue.waits or self.flying:
            self.send(3)
            self.answer(True)
        told = {topic: payload for topic, payload in self.broker.items() if payload}
        assert told == {topic: payload for topic, payload in self.wanted.items() if payload}

    @invariant()
    def nobody_stays_awake_for_nothing(self) -> None:
        assert not self.queue.has_news or self.queue.waits

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.flying) <= MOST_IN_FLIGHT


Machine.TestCase.settings = rules(max_examples=FUZZ or 100, stateful_step_count=30, deadline=None)
test_any_order = Machine.TestCase


def test_a_removal_that_is_wanted_twice_is_sent_twice() -> None:
    queue = ValueQueue()
    queue.put({"a": b""})
    [first] = queue.take(1)
    queue.put({"a": b""})
    queue.ended(first, was_taken=True)
    [second] = queue.take(1)
    queue.ended(second, was_taken=True)
    queue.begin_connection()
    assert not queue.waits


def test_while_states_wait_there_is_no_room_for_values() -> None:
    outbox, numbers, sent = Outbox(), itertools.count(1), []

    def publish(item: Item) -> int:
        sent.append(next(numbers))
        return sent[-1]

    outbox.window = 2
    outbox.take(deque(Item(Kind.STATE, f"psu/psu1/{index}/state", b"", made=0.0) for index in range(4)), 0.0)
    outbox.send(publish, 0.0)
    assert outbox.room_for_values(0.0) == 0
    while outbox.in_flight_count:
        outbox.acknowledged(sent.pop(0), 0.0)
        outbox.send(publish, 0.0)
    assert outbox.room_for_values(0.0) > 0


def test_what_is_no_value_does_not_count() -> None:
    queue = ValueQueue()
    queue.put({"a": b"1"})
    queue.ended(Item(Kind.KEEP, "a", b"1"), was_taken=False)
    assert [item.topic for item in queue.take(1)] == ["a"]
    queue.ended(Item(Kind.VALUE, "a", b"1"), was_taken=False)
    assert not queue.waits

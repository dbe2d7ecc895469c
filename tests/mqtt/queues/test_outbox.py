"""The outbox: the order, the number in flight and the rest at the end, without a socket and at times that the test gives."""

from __future__ import annotations

from collections import deque

import pytest

from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import BACKLOG_RATE, FEW, MOST_BACKLOG_IN_FLIGHT, MOST_LATE, Outbox
from agent.mqtt.queues.live import LATE
from agent.mqtt.queues.pace import ALWAYS, FIRST_SHARE, SLACK
from agent.store.rows import Row

#: The moment (s) at which most of it happens.
NOW = 100.0


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


def state(topic: str, number: int = 0, made: float = NOW) -> Item:
    return Item(Kind.STATE, topic, b"%d" % number, backlog_topic=f"{topic}/backlog", made=made)


def response(topic: str, *behind: str) -> Item:
    return Item(Kind.RESPONSE, topic, b"{}", behind=behind)


def event(topic: str) -> Item:
    return Item(Kind.MESSAGE, topic, b"{}")


def old(number: int) -> Item:
    return Item.from_row(Kind.STATE, Row(number, "backlog", b"%d" % number, None))


def take(outbox: Outbox, *items: Item) -> None:
    outbox.take(deque(items), NOW)


def acknowledge_all(outbox: Outbox, now: float) -> None:
    for mid in list(outbox._in_flight):
        outbox.acknowledged(mid, now)


def test_states_go_before_responses_and_these_before_events(outbox: Outbox, wire: Wire) -> None:
    take(outbox, event("e"), response("r", "s1"), state("s1"), Item(Kind.KEEP, "info", b"{}"))
    outbox.put_backlog([old(1)])
    outbox.send(wire.publish, NOW)
    assert wire.topics == ["s1", "info", "r", "e", "backlog"]
    assert [item.retain for item in wire.sent] == [True, True, False, False, False]
    assert {item.sent for item in wire.sent} == {NOW}


def test_responses_go_before_many_states_but_not_before_those_that_they_tell_of(outbox: Outbox, wire: Wire) -> None:
    take(outbox, *(state(f"s{number}") for number in range(FEW + 1)), event("e"), response("r", "s7", "s9"))
    outbox.send_responses(wire.publish, NOW)
    assert wire.topics == []
    outbox.send(wire.publish, NOW)
    assert wire.topics[:7] == ["s7", "s9", "r", "s0", "s1", "s2", "e"]
    assert len(wire.topics) < FEW  # more as soon as it is known that the link takes them
    while outbox.in_flight_count:
        acknowledge_all(outbox, NOW)
        outbox.send(wire.publish, NOW)
    assert len(wire.topics) == FEW + 3


def test_a_response_waits_for_the_states_of_its_own_channels_alone(outbox: Outbox, wire: Wire) -> None:
    early = [state("s1", 1), state("s2"), state("s1", 2)]
    take(outbox, *early, response("r1", "s1"), state("s3"), state("s1", 3), response("r2", "s3"))
    outbox.send_responses(wire.publish, NOW)
    assert wire.topics == ["s1", "s1", "r1", "s3", "r2"]
    assert [item.payload for item in wire.sent[:2]] == [b"1", b"2"]
    outbox.send(wire.publish, NOW)
    assert [(item.topic, item.payload) for item in wire.sent[5:]] == [("s2", b"0"), ("s1", b"3")]


def test_the_window_is_kept(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 3
    take(outbox, *(state("s", number) for number in range(5)), response("r", "s"))
    outbox.send(wire.publish, NOW)
    assert (len(wire.sent), outbox.in_flight_count, outbox.live_count) == (3, 3, 2)
    outbox.send_responses(wire.publish, NOW)
    assert len(wire.sent) == 3
    assert outbox.acknowledged(2, NOW) is wire.sent[1]
    assert outbox.acknowledged(2, NOW) is None
    outbox.send(wire.publish, NOW + 0.05)
    assert len(wire.sent) == 4
    assert outbox.oldest_sent == NOW
    for mid in (1, 3):
        outbox.acknowledged(mid, NOW + 0.05)
    assert outbox.oldest_sent == NOW + 0.05
    outbox.send(wire.publish, NOW + 0.1)
    assert sorted(wire.topics) == ["r", *["s"] * 5]
    for mid in (4, 5, 6):
        assert not outbox.is_idle
        outbox.acknowledged(mid, NOW + 0.1)
    assert outbox.is_idle
    take(outbox, response("r", "s"), response("r", "s"))
    assert outbox.response_count == 2
    assert outbox.oldest_sent is None


def test_a_unit_wide_response_with_more_states_than_the_window_has_room_for(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 1
    take(outbox, state("s1"), state("s2"), state("s3"), response("r", "s1", "s2", "s3"))
    for mid in range(1, 5):
        outbox.send(wire.publish, NOW)
        take(outbox, state("s1", mid), state("s2", mid))  # news never end
        assert outbox.acknowledged(mid, NOW) is wire.sent[-1]
    assert wire.topics == ["s1", "s2", "s3", "r"]


def test_the_backlog_is_sent_at_a_rate_and_in_its_part_of_the_window(outbox: Outbox, wire: Wire) -> None:
    outbox.put_backlog([old(number) for number in range(1, 5001)])
    outbox.send(wire.publish, NOW)
    assert len(wire.sent) == FIRST_SHARE == outbox.backlog_in_flight == outbox.rows_in_flight
    assert outbox.is_idle  # the backlog has what is in flight
    now = NOW
    for _ in range(20):  # more as long as it comes through in time
        acknowledge_all(outbox, now)
        now += 1
        outbox.send(wire.publish, now)
    assert outbox.backlog_in_flight == MOST_BACKLOG_IN_FLIGHT
    sent = len(wire.sent)
    for mid in range(sent - 99, sent - 49):
        outbox.acknowledged(mid, now)
    outbox.send(wire.publish, now)
    assert len(wire.sent) == sent  # the rate allows no more
    outbox.send(wire.publish, now + 10 / BACKLOG_RATE)
    assert 9 <= len(wire.sent) - sent <= 10
    outbox.send(wire.publish, now + 0.1)
    assert len(wire.sent) - sent == 50  # what was not used of the rate is not made up for, and 100 are in flight
    outbox.send(wire.publish, now + 0.2, backlog=False)
    assert len(wire.sent) - sent == 50


def test_a_link_that_the_backlog_fills_is_given_less_of_it(outbox: Outbox, wire: Wire) -> None:
    outbox.put_backlog([old(number) for number in range(1, 1001)])
    outbox.send(wire.publish, NOW)
    outbox.acknowledged(1, NOW + 0.01)
    for mid in range(2, 11):
        outbox.acknowledged(mid, NOW + 10)
    outbox.send(wire.publish, NOW + 10)
    assert outbox.backlog_in_flight == 1


def test_a_narrow_window_leaves_half_to_the_present(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 10
    outbox.put_backlog([old(number) for number in range(1, 50)])
    outbox.send(wire.publish, NOW)
    assert outbox.in_flight_count == 5
    outbox.window = 1
    assert outbox.room_for_backlog(200.0) == 0


def test_the_backlog_waits_while_states_do(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 4
    outbox.put_backlog([old(1)])
    take(outbox, *(state(f"s{number}") for number in range(6)))
    outbox.send(wire.publish, NOW)
    outbox.acknowledged(1, NOW)
    outbox.send(wire.publish, NOW)
    assert "backlog" not in wire.topics
    acknowledge_all(outbox, NOW)
    outbox.send(wire.publish, NOW)
    assert wire.topics == [*(f"s{number}" for number in range(6)), "backlog"]


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


def test_states_that_wait_too_long_leave_their_place_to_newer_ones(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 2
    take(outbox, state("x"), state("y"), state("s1", 1), state("s2", 1), state("s1", 2), state("s1", 3))
    outbox.send(wire.publish, NOW)
    outbox.send(wire.publish, NOW + LATE / 2)
    assert (outbox.live_count, outbox.late_count, outbox.is_late) == (4, 0, False)  # they need not be late
    later = NOW + 2 * LATE
    outbox.send(wire.publish, later)
    assert (outbox.live_count, outbox.late_count, outbox.is_late) == (2, 2, True)
    take(outbox, state("s2", 2, later), state("s3", 1, later), state("s1", 4, later))
    for mid in (1, 2):
        outbox.acknowledged(mid, later)
    outbox.send(wire.publish, later)
    assert [(item.topic, item.payload) for item in wire.sent[2:]] == [("s1", b"4"), ("s2", b"2")]
    for mid in (3, 4):
        outbox.acknowledged(mid, later)
    outbox.send(wire.publish, later)
    late = wire.sent[5:]
    assert wire.topics[4] == "s3"
    assert [(item.topic, item.payload, item.retain) for item in late] == [
        ("s1/backlog", b"1", False)
    ]  # half the window
    assert not outbox.is_late
    for mid in (5, 6):
        outbox.acknowledged(mid, later)
    for number in range(3):
        outbox.send(wire.publish, later + 1 + number)
        acknowledge_all(outbox, later + 1 + number)
    assert [(item.topic, item.payload) for item in wire.sent[6:]] == [
        ("s1/backlog", b"2"),
        ("s2/backlog", b"1"),
        ("s1/backlog", b"3"),
    ]


def test_retained_messages_of_a_new_connection_leave_their_place_to_states(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 1
    outbox.put_retained([Item(Kind.KEEP, topic, b"old") for topic in ("x", "s1", "s2")], NOW)
    later = NOW + 2 * LATE
    outbox.send(wire.publish, NOW)
    outbox.send(wire.publish, later)
    take(outbox, state("s1", 7, later))
    for mid in (1, 2):
        outbox.acknowledged(mid, later)
        outbox.send(wire.publish, later)
    assert [item.payload for item in wire.sent] == [b"old", b"7", b"old"]
    assert outbox.late_count == 0  # the sample was published, or is in the backlog


def test_a_link_is_given_as_many_messages_as_it_passes_on_in_time(outbox: Outbox, wire: Wire) -> None:
    """A broker without a Receive Maximum, on a link that takes few bytes a second."""
    take(outbox, *(state(f"s{number}") for number in range(200)))
    outbox.send(wire.publish, NOW)
    assert outbox.in_flight_count == ALWAYS
    for mid in range(1, ALWAYS + 1):
        outbox.acknowledged(mid, NOW + 0.01)
    outbox.send(wire.publish, NOW + 0.01)
    wide = outbox.in_flight_count
    assert wide > 1.3 * ALWAYS
    late = NOW + 0.01 + 0.02 + SLACK + 0.01
    outbox.acknowledged(ALWAYS + 1, late)
    take(outbox, response("r", "s199"), event("e"))
    outbox.send(wire.publish, late)
    assert wire.topics[ALWAYS + wide :] == ["s199", "r", "e"]  # these are few, and somebody waits for them
    for mid in range(ALWAYS + 2, 2 * ALWAYS):
        outbox.acknowledged(mid, late)
    outbox.send(wire.publish, late)
    assert outbox.in_flight_count == ALWAYS


def test_a_message_that_is_never_acknowledged_does_not_stop_the_others(outbox: Outbox, wire: Wire) -> None:
    take(outbox, *(state(f"s{number}") for number in range(ALWAYS)))
    outbox.send(wire.publish, NOW)
    for second in range(1, 30):
        now = NOW + second
        take(outbox, state("t", second, now))
        outbox.send(wire.publish, now)
        if wire.topics[-1] == "t":
            outbox.acknowledged(len(wire.sent), now)
    assert wire.topics.count("t") > 15


def test_superseded_samples_go_to_the_store_where_they_are_many(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 1
    take(outbox, state("s", 0, NOW - 2 * LATE), state("s", 1, NOW - 2 * LATE), state("x", 0, NOW - LATE))
    outbox.send(wire.publish, NOW)
    take(outbox, *(state("s", number, NOW + number) for number in range(2, MOST_LATE + 2)))
    assert (outbox.late_count, outbox.take_overflow()) == (MOST_LATE, [])
    take(outbox, state("s", MOST_LATE + 2, NOW + MOST_LATE + 2))
    # The others are newer than one in flight, and the connection may break.
    assert [int(item.payload) for item in outbox.take_overflow()] == [0]
    take(outbox, state("s", MOST_LATE + 3, NOW + MOST_LATE + 3))
    outbox.acknowledged(1, NOW)
    overflow = outbox.take_overflow()
    assert [int(item.payload) for item in overflow] == list(range(2, MOST_LATE // 2 + 3))
    assert outbox.late_count == MOST_LATE // 2


def test_superseded_samples_wait_for_those_that_the_store_has(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 2
    outbox.store_goes_first = True
    take(outbox, state("s", 2, NOW - 1), state("s", 3, NOW - 1))
    outbox.send(wire.publish, NOW)
    acknowledge_all(outbox, NOW)
    outbox.put_backlog([old(1)])
    outbox.send(wire.publish, NOW)
    acknowledge_all(outbox, NOW)
    outbox.send(wire.publish, NOW + 1)
    assert [item.payload for item in wire.sent] == [b"3", b"1"]
    outbox.store_goes_first = False
    outbox.send(wire.publish, NOW + 2)
    assert wire.topics[2:] == ["s/backlog"]


def test_the_last_message_goes_ahead_of_all_that_waits(outbox: Outbox, wire: Wire) -> None:
    """An agent's `offline`: behind it comes DISCONNECT, after which the broker does not publish the will."""
    outbox.window = 2
    take(outbox, *(state(f"s{number}") for number in range(9)))
    outbox.send(wire.publish, NOW)
    outbox.send_last(wire.publish, Item(Kind.KEEP, "status", b"offline"), NOW)
    assert wire.topics == ["s0", "s1", "status"]
    assert len(outbox.undelivered()) == 10


def test_the_largest_age_of_a_state_is_known(outbox: Outbox, wire: Wire) -> None:
    take(outbox, state("s1", 0, NOW - 3), state("s2", 0, NOW - 2))
    outbox.send(wire.publish, NOW)
    assert outbox.state_age == 3


def test_what_was_not_acknowledged_is_left_at_the_end(outbox: Outbox, wire: Wire) -> None:
    outbox.window = 4
    items = [state("s", 1), state("s", 2), event("e"), response("r")]
    take(outbox, *items)
    outbox.put_messages([Item(Kind.MESSAGE, "kept", b"", row=7)])
    outbox.put_backlog([old(1)])
    outbox.send(wire.publish, 0.0)
    outbox.acknowledged(1, 0.0)
    assert outbox.undelivered() == [items[1], items[3], items[2]]
    assert outbox.undelivered() == []
    assert outbox.is_idle


def test_the_samples_of_a_channel_are_left_in_their_order(outbox: Outbox, wire: Wire) -> None:
    """Those that were superseded may be older or newer than one in flight."""
    outbox.window = 2
    items = [state("s", number, NOW - 1 + number / 10) for number in range(6)]
    outbox.take(deque(items[:3]), NOW)
    outbox.send(wire.publish, NOW)
    outbox.take(deque(items[3:]), NOW)
    outbox.send(wire.publish, NOW)
    assert outbox.in_flight_count == 2
    assert outbox.undelivered() == items

"""A report becomes messages, and a new connection begins with the newest of each topic."""

from __future__ import annotations

import threading

from agent.mqtt.inbox import MessageQueue, items_of
from agent.mqtt.item import Item, Kind
from agent.protocol.report import ReplyTo, Report
from agent.protocol.topics import Topics
from tests.mqtt.reports import event, info, response, state

TOPICS = Topics("psu")


def test_a_report_becomes_messages_in_its_order() -> None:
    report = Report(info=info(), states=[state(1), state(1, 2)], events=[event(2)], response=response("a", 2))
    items = items_of(report, TOPICS, 1.0)
    assert [(item.kind, item.topic) for item in items] == [
        (Kind.KEEP, "psu/psu1/info"),
        (Kind.STATE, "psu/psu1/1/state"),
        (Kind.STATE, "psu/psu1/2/state"),
        (Kind.KEEP, "psu/psu1/status"),
        (Kind.MESSAGE, "psu/psu1/2/event"),
        (Kind.RESPONSE, "psu/psu1/2/response"),
    ]
    assert items[1].backlog_topic == "psu/psu1/1/backlog"
    assert items[3].payload == b"online"
    assert items[5].behind == ("psu/psu1/2/state",)


def test_offline_is_told_ahead_of_the_states_in_which_nothing_is_known() -> None:
    items = items_of(Report(info=info(online=False), states=[state(1)]), TOPICS, 1.0)
    assert [item.topic for item in items] == ["psu/psu1/info", "psu/psu1/status", "psu/psu1/1/state"]
    assert items[1].payload == b"offline"


def test_a_response_goes_where_its_sender_wants_it() -> None:
    (item,) = items_of(Report(response=response("a"), reply_to=ReplyTo("clients/x", b"42")), TOPICS, 1.0)
    assert (item.topic, item.correlation) == ("clients/x", b"42")


def test_a_response_for_a_unit_follows_the_states_of_all_its_channels() -> None:
    whole = response("a", None, result=[state(1), state(1, 3)])
    (item,) = items_of(Report(response=whole), TOPICS, 1.0)
    assert item.topic == "psu/psu1/response"
    assert item.behind == ("psu/psu1/1/state", "psu/psu1/3/state")


def test_a_new_connection_begins_with_the_newest_of_each_topic() -> None:
    inbox = MessageQueue()
    inbox.put(items_of(Report(info=info(), states=[state(1), state(2)], events=[event()]), TOPICS, 1.0))
    inbox.put([Item(Kind.PASSING, "metrics", b"")])
    older, present = inbox.begin_connection()
    assert [item.topic.rsplit("/", 1)[-1] for item in older] == ["info", "state", "state", "status", "event", "metrics"]
    assert [item.topic for item in present] == ["psu/psu1/info", "psu/psu1/1/state", "psu/psu1/status"]
    assert {item.kind for item in present} == {Kind.KEEP}
    assert present[1].payload == older[2].payload
    assert not inbox.items


def test_a_removal_is_pending_until_a_broker_has_confirmed_it() -> None:
    inbox = MessageQueue()
    assert not inbox.is_pending("t")
    inbox.put([Item(Kind.KEEP, "t", b"x")])
    removal = Item(Kind.KEEP, "t", b"")
    inbox.put([removal])
    assert inbox.is_pending("t")
    again = Item(Kind.KEEP, "t", b"y")
    inbox.put([again])
    inbox.confirmed(removal)  # something newer stands there
    assert inbox.is_pending("t")
    inbox.confirmed(again)
    assert not inbox.is_pending("t")


def test_a_topic_that_is_another_agents_takes_messages_that_are_not_retained_alone() -> None:
    """An agent that has yielded a name says so on the topic of the info, and forgets the topic once more when its link ends."""
    inbox = MessageQueue()
    inbox.put(items_of(Report(info=info(), states=[state(1)], events=[event()]), TOPICS, 1.0))
    inbox.put([Item(Kind.PASSING, "psu/psu1/info", b"it yields")])
    for topic in ("psu/psu1/status", "psu/psu1/info", "psu/psu1/1/state"):
        inbox.forget(topic)
        assert not inbox.is_pending(topic)
    older, present = inbox.begin_connection()
    assert [(item.topic, item.kind) for item in older] == [
        ("psu/psu1/1/event", Kind.MESSAGE),
        ("psu/psu1/info", Kind.PASSING),
    ]
    assert not present


def test_nothing_goes_back_in_time_or_is_lost_while_connections_begin() -> None:
    """Of each topic, what is told on a connection is what is present, and then what is put in later."""
    inbox = MessageQueue()
    topics = [f"t{number}" for number in range(3)]

    def put(topic: str) -> None:
        for number in range(1, 2001):
            inbox.put([Item(Kind.KEEP, topic, b"%d" % number)])

    threads = [threading.Thread(target=put, args=(topic,)) for topic in topics]
    for thread in threads:
        thread.start()
    told: dict[str, int] = {}
    last_round = False
    while not last_round:
        last_round = not any(thread.is_alive() for thread in threads)
        _, present = inbox.begin_connection()
        later = [inbox.items.popleft() for _ in range(len(inbox.items))]
        for item in (*present, *later):
            number = int(item.payload)
            assert number >= told.get(item.topic, 0)
            told[item.topic] = number
    assert told == dict.fromkeys(topics, 2000)

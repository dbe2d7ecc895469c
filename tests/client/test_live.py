"""What a program is told of the fleet, by messages in the order in which a broker may send them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import cast

import pytest

from agent.client import ChannelClient, OfflineError, live
from agent.client.commanding import Commander
from agent.client.connection import LinkChange, Message
from agent.client.live import LiveFleet
from agent.client.request import Target
from agent.client.shared import SharedClient
from agent.protocol.topics import Topics
from tests.client.test_fleet import info, state

STATE = Message("psu/psu1/1/state", state("psu1", 1), retain=True)
STATUS = Message("psu/psu1/status", b"online", retain=True)
INFO = Message("psu/psu1/info", info("psu1"), retain=True)


def agent(status: bytes) -> Message:
    return Message("psu/agents/bench/status", status, retain=True)


class Connection:
    """A connection that there is. ``subscribed``, ``published``: called at the end of each subscription and publication."""

    retains = True

    def __init__(self) -> None:
        self.topics = Topics("psu")
        self.subscribed: Callable[[Iterable[str]], None] = lambda _: None
        self.published: Callable[[], None] = lambda: None

    def check(self) -> None:
        pass

    def subscribe(self, filters: Iterable[str], qos: int = 0) -> None:
        self.subscribed(filters)

    def publish(self, *_: object, **__: object) -> float:
        self.published()
        return 0.0


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def fleet(connection: Connection) -> LiveFleet:
    return LiveFleet(cast("SharedClient", connection))


def test_a_feed_gives_no_last_value_of_an_agent_that_died_while_the_connection_was_lost(fleet: LiveFleet) -> None:
    for message in (agent(b"online"), STATUS, INFO, STATE):
        fleet.handle(message)
    feed = fleet.feed_states(None)
    fleet.handle(LinkChange("gone"))
    fleet.handle(LinkChange(None))
    for message in (agent(b"offline"), STATUS, INFO, STATE):
        fleet.handle(message)
    feed.close()
    assert [(told.online, told.voltage) for told in feed] == [(True, 4.9998), (False, None), (False, None)]


def test_a_feed_gives_the_state_once_it_is_known_that_the_unit_is_there(fleet: LiveFleet) -> None:
    """A broker may send what is retained in any order."""
    feed = fleet.feed_states(None)
    for message in (STATE, INFO, agent(b"online"), STATUS):
        fleet.handle(message)
    feed.close()
    assert next(reversed(list(feed))).online


def test_a_supply_that_has_told_no_channels_yet_is_waited_for(fleet: LiveFleet, connection: Connection) -> None:
    """As of one that had no power since the agent started."""
    for message in (agent(b"online"), STATUS, Message("psu/psu1/info", info("psu1", channels=[]), retain=True)):
        fleet.handle(message)
    channel = ChannelClient(Commander(cast("SharedClient", connection), fleet, "me"), Target("psu1", "1"))
    with pytest.raises(OfflineError):
        channel.info()
    connection.published = lambda: fleet.handle(Message("psu/psu1/1/state", state("psu1", 1)))
    assert channel.wait(lambda told: told.state is not None).online


def test_what_is_retained_is_waited_for_from_the_brokers_answer_on(
    fleet: LiveFleet, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a link with a quarter of a second there and back nothing was known of any unit."""
    monkeypatch.setattr(live, "QUIET", 2.0)

    def slowly(filters: Iterable[str]) -> None:
        threading.Event().wait(2.1)
        if connection.topics.state("+", "+") in filters:
            threading.Timer(0.05, fleet.handle, [STATE]).start()

    connection.subscribed = slowly
    assert [told.index for told in fleet.states()] == [1]

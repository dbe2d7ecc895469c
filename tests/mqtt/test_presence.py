"""Since when the broker has been gone, and who is told."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.mqtt.broker.abilities import Abilities
from agent.mqtt.connection import Connection
from agent.mqtt.item import Item
from agent.mqtt.presence import SILENCE, Presence
from agent.protocol.report import ReplyTo, Report
from agent.timing import system_clock
from tests.mqtt.alone import Alone
from tests.mqtt.reports import response
from tests.properties import examples

ENOUGH = 5.0


@pytest.fixture
def told() -> list[float | None]:
    return []


@pytest.fixture
def presence(told: list[float | None]) -> Presence:
    presence = Presence(100.0)
    presence.listen(told.append)
    presence.tell()
    return presence


def test_it_is_gone_until_it_is_found(presence: Presence, told: list[float | None]) -> None:
    assert (presence.gone_since, presence.connected) == (100.0, False)
    presence.found(110.0, ENOUGH)
    assert presence.gone_since is None
    assert presence.connected
    presence.lost(130.0, 120.0)
    assert presence.gone_since == 120.0
    assert not presence.connected
    presence.found(131.0, ENOUGH)
    assert told == [100.0, None, 120.0, None]


def test_a_connection_that_does_not_last_does_not_end_the_loss(presence: Presence, told: list[float | None]) -> None:
    for start in (101.0, 104.0, 107.0):
        presence.found(start, ENOUGH)
        presence.watch(start + 1.0, 0.0, start + 1.0)
        assert presence.gone_since is None
        presence.lost(start + 2.0, start + 1.0)
        assert presence.gone_since == 100.0
    presence.found(110.0, ENOUGH)
    presence.lost(110.0 + ENOUGH, 110.0 + ENOUGH)
    assert presence.gone_since == 110.0 + ENOUGH
    assert told == [100.0, None] * 4 + [115.0]


def test_a_broker_that_is_silent_is_gone_though_it_is_connected(presence: Presence, told: list[float | None]) -> None:
    presence.found(110.0, ENOUGH)
    presence.watch(120.0, 0.0, 110.0)  # nothing is due
    presence.watch(120.0, SILENCE, 110.0)  # not for long
    assert told == [100.0, None]
    presence.watch(130.0, 3.0, 127.0)
    presence.watch(131.0, 4.0, 127.0)
    assert told == [100.0, None, 127.0]
    assert (presence.gone_since, presence.connected) == (127.0, True)
    presence.watch(132.0, 0.0, 131.9)
    assert presence.gone_since is None
    presence.watch(136.0, 2.5, 133.5)  # it had not answered for long enough in between
    assert presence.gone_since == 127.0
    presence.lost(137.0, 133.5)
    assert presence.gone_since == 127.0
    presence.found(138.0, ENOUGH)
    presence.watch(138.0 + ENOUGH, 0.0, 143.0)
    presence.watch(150.0, 3.0, 149.9)  # messages come, and no answers
    assert presence.gone_since == 147.0


def test_a_listener_that_raises_keeps_nothing_from_the_others(
    told: list[float | None], caplog: pytest.LogCaptureFixture
) -> None:
    def raise_(_: float | None) -> None:
        raise RuntimeError("of the listener's")

    presence = Presence(1.0)
    presence.listen(raise_)
    presence.listen(told.append)
    presence.tell()
    assert told == [1.0]
    assert "of the listener's" in caplog.text


@examples(100)
class LifeMachine(RuleBasedStateMachine):
    """Connections and silences in any order. A model keeps the moments at which the broker was there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.told: list[float | None] = []
        self.presence = Presence(self.now)
        self.presence.listen(self.told.append)
        self.presence.tell()
        self.there_since: float | None = None
        self.lost_at: float | None = self.now

    def _is_there(self, is_there: bool, moment: float) -> None:
        """The model: a loss begins with the first absence and ends with a presence of `ENOUGH`."""
        if self.there_since is not None and moment - self.there_since >= ENOUGH:
            self.lost_at = None
        if is_there:
            self.there_since = moment if self.there_since is None else self.there_since
        else:
            self.there_since = None
            self.lost_at = moment if self.lost_at is None else self.lost_at

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.presence.connected)
    @rule()
    def connect(self) -> None:
        self.presence.found(self.now, ENOUGH)
        self._is_there(True, self.now)

    @precondition(lambda self: self.presence.connected)
    @rule()
    def disconnect(self) -> None:
        self.presence.lost(self.now, self.now)
        self._is_there(False, self.now)

    @precondition(lambda self: self.presence.connected)
    @rule(is_silent=st.booleans())
    def look(self, is_silent: bool) -> None:
        silence = SILENCE + 0.25
        self.presence.watch(self.now, silence if is_silent else 0.0, self.now)
        self._is_there(not is_silent, self.now - silence if is_silent else self.now)

    @invariant()
    def it_is_gone_since_the_first_moment_of_the_loss(self) -> None:
        gone_since = self.presence.gone_since
        assert self.told[-1] == gone_since
        if self.there_since is not None:
            assert gone_since is None
        else:
            assert gone_since == self.lost_at


TestLifeMachine = LifeMachine.TestCase


def test_the_agent_is_heard_from_the_acknowledgement_of_its_status_on(alone: Alone) -> None:
    """Others count from its last will until they hear that: a response that is acknowledged before gives it no more time."""
    session, status = alone.session, "psu/agents/bench/status"
    sent: list[str] = []

    def publish(item: Item) -> int:
        sent.append(item.topic)
        return len(sent)

    for topic in (status, *(f"psu/{number}/info" for number in range(100))):  # so many that a response goes first
        session.keep(topic, b"x")
    exchange = session._exchange
    exchange._connection = cast(
        "Connection", SimpleNamespace(publish=publish, abilities=Abilities(), hold_acknowledgements=lambda _: None)
    )
    exchange.tell_retained(status)
    session.report(Report(response=response("a"), reply_to=ReplyTo("clients/x")))
    exchange.take_inbox()
    exchange.send(time.monotonic())
    assert sent[:2] == ["clients/x", status]
    exchange.on_acknowledged(1, 0)
    assert session.heard == -math.inf
    exchange.on_acknowledged(2, 0)
    assert -math.inf < session.heard <= system_clock()
    exchange._connection = None

"""Subscriptions that a broker confirms late, or refuses for a while."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.mqtt.broker import attempts, subscribing
from agent.mqtt.broker.subscribing import Subscribing
from agent.mqtt.session import Session
from agent.protocol.topics import Topics
from agent.store.store import Store
from tests.lab import PATIENCE, wait_until
from tests.support.relay import Relay

_SUBACK = 0x90
#: Stands in a SUBSCRIBE alone.
_FILTER = b"psu/all/set/#"


class _Refusing(Relay):
    """A broker's relay that answers the first SUBSCRIBE of all as if every filter in it were refused, when it may."""

    def __init__(self, target: int, *, refuses: bool) -> None:
        self.subscribed: list[int] = []  # the numbers of the connections
        self.may_answer = threading.Event()
        self._refuses = refuses
        super().__init__(target)

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        if upward and _FILTER in data:
            self.subscribed.append(number)
        if not upward and data[0] == _SUBACK:
            self.may_answer.wait(PATIENCE)
            if self._refuses:
                self._refuses = False
                # MQTT 3.1.1: the remaining length, the packet identifier, a code for each filter. Others may follow.
                length = data[1]
                return (data[:4] + b"\x80" * (length - 2) + data[2 + length :],)
        return (data,)


def _session(relay: Relay, store: Store) -> Session:
    topics = Topics("psu")
    return Session(
        Mqtt(host="127.0.0.1", port=relay.port, protocol="3.1.1"),
        agent="bench",
        topics=topics,
        backlog=store.backlog,
        commands=store.commands,
        subscriptions=topics.subscriptions(["psu1"])[:8],
    )


def _run(relay: Relay, folder: Path, check: Callable[[Session], None]) -> None:
    store = Store(folder / "bench.sqlite3", 1000)
    store.start()
    session = _session(relay, store)
    session.start(lambda _: None)
    try:
        check(session)
    finally:
        session.stop(PATIENCE)
        store.close(PATIENCE)
        relay.close()


def test_a_broker_that_takes_long_for_the_subscriptions_is_waited_for(
    make_broker: Callable[..., LocalBroker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that elects a leader for each takes longer than the first limit, and would begin anew with each connection."""
    monkeypatch.setattr(attempts, "FIRST_LIMIT", 0.2)
    waited: list[float] = []
    monkeypatch.setattr(Session, "_wait_for", _noting(Session._wait_for, waited))
    relay = _Refusing(make_broker().port_311, refuses=False)

    def check(session: Session) -> None:
        wait_until(lambda: attempts.LAST_LIMIT in waited, "the session to wait for longer than its first limit")
        relay.may_answer.set()
        wait_until(lambda: session.connected, "the connection")
        assert len(set(relay.subscribed)) == 1  # not the first, where CONNACK took longer than that limit

    _run(relay, tmp_path, check)


def _noting(wait: Callable[..., bool], waited: list[float]) -> Callable[..., bool]:
    def noting(self: Session, condition: Callable[[], bool], seconds: float) -> bool:
        waited.append(seconds)
        return wait(self, condition, seconds)

    return noting


def test_filters_that_were_refused_are_asked_for_again(
    make_broker: Callable[..., LocalBroker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "FIRST_AGAIN", 0.1)
    relay = _Refusing(make_broker().port_311, refuses=True)
    relay.may_answer.set()

    def check(session: Session) -> None:
        wait_until(lambda: session.connected, "the connection")
        wait_until(lambda: len(relay.subscribed) == 2, "a second SUBSCRIBE on the same connection")
        assert set(relay.subscribed) == {1}

    _run(relay, tmp_path, check)


def _codes(*values: int) -> list[ReasonCode]:
    return [ReasonCode(PacketTypes.SUBACK, identifier=value) for value in values]


def test_what_is_refused_is_due_after_a_pause_that_grows() -> None:
    told: list[str] = []
    book = Subscribing(told.append, "the user 'agent'")
    book.asked(1, ["a", "b", "c"])
    assert book.open_count == 1
    assert book.due(0.0) == []
    book.answered(1, _codes(1, 0x87, 0x80), 100.0)
    assert book.open_count == 0
    assert len(told) == 1
    assert told[0].startswith("it refused 2 of 3 subscriptions (Not authorized): b, c; commands on them do not arrive")
    pause = subscribing.FIRST_AGAIN
    assert book.due(100.0 + pause - 0.1) == []
    assert book.due(100.0 + pause) == ["b"], "one at a time"
    book.asked(2, ["b"])
    assert book.due(1000.0) == [], "it is asked for, and not answered yet"
    book.answered(2, _codes(0x87), 200.0)
    assert book.due(200.0 + 2 * pause - 0.1) == []
    assert book.due(200.0 + 2 * pause) == ["c"], "the others go first"
    book.asked(3, ["c"])
    book.answered(3, _codes(1), 300.0)
    assert book.due(300.0) == ["b"], "where one is taken, the next is not waited for"
    book.asked(4, ["b"])
    book.answered(4, _codes(1), 400.0)
    assert book.due(1e6) == []


def test_a_filter_that_is_dropped_is_not_asked_for_again() -> None:
    book = Subscribing(lambda _: None, "it")
    book.asked(1, ["a", "b"])
    book.answered(1, _codes(0x80, 0x80), 0.0)
    book.dropped(["a"])
    assert book.due(1e6) == ["b"]


def test_what_the_other_end_has_is_delivered(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            near.sendall(b"x")
            wait_until(lambda: subscribing.is_delivered(near.fileno()), "the other end's system to have it")
            near.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while near.send(bytes(65536)):
                    pass
            assert not subscribing.is_delivered(near.fileno())
    assert not subscribing.is_delivered(None)
    with (tmp_path / "file").open("wb") as file:
        assert not subscribing.is_delivered(file.fileno())

"""`protocol: auto` on brokers that refuse MQTT 5 in their ways, and on some that only seem to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.client.address import Address
from agent.client.connection import BrokerError, Client
from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.mqtt.broker import attempts
from agent.mqtt.session import Session
from agent.store.store import Store
from tests.lab import PATIENCE, Observer, wait_until
from tests.mqtt.alone import TOPICS
from tests.mqtt.broker.gatekeeper import Gatekeeper

#: How brokers refuse MQTT 5: by its own reason code, by 3.1.1's code, by closing, and by a CONNACK that is none in MQTT 5.
WAYS = {
    "code of 5": b"\x20\x03\x00\x84\x00",
    "code of 3.1.1": b"\x20\x02\x00\x01",
    "closes": b"",
    "malformed": b"\x20\x02\x00\x00",
}
LOST = "it does not take MQTT 5, so 3.1.1 is spoken"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(attempts, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(attempts, "LAST_RETRY", 0.1)
    monkeypatch.setattr(attempts, "RETRY_JITTER", 0.01)
    caplog.set_level(logging.INFO)


@pytest.fixture
def gate(broker: LocalBroker) -> Iterator[Gatekeeper]:
    with Gatekeeper(broker.port, broker.port_311) as gate:
        yield gate


@pytest.fixture
def make_session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    ends: list[Callable[[], object]] = []

    def make(port: int, **settings: object) -> Session:
        store = Store(tmp_path / "bench.sqlite3", 1000)
        store.start()
        session = Session(
            Mqtt.model_validate({"host": "127.0.0.1", "port": port, "keepalive": 60, **settings}),
            agent="bench",
            topics=TOPICS,
            backlog=store.backlog,
            commands=store.commands,
            subscriptions=TOPICS.subscriptions(["psu1"]),
        )
        ends.extend([lambda: session.stop(PATIENCE), lambda: store.close(PATIENCE)])
        session.start(lambda _: None)
        return session

    yield make
    for end in ends:
        end()


def told(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("way", WAYS)
def test_the_agent_speaks_3_1_1_where_5_is_refused_and_says_once_what_is_lost(
    way: str,
    gate: Gatekeeper,
    broker: LocalBroker,
    make_session: Callable[..., Session],
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate.refusal = WAYS[way]
    session = make_session(gate.port)
    wait_until(lambda: session.connected, "the connection")
    assert session.protocol == "3.1.1"
    assert told(caplog, LOST) == 1
    assert told(caplog, "connected, MQTT 3.1.1") == 1
    assert told(caplog, "trying again") == 0  # nothing failed that anybody could mend
    with_5 = gate.versions.count(5)
    assert with_5 <= 3
    observer = Observer(broker.port)
    observer.wait_agent()
    observer.close()
    gate.cut()  # what worked in this run is used again
    wait_until(lambda: session.reconnects and session.connected, "the next connection")
    assert gate.versions.count(5) == with_5
    assert told(caplog, LOST) == 1


@pytest.mark.parametrize("way", ["closes", "code of 5"])
def test_the_agent_comes_back_to_5_when_the_broker_knows_it(
    way: str, gate: Gatekeeper, broker: LocalBroker, make_session: Callable[..., Session]
) -> None:
    gate.refusal = WAYS[way]
    session = make_session(gate.port)
    wait_until(lambda: session.connected, "the connection")
    assert gate.versions[-1] == 4
    broker.kill()  # it is replaced
    gate.refusal = None
    gate.cut()
    wait_until(lambda: not session.connected, "the loss")
    wait_until(lambda: gate.versions[-1] == 5, "a try with 5, as the broker is away")
    broker.start()
    wait_until(lambda: session.connected, "the next connection")
    assert session.protocol == "5"


@pytest.mark.parametrize("closings", [1, 2, 3, 4, 7])
def test_a_broker_that_closes_some_connections_while_it_starts_is_spoken_to_in_5(
    closings: int, gate: Gatekeeper, make_session: Callable[..., Session], caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy before a broker that restarts takes each connection and closes it, of every version."""
    gate.refusal, gate.refusals, gate.refuses_all = b"", closings, True
    session = make_session(gate.port)
    wait_until(lambda: session.connected, "the connection")
    assert session.protocol == "5"
    assert told(caplog, LOST) == 0


def test_a_broker_that_is_away_is_spoken_to_in_5(
    gate: Gatekeeper, broker: LocalBroker, make_session: Callable[..., Session]
) -> None:
    broker.stop()
    session = make_session(broker.port)
    wait_until(lambda: session._attempts is not None and not session.connected, "tries")
    broker.start()
    wait_until(lambda: session.connected, "the connection")
    assert session.protocol == "5"


def test_a_version_that_was_asked_for_is_not_left(
    gate: Gatekeeper, make_session: Callable[..., Session], caplog: pytest.LogCaptureFixture
) -> None:
    gate.refusal = WAYS["code of 5"]
    session = make_session(gate.port, protocol="5")
    wait_until(lambda: gate.versions.count(5) > 3, "tries")
    assert set(gate.versions) == {5}
    assert not session.connected
    assert told(caplog, "set settings.mqtt.protocol to auto, or to 3.1.1") == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_command_line_does_the_same(way: str, gate: Gatekeeper) -> None:
    gate.refusal = WAYS[way]
    with Client(Address("127.0.0.1", gate.port)) as client:
        assert client.protocol == "3.1.1"
        client.subscribe(["psu/#"])
        client.publish("psu/agents/a/status", b"online")
    with pytest.raises(BrokerError), Client(Address("127.0.0.1", gate.port, protocol="5")):
        pass
    gate.refusal, gate.refusals, gate.refuses_all = b"", 2, True
    gate.versions.clear()
    with Client(Address("127.0.0.1", gate.port)) as client:
        assert client.protocol == "5"
    assert gate.versions == [5, 5, 4, 5]


def test_an_answer_that_takes_longer_than_the_first_limit_is_waited_for(
    gate: Gatekeeper, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_LIMIT", 0.1)
    gate.delay = 1.0
    session = make_session(gate.port)
    wait_until(lambda: session.connected, "the connection")
    assert len(gate.versions) >= 3
    assert session.protocol == "5"


def test_a_broker_that_confirms_no_subscription_keeps_5(
    gate: Gatekeeper, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_LIMIT", 1.0)
    monkeypatch.setattr(attempts, "LAST_LIMIT", 1.0)
    gate.is_deaf = True
    session = make_session(gate.port)
    wait_until(lambda: len(gate.versions) > 3, "tries")
    assert set(gate.versions) == {5}
    gate.is_deaf = False
    wait_until(lambda: session.connected, "the connection")


def test_a_stop_does_not_wait_for_an_answer_that_does_not_come(
    gate: Gatekeeper, make_session: Callable[..., Session]
) -> None:
    gate.delay = 3600.0
    session = make_session(gate.port)
    session._attempts.limit = attempts.LAST_LIMIT
    wait_until(lambda: gate.versions, "a try")
    assert session.stop(attempts.LAST_LIMIT / 2)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_takes_eight_filters_a_packet(
    protocol: str, gate: Gatekeeper, make_session: Callable[..., Session]
) -> None:
    gate.most_filters = 8
    session = make_session(gate.port, protocol=protocol)
    wait_until(lambda: session.connected, "the connection")
    session.resubscribe(add=TOPICS.subscriptions(["psu2", "psu3"]))
    with Client(Address("127.0.0.1", gate.port, protocol=protocol)) as client:  # type: ignore[arg-type]
        client.subscribe([f"psu/psu{number}/status" for number in range(20)])
        gate.cut()
        wait_until(lambda: sum(gate.subscribed) >= 2 * 20 + 14, "the subscriptions, again")
        wait_until(lambda: not client.inbox.empty(), "the loss")
    wait_until(lambda: session.reconnects and session.connected, "the next connection")
    assert max(gate.subscribed) == 8

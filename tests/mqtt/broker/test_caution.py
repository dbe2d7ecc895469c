"""What is retained and costs each connection is found and left out; links that break by themselves accuse nobody."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.local.broker import LocalBroker
from agent.mqtt.broker import attempts
from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.mqtt.responses import suspects as suspects_module
from agent.mqtt.responses.suspects import CAUTION, Suspects
from agent.service import daemon
from tests.lab import Bench, wait_until
from tests.properties import examples


class Broker:
    """Closes the connection for messages above its limit, or for certain topics; it may break connections by itself, too.

    It acknowledges nothing of what came after its last acknowledgement was on the way: some brokers lose those when they close.
    """

    def __init__(self, limit: int, *, forbidden: str = "", says_why: bool = False, losing: int = 0) -> None:
        self.limit, self.forbidden, self.says_why, self.losing = limit, forbidden, says_why, losing
        self.suspects = Suspects()
        self.taken: set[str] = set()
        self.left_out: set[str] = set()
        self.connections = 0
        self.now = 0.0

    def serve(self, retained: list[tuple[str, int]], *, most: int) -> None:
        """As many connections as it takes until one gets through all of it."""
        while not self.connect(retained):
            assert self.connections < most

    def connect(self, retained: list[tuple[str, int]], *, lives: float = 1e9) -> bool:
        """One connection that lives so long (s). True if all messages were acknowledged or left out on it."""
        self.connections += 1
        caution, began = self.suspects.caution, self.now
        outbox = Outbox(self.suspects, self.now)
        outbox.put_retained(
            caution.begin([Item(Kind.KEEP, topic, b"x" * (size - len(topic))) for topic, size in retained]), self.now
        )
        wire: deque[tuple[int, Item]] = deque()
        numbers = iter(range(1, 10**6))

        def publish(item: Item) -> int:
            number = next(numbers)
            wire.append((number, item))
            return number

        while caution.is_beginning:
            outbox.window = 1 if caution.is_on else 1000
            outbox.send(publish, self.now)
            for item in outbox.take_rejected():
                caution.left_out(item)
                self.left_out.add(item.topic)
            self.now += CAUTION / 4
            if self.now - began > lives:
                return self._end(outbox, with_reason=False)
            batch = list(wire)
            wire.clear()
            bad = next((i for i, (_, item) in enumerate(batch) if self._is_bad(item)), None)
            for number, item in batch if bad is None else batch[: max(0, bad - self.losing)]:
                assert outbox.acknowledged(number, self.now) is item
                caution.taken(item)
                self.taken.add(item.topic)
            if bad is not None:
                return self._end(outbox, with_reason=self.says_why)
        return True

    def _is_bad(self, item: Item) -> bool:
        return len(item.topic) + len(item.payload) > self.limit or item.topic == self.forbidden

    def _end(self, outbox: Outbox, *, with_reason: bool) -> bool:
        self.suspects.connection_ended(outbox.in_flight, with_reason=with_reason)
        return False


RETAINED = [(f"psu/psu{number}/1/state", 400) for number in range(50)] + [("ha/device/psu1/config", 9000)]


@pytest.mark.parametrize(("says_why", "connections"), [(True, 3), (False, 5)])
def test_one_too_large_message_is_found(says_why: bool, connections: int) -> None:
    broker = Broker(5000, says_why=says_why)
    broker.serve(RETAINED[-1:] + RETAINED[:-1], most=10)
    assert broker.left_out == {"ha/device/psu1/config"}
    assert broker.taken == {topic for topic, _ in RETAINED[:-1]}
    assert broker.connections == connections
    for _ in range(3):
        assert broker.connect(RETAINED)  # and costs no further connection


def test_a_hundred_too_large_messages_do_not_take_a_hundred_connections() -> None:
    broker = Broker(5000)
    retained = [(f"ha/device/psu{number}/config", 9000 + number) for number in range(100)] + RETAINED[:-1]
    broker.serve(retained, most=10)
    assert len(broker.left_out) == 100
    assert broker.taken == {topic for topic, _ in RETAINED[:-1]}


def test_a_topic_that_the_broker_closes_for_takes_no_others_with_it() -> None:
    """Some brokers close the connection for a topic that their list does not allow; its size is not the reason."""
    broker = Broker(10**6, forbidden="psu/psu7/1/state")
    broker.serve(RETAINED, most=10)
    assert broker.left_out == {"psu/psu7/1/state"}


def test_states_of_changing_length_are_left_out_too() -> None:
    broker = Broker(300)
    broker.serve([("psu/psu1/1/state", 400)], most=10)
    suspects = broker.suspects
    for length in (370, 390, 400, 420):
        assert suspects.is_given_up(Item(Kind.STATE, "psu/psu1/1/state", b"x" * (length - 16)))
    assert not suspects.is_given_up(Item(Kind.STATE, "psu/psu1/1/state", b"x" * 200))
    assert not suspects.is_given_up(Item(Kind.STATE, "psu/psu1/1/backlog", b"x" * 400, row=7, is_backlog=True))


@examples(100)
@given(lives=st.lists(st.floats(0, CAUTION * 0.9), max_size=30))
def test_a_broker_that_keeps_dying_soon_accuses_nobody(lives: list[float]) -> None:
    broker = Broker(10**6)
    for age in lives:
        broker.connect(RETAINED, lives=age)
    assert broker.left_out == set()
    broker.serve(RETAINED, most=len(lives) + 1)
    assert broker.left_out == set()
    assert broker.taken == {topic for topic, _ in RETAINED}


@examples(100)
@given(
    sizes=st.lists(st.integers(30, 3000), min_size=1, max_size=40),
    limit=st.integers(20, 3200),
    losing=st.integers(0, 5),
    says_why=st.booleans(),
)
def test_all_that_fits_arrives_and_all_else_is_left_out(
    sizes: list[int], limit: int, losing: int, says_why: bool
) -> None:
    retained = [(f"t/{number}", size) for number, size in enumerate(sizes)]
    broker = Broker(limit, losing=losing, says_why=says_why)
    broker.serve(retained, most=2 + 2 * len(sizes) + 2)
    fits = {topic for topic, size in retained if size <= limit}
    assert fits <= broker.taken | broker.left_out
    assert broker.left_out.isdisjoint(broker.taken)
    assert broker.taken == fits


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(attempts, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(attempts, "LAST_RETRY", 0.1)
    monkeypatch.setattr(attempts, "RETRY_JITTER", 0.01)
    monkeypatch.setattr(suspects_module, "CAUTION", 0.2)
    caplog.set_level(logging.WARNING, "agent.mqtt")


@pytest.mark.parametrize(
    ("conf", "protocol", "reason"),
    [
        ("max_packet_size 6000", "5", "it takes no packet of more than 6000 bytes"),
        ("max_packet_size 6000", "3.1.1", "it closes"),
        # A reason code that MQTT has for other packets only.
        ("message_size_limit 6000", "5", "it refuses a message of that size"),
    ],
)
def test_a_too_large_discovery_message_is_left_out_and_told_once(
    conf: str,
    protocol: str,
    reason: str,
    quick: None,
    make_broker: Callable[..., LocalBroker],
    make_bench: Callable[..., Bench],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon, "__version__", "10.20.30")  # between two tags it is longer, and stands in each message
    broker = make_broker(kind="mosquitto", conf=conf)
    bench = make_bench(port=broker.port, mqtt={"protocol": protocol}, homeassistant={})
    session = bench.daemon.session
    wait_until(lambda: session.undeliverable, "what is left out")
    count = session.reconnects
    wait_until(lambda: session.connected and session.gone_since is None, "a connection that lasts")
    assert session.reconnects == count
    bench.observer.wait_state("psu1", after=bench.observer.mark())
    assert not any("/device/psu_E36313A" in message.topic for message in bench.observer.received)
    assert bench.observer.on("homeassistant/device/psu-agent_bench/config")
    broker.kill()
    wait_until(lambda: not session.connected, "the loss")
    broker.start()
    wait_until(lambda: session.connected and session.gone_since is None, "a further connection that lasts")
    [told] = [record for record in caplog.records if "is left out" in record.getMessage()]
    assert f"/config' is left out: {reason}" in told.getMessage()
    assert "let the broker take larger packets" in told.getMessage()
    wait_until(lambda: session.undeliverable > 1, "the message, left out by each connection")

"""The bound on the age of messages: never too low, whatever stalls, and not too high on a link that works."""

from __future__ import annotations

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.mqtt.freshness import ENOUGH, INTERVAL, PROMPT, Freshness
from agent.timing import LONGEST_ABSENCE
from tests.properties import examples


def test_a_message_soon_after_an_answer_is_young() -> None:
    freshness = Freshness(100.0)
    assert freshness.came(100.0 + LONGEST_ABSENCE, is_numbered=True)
    assert freshness.wants_to_ask(100.5, 0)
    freshness.asks(100.5, 0)
    assert not freshness.wants_to_ask(101.5, 0)
    freshness.answered(101.0)
    assert freshness.proven == 100.5
    assert freshness.came(102.4, is_numbered=True)
    assert not freshness.came(102.6, is_numbered=True)


def test_a_doubt_ends_with_clean_answers_alone() -> None:
    freshness = Freshness(100.0)
    freshness.asks(100.5, 0)
    assert not freshness.came(110.0, is_numbered=True)
    freshness.answered(110.0)
    assert not freshness.came(110.0, is_numbered=True)
    freshness.asks(110.0, 0)
    freshness.came(110.0, is_numbered=True)
    freshness.answered(110.0)
    assert not freshness.wants_to_ask(110.1, 1)  # it would prove little, while acknowledgements are kept back
    assert freshness.wants_to_ask(110.1, 0)
    for moment in (110.1, 110.2, 110.3):
        freshness.asks(moment, 0)
        for _ in range(20):  # the broker sends what it held back
            assert not freshness.came(moment, is_numbered=True)
        freshness.answered(moment)
    for number in range(ENOUGH):
        assert freshness.in_doubt
        freshness.asks(111.0 + number / 10, 0)
        freshness.answered(111.0 + number / 10)
    assert freshness.came(111.2, is_numbered=True)


def test_a_doubt_ends_in_traffic_below_what_the_broker_sends_at_a_time() -> None:
    freshness = Freshness(100.0)
    freshness.came(110.0, is_numbered=True)
    for number, came in enumerate((5, 3, 4)):
        assert freshness.in_doubt
        freshness.asks(110.0 + number, 0)
        for _ in range(came):
            freshness.came(110.0 + number, is_numbered=True)
        freshness.answered(110.0 + number)
    assert not freshness.in_doubt


def test_an_answer_that_nobody_asked_for_proves_nothing() -> None:
    freshness = Freshness(100.0)
    freshness.answered(110.0)
    assert freshness.proven == 100.0


@examples(200)
class LinkMachine(RuleBasedStateMachine):
    """No message is taken for young that is older than allowed, also if the broker held it back.

    A broker with a window, a client, and a link whose two directions stall at any time. Acknowledgements may be late. The broker
    answers PINGREQ in order, and holds back what does not fit in its window.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.window = 10
        self.freshness = Freshness(self.now)
        self.up: deque[str] = deque()  # on the way to the broker: "ping", "ack"
        self.down: deque[float | str] = deque()  # on the way to the client: the moment of a message, or "pong"
        self.held: deque[float] = deque()
        self.in_flight = 0
        self.unacknowledged = 0
        self.stalls = {"up": False, "down": False}

    @rule(window=st.sampled_from([10, 11, 20]))
    @precondition(lambda self: self.now == 100.0)
    def choose(self, window: int) -> None:
        self.window = window

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.5, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(way=st.sampled_from(["up", "down"]), does_stall=st.booleans())
    def stall(self, way: str, does_stall: bool) -> None:
        self.stalls[way] = does_stall

    @precondition(lambda self: len(self.held) < self.window)  # no flood
    @rule(number=st.sampled_from([1, 5, 10]))
    def publish(self, number: int) -> None:
        self.held.extend([self.now] * number)
        self._put_out()

    def _put_out(self) -> None:
        while self.held and self.in_flight < self.window:
            self.in_flight += 1
            self.down.append(self.held.popleft())

    @rule()
    def broker_reads(self) -> None:
        while self.up and not self.stalls["up"]:
            if self.up.popleft() == "ping":
                self.down.append("pong")
            else:
                self.in_flight -= 1
                self._put_out()

    @rule(acknowledges=st.booleans(), number=st.integers(1, 30))
    def client_reads(self, acknowledges: bool, number: int) -> None:
        for _ in range(number):
            if not self.down or self.stalls["down"]:
                break
            came = self.down.popleft()
            if isinstance(came, str):
                self.freshness.answered(self.now)
                continue
            self.unacknowledged += 1
            if self.freshness.came(self.now, is_numbered=True):
                assert self.now - came <= LONGEST_ABSENCE
            if acknowledges:
                self._acknowledge()
        if acknowledges:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self.up.extend(["ack"] * self.unacknowledged)
        self.unacknowledged = 0

    @rule()
    def client_asks(self) -> None:
        if self.freshness.wants_to_ask(self.now, self.unacknowledged):
            self.freshness.asks(self.now, self.unacknowledged)
            self.up.append("ping")

    @invariant()
    def what_is_in_flight_was_published_in_order(self) -> None:
        moments = [came for came in self.down if not isinstance(came, str)]
        assert moments == sorted(moments)


TestLinkMachine = LinkMachine.TestCase


def test_an_idle_link_is_never_in_doubt() -> None:
    """With a round trip of 0.6 s, and asked when it is time to."""
    freshness = Freshness(100.0)
    now = 100.0
    while now < 200.0:
        assert freshness.wants_to_ask(now, 0)
        freshness.asks(now, 0)
        now += 0.6
        assert freshness.came(now, is_numbered=True)
        freshness.answered(now)
        now += max(0.0, INTERVAL - 0.6)


def test_a_flood_is_no_stall() -> None:
    """The window of the broker is full all the time, and it answers promptly."""
    freshness = Freshness(100.0)
    for number in range(100):
        now = 100.0 + number / 10
        freshness.asks(now, 0)
        for _ in range(20):
            assert freshness.came(now, is_numbered=True)
        freshness.answered(now + PROMPT)


def test_a_slow_link_may_hide_what_a_broker_holds_back() -> None:
    freshness = Freshness(100.0)
    heard = []
    for now in (100.0, 101.3, 102.6, 103.9):
        freshness.asks(now, 0)
        heard += [freshness.came(now + 1.2, is_numbered=True) for _ in range(20)]
        freshness.answered(now + 1.2)
    assert heard == [True] * 20 + [False] * 60


def test_a_broker_that_sends_one_at_a_time_is_not_believed_after_a_stall() -> None:
    freshness = Freshness(100.0)
    for moment in (110.0, 110.1, 110.2, 110.3, 110.4):
        assert not freshness.came(moment, is_numbered=True)
        freshness.asks(moment, 0)
        freshness.came(moment, is_numbered=True)
        freshness.answered(moment)

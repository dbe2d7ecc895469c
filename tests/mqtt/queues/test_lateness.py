"""Late is not present: whatever comes, at whatever pace, the newest sample of a channel is its state, the others are backlog."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.mqtt.item import Item, Kind
from agent.mqtt.outbox import Outbox
from agent.mqtt.queues.live import LATE
from agent.mqtt.queues.pace import ALWAYS, SLACK
from tests.properties import examples

CHANNELS = (1, 2, 3)


def sample(channel: int, seq: int, made: float) -> Item:
    return Item(Kind.STATE, f"{channel}/state", b"%d" % seq, backlog_topic=f"{channel}/backlog", made=made)


def seq(item: Item) -> int:
    return int(item.payload)


@examples(100)
class OutboxMachine(RuleBasedStateMachine):
    """Messages come, are sent, acknowledged or cut off in any order; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.seqs = dict.fromkeys(CHANNELS, 0)
        self.store: list[Item] = []  # samples, oldest first
        self.begin()

    def begin(self) -> None:
        self.outbox = Outbox()
        self.outbox.window = 7
        self.sent: list[tuple[str, Item]] = []  # and the topics on which they were sent
        self.put: list[Item] = []
        self.in_flight: dict[int, Item] = {}
        self.told: dict[int, dict[str, int]] = {}  # response → topic → the newest sample that it tells of
        self.states: dict[str, int] = {}  # topic → the newest state that was sent
        self.stored = len(self.store)

    def publish(self, item: Item) -> int:
        self.sent.append((item.topic, item))
        self.in_flight[len(self.sent)] = item
        if item.kind is Kind.STATE and not item.is_backlog:
            assert seq(item) > self.states.get(item.topic, 0)  # no state goes back in time
            self.states[item.topic] = seq(item)
        if item.kind is Kind.RESPONSE:
            assert all(self.states.get(topic, 0) >= number for topic, number in self.told[id(item)].items())
        return len(self.sent)

    @rule(
        reports=st.lists(
            st.tuples(
                st.lists(st.sampled_from(CHANNELS), max_size=5), st.sampled_from(["", "", "event", "response", "info"])
            ),
            max_size=9,
        )
    )
    def report(self, reports: list[tuple[list[int], str]]) -> None:
        inbox: deque[Item] = deque()
        for channels, more in reports:
            self.now += 0.001
            for channel in channels:
                self.seqs[channel] += 1
                inbox.append(sample(channel, self.seqs[channel], self.now))
            if more == "response":
                behind = tuple(f"{channel}/state" for channel in set(channels))
                response = Item(Kind.RESPONSE, more, b"{}", behind=behind)
                self.told[id(response)] = {f"{channel}/state": self.seqs[channel] for channel in channels}
                inbox.append(response)
            elif more:
                inbox.append(Item(Kind.MESSAGE if more == "event" else Kind.KEEP, more, b"{}"))
        self.put += inbox
        self.outbox.take(inbox, self.now)

    @rule(passed=st.one_of(st.floats(0, 2 * LATE), st.floats(0, 5)), backlog=st.booleans())
    def send(self, passed: float, backlog: bool) -> None:
        self.now += passed
        self.outbox.send(self.publish, self.now, backlog=backlog)

    @rule()
    def send_responses(self) -> None:
        self.outbox.send_responses(self.publish, self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        mid = data.draw(st.sampled_from(sorted(self.in_flight)))
        assert self.outbox.acknowledged(mid, self.now) is self.in_flight.pop(mid)

    @rule()
    def cut(self) -> None:
        """The connection breaks: what the broker may not have is left, in its order, and nothing else."""
        delivered = {id(item) for _, item in self.sent} - {id(item) for item in self.in_flight.values()}
        left = self.outbox.undelivered()
        counted = [item for item in self.put if item.kind is not Kind.KEEP]
        expected = {id(item) for item in counted if id(item) not in delivered}
        assert {id(item) for item in left if item.kind is not Kind.KEEP} == expected
        assert len({id(item) for item in left}) == len(left)
        self.store += [item for item in left if item.kind is Kind.STATE]
        for channel in CHANNELS:
            kept = [seq(item) for item in self.store[self.stored :] if item.backlog_topic == f"{channel}/backlog"]
            assert kept == sorted(kept)
        self.begin()

    @rule()
    def settle(self) -> None:
        """The broker takes all: each channel's state is its newest sample, and each sample has come once."""
        for _ in range(len(self.put) + 2):
            self.now += 1
            self.outbox.send(self.publish, self.now)
            for mid in list(self.in_flight):
                self.outbox.acknowledged(mid, self.now)
                del self.in_flight[mid]
        assert not self.outbox.live_count + self.outbox.late_count
        for channel in CHANNELS:
            mine = [item for item in self.put if item.backlog_topic == f"{channel}/backlog"]
            if mine:
                assert self.states[f"{channel}/state"] == seq(mine[-1])
        counted = [item for item in self.put if item.kind is not Kind.KEEP]
        assert len(counted) == sum(item.kind is not Kind.KEEP for _, item in self.sent)

    @invariant()
    def the_window_is_kept(self) -> None:
        assert self.outbox.in_flight_count == len(self.in_flight) <= 7
        assert self.outbox.backlog_in_flight == sum(item.is_backlog for item in self.in_flight.values()) <= 3

    @invariant()
    def each_is_sent_once_and_the_backlog_in_order(self) -> None:
        assert len({id(item) for _, item in self.sent}) == len(self.sent)
        for channel in CHANNELS:
            late = [seq(item) for topic, item in self.sent if topic == f"{channel}/backlog"]
            assert late == sorted(late)


TestOutboxMachine = OutboxMachine.TestCase


class Link:
    """An outbox, and a link with a round trip (s) and a broker with a window, in simulated time."""

    STEP = 0.005

    def __init__(self, round_trip: float, window: int, channels: int, rate: float) -> None:
        """``rate``: samples a second of each channel."""
        self.outbox = Outbox()
        self.outbox.window = window
        self.round_trip = round_trip
        self.now = 1000.0
        self.in_flight: deque[tuple[float, int]] = deque()
        self.due = [self.now + number / channels / rate for number in range(channels)]
        self.every = 1 / rate
        self.seqs = [0] * channels
        self.gap = [self.now] * channels  # when a state of the channel was sent last
        self.longest_gap = 0.0
        self.sent = 0
        self.published = 0

    def publish(self, item: Item) -> int:
        self.sent += 1
        self.published += item.kind is Kind.STATE
        self.in_flight.append((self.now + self.round_trip, self.sent))
        if item.retain:
            channel = int(item.topic.partition("/")[0])
            self.longest_gap = max(self.longest_gap, self.now - self.gap[channel])
            self.gap[channel] = self.now
        return self.sent

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += self.STEP
            while self.in_flight and self.in_flight[0][0] <= self.now:
                self.outbox.acknowledged(self.in_flight.popleft()[1], self.now)
            inbox: deque[Item] = deque()
            for channel, due in enumerate(self.due):
                if due <= self.now:
                    self.due[channel] += self.every
                    self.seqs[channel] += 1
                    inbox.append(sample(channel, self.seqs[channel], self.now))
            self.outbox.take(inbox, self.now)
            self.outbox.send(self.publish, self.now)


def bound(link: Link) -> float:
    """The most seconds that a state may have waited when it is sent: see `agent.mqtt.queues.live`."""
    turns = len(link.seqs) / min(link.outbox.window, ALWAYS)
    return LATE + (turns + 1) * link.round_trip + 2 * Link.STEP


@examples(15)
@given(
    round_trip=st.floats(0.02, 0.6),
    window=st.sampled_from([1, 5, 20, 1000]),
    channels=st.integers(1, 100),
    total=st.floats(10, 600),
)
def test_the_age_of_states_is_bounded_and_no_channel_starves(
    round_trip: float, window: int, channels: int, total: float
) -> None:
    link = Link(round_trip, window, channels, total / channels)
    link.run(6)
    assert link.outbox.state_age <= bound(link)
    assert link.longest_gap <= link.every + bound(link)  # a channel may be sent early once, and late the next time
    # The link is used, and each sample is somewhere.
    assert link.published + link.outbox.live_count + link.outbox.late_count == sum(link.seqs)


def test_the_case_that_was_seen() -> None:
    """100 ms, a window of 20, 300 samples a second: the states were 17 s old after 40 s."""
    link = Link(0.1, 20, 300, 1.0)
    link.run(40)
    assert link.outbox.state_age <= bound(link) < 1.8
    fast = Link(0.1, 20, 3, 100.0)
    fast.run(40)
    assert fast.outbox.state_age <= bound(fast) < 0.25
    assert fast.published > 0.95 * 40 * 20 / (0.1 + Link.STEP)  # what the link can take


def test_what_a_link_takes_is_never_late() -> None:
    link = Link(0.001, 1000, 300, 10.0)
    link.run(5)
    assert link.outbox.late_count == 0
    assert link.outbox.state_age <= Link.STEP
    assert link.published == sum(link.seqs)


@pytest.mark.parametrize("stall", [0.05, 3.0])
def test_a_broker_that_stalls(stall: float) -> None:
    """For a moment: all go as states. For longer: the newest go as states, and the rest follow."""
    link = Link(0.001, 1000, 30, 100.0)
    link.run(1)
    link.round_trip = stall
    link.run(0.01)
    link.round_trip = 0.001
    link.outbox.state_age = 0.0
    stalled = link.now + stall
    while link.now < stalled:
        link.run(Link.STEP)
    assert (link.outbox.late_count > 0) == (stall > 1)
    link.run(0.05)
    assert link.outbox.state_age < LATE + stall
    link.outbox.state_age = 0.0
    link.due = [link.now + 100.0] * 30
    link.run(15)
    assert link.published == sum(link.seqs)


class Pipe(Link):
    """A link that takes so many messages a second, one after the other, to a broker that lets 1,000 be in flight."""

    def __init__(self, takes: float, channels: int, rate: float) -> None:
        super().__init__(0.02, 1000, channels, rate)
        self.takes = takes
        self.free_at = self.now
        self.oldest_arrival = 0.0  # the largest age of a state when it came through

    def publish(self, item: Item) -> int:
        number = super().publish(item)
        self.free_at = max(self.free_at, self.now) + 1 / self.takes
        self.in_flight.pop()
        self.in_flight.append((self.free_at + self.round_trip, number))
        if item.retain:
            self.oldest_arrival = max(self.oldest_arrival, self.free_at - item.made)
        return number


@pytest.mark.parametrize(
    ("takes", "channels", "rate"), [(27, 3, 100.0), (27, 30, 10.0), (100, 300, 1.0), (50, 1, 200.0)]
)
def test_a_link_of_few_bytes_a_second(takes: float, channels: int, rate: float) -> None:
    """MQTT 3.1.1 at 100 kbit/s: half a minute of messages would be on their way."""
    pipe = Pipe(takes, channels, rate)
    pipe.run(30)
    turns = channels / takes
    assert pipe.oldest_arrival <= 2 * turns + ALWAYS / takes + SLACK + LATE + 1
    assert pipe.published >= 0.9 * takes * 30  # it is used
    assert pipe.published + pipe.outbox.live_count + pipe.outbox.late_count == sum(pipe.seqs)

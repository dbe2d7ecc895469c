"""Each sample once, in order, whichever way it comes: single stories, and random ones against a model of agents and brokers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client.recording import merging
from agent.client.recording.merging import WAIT, Merger, Source
from agent.client.recording.runs import Run, Sample
from agent.protocol.messages import AgentInfo
from tests.properties import examples

BEGAN = 1_000_000
LIVE, RETAINED, BACKLOG = Source.LIVE, Source.RETAINED, Source.BACKLOG


def info(start: int, agent: str = "a") -> AgentInfo:
    moment = datetime.fromtimestamp(start / 1000, UTC)
    return AgentInfo(
        time=moment,
        agent=agent,
        version="1",
        host="h",
        start_time=moment,
        units=[],
        base_topic="psu",
        instance=str(start),
    )


@dataclass
class Recording:
    """One channel, and all that was written of it: (agent, seq, time), and of those that were late."""

    merger: Merger = field(default_factory=lambda: Merger(BEGAN))
    written: list[tuple[str, int, int]] = field(default_factory=list)
    late: list[tuple[str, int, int]] = field(default_factory=list)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.channel = self.merger.channel("psu1", 1, self._emit)

    def _emit(self, sample: Sample, run: Run, late: bool) -> None:
        row = (sample.agent, sample.seq, sample.time)
        self.written.append(row)
        if late:
            self.late.append(row)

    def take(self, seq: int, source: Source = LIVE, time: int | None = None, agent: str = "a") -> None:
        time = BEGAN + seq * 100 if time is None else time
        self.merger.add(self.channel, Sample(agent, seq, time, b""), source, self.now)
        self.merger.tick(self.now)

    def wait(self, seconds: float = WAIT + 0.1) -> None:
        self.now += seconds
        self.merger.tick(self.now)

    @property
    def seqs(self) -> list[int]:
        return [seq for _, seq, _ in self.written]

    @property
    def missing(self) -> list[tuple[int, int]]:
        return [(gap.first, gap.last) for gaps in self.merger.missing().values() for gap in gaps]


@pytest.fixture
def recording() -> Recording:
    return Recording()


def test_states_go_on_at_once(recording: Recording) -> None:
    for seq in (7, 8, 9):
        recording.take(seq)
        assert recording.seqs[-1] == seq
    assert recording.missing == []


def test_a_sample_that_comes_again_is_not_written_again(recording: Recording) -> None:
    for seq, source in ((7, LIVE), (7, LIVE), (8, LIVE), (7, BACKLOG), (8, RETAINED)):
        recording.take(seq, source)
    assert recording.seqs == [7, 8]
    assert recording.merger.duplicates == 3


def test_the_retained_state_counts_if_it_belongs_to_the_period() -> None:
    old, new = Recording(), Recording()
    old.take(7, RETAINED, time=BEGAN - 1)
    new.take(7, RETAINED, time=BEGAN)
    assert (old.seqs, new.seqs) == ([], [7])


def test_a_state_waits_for_the_backlog_before_it(recording: Recording) -> None:
    recording.take(1)
    recording.take(4)
    recording.take(5)
    assert recording.seqs == [1]
    recording.take(2, BACKLOG)
    recording.take(3, BACKLOG)
    assert recording.seqs == [1, 2, 3, 4, 5]
    assert recording.late == []
    assert recording.merger.held == 0


def test_a_gap_that_stays_one_is_told_and_ends_the_waiting(recording: Recording) -> None:
    recording.take(1)
    recording.take(4)
    recording.wait(WAIT - 0.1)
    assert recording.seqs == [1]
    recording.wait(0.2)
    assert recording.seqs == [1, 4]
    assert recording.missing == [(2, 3)]


def test_the_wait_begins_anew_with_each_sample_of_the_backlog(recording: Recording) -> None:
    recording.take(1)
    recording.take(5)
    for seq in (2, 3):
        recording.wait(WAIT - 0.1)
        recording.take(seq, BACKLOG)
    recording.wait(WAIT - 0.1)
    assert recording.seqs == [1, 2, 3]
    recording.wait(0.2)
    assert recording.seqs == [1, 2, 3, 5]


def test_nothing_is_given_up_while_there_is_no_broker(recording: Recording) -> None:
    recording.take(1)
    recording.take(3)
    recording.merger.link(False, recording.now)
    recording.wait(100)
    recording.merger.link(True, recording.now)
    recording.wait(WAIT - 0.1)
    assert recording.seqs == [1]
    recording.take(2, BACKLOG)
    assert recording.seqs == [1, 2, 3]


def test_a_sample_that_comes_after_that_is_written_as_late(recording: Recording) -> None:
    recording.take(1)
    recording.take(4)
    recording.wait()
    recording.take(3, BACKLOG)
    assert recording.seqs == [1, 4, 3]
    assert [seq for _, seq, _ in recording.late] == [3]
    assert recording.missing == [(2, 2)]


def test_an_agent_that_starts_anew_counts_anew(recording: Recording) -> None:
    recording.merger.agent(info(BEGAN - 5000), retained=True)
    recording.take(1)
    recording.take(2)
    recording.merger.agent(info(BEGAN + 1000), retained=False)
    recording.take(1, time=BEGAN + 1100)
    recording.take(2, time=BEGAN + 1200)
    recording.wait()
    assert recording.written[2:] == [("a", 1, BEGAN + 1100), ("a", 2, BEGAN + 1200)]
    assert recording.missing == []


def test_the_count_of_a_new_run_may_go_on_where_that_of_the_old_one_ended(recording: Recording) -> None:
    """The new run's first samples are in its backlog: 3 is another one than the old run's next."""
    recording.merger.agent(info(BEGAN - 5000), retained=True)
    recording.take(1)
    recording.take(2)
    recording.merger.agent(info(BEGAN + 1000), retained=False)
    recording.take(3, time=BEGAN + 1300)
    recording.take(1, BACKLOG, time=BEGAN + 1100)
    recording.take(2, BACKLOG, time=BEGAN + 1200)
    recording.wait()
    assert [time - BEGAN for _, _, time in recording.written] == [100, 200, 1100, 1200, 1300]
    assert recording.late == []
    assert recording.missing == []


def test_the_backlog_of_the_old_run_comes_before_the_new_run(recording: Recording) -> None:
    recording.merger.agent(info(BEGAN - 5000), retained=True)
    recording.take(1)
    recording.merger.agent(info(BEGAN + 1000), retained=False)
    recording.take(2, time=BEGAN + 1200)
    recording.take(2, BACKLOG, time=BEGAN + 200)
    recording.take(3, BACKLOG, time=BEGAN + 300)
    recording.take(1, BACKLOG, time=BEGAN + 1100)
    recording.wait()
    assert [time - BEGAN for _, _, time in recording.written] == [100, 200, 300, 1100, 1200]
    assert recording.late == []
    assert recording.missing == []


def test_a_run_between_two_that_nobody_announced_is_told_by_its_count(recording: Recording) -> None:
    recording.merger.agent(info(BEGAN - 5000), retained=True)
    recording.take(50, time=BEGAN + 100)
    recording.merger.agent(info(BEGAN + 9000), retained=False)
    recording.take(1, time=BEGAN + 9100)
    recording.take(51, BACKLOG, time=BEGAN + 200)
    recording.take(1, BACKLOG, time=BEGAN + 5000)
    recording.take(2, BACKLOG, time=BEGAN + 5100)
    recording.wait()
    assert [time - BEGAN for _, _, time in recording.written] == [100, 200, 5000, 5100, 9100]
    assert recording.missing == []


def test_what_was_before_the_period_is_not_written(recording: Recording) -> None:
    """An agent that was away comes back: of its backlog only the part since the start belongs here."""
    recording.take(10, RETAINED, time=BEGAN - 60_000)
    recording.take(14, time=BEGAN + 300)
    for seq, moment in ((11, -200), (12, -100), (13, 100)):
        recording.take(seq, BACKLOG, time=BEGAN + moment)
    assert recording.seqs == [13, 14]
    assert recording.late == []
    assert recording.missing == []


def test_a_gap_at_the_start_is_missing_only_if_it_belongs_to_the_period() -> None:
    away, there = Recording(), Recording()
    away.take(10, RETAINED, time=BEGAN - 60_000)
    there.take(10, RETAINED, time=BEGAN - 50)
    for recording in (away, there):
        recording.take(14, time=BEGAN + 300)
        recording.wait()
        assert recording.seqs == [14]
    assert (away.missing, there.missing) == ([], [(11, 13)])


def test_a_clock_that_is_set_back_makes_no_new_run(recording: Recording) -> None:
    recording.merger.agent(info(BEGAN - 100), retained=True)
    for seq, moment in ((5, 1000), (6, 1100), (7, -3000), (9, -2800)):
        recording.take(seq, time=BEGAN + moment)
    recording.take(8, BACKLOG, time=BEGAN - 2900)
    recording.wait()
    assert recording.missing == []
    assert sorted(recording.seqs) == [5, 6, 7, 8, 9]


def test_a_unit_that_another_agent_serves_for_a_while(recording: Recording) -> None:
    recording.take(10)
    recording.take(3, time=BEGAN + 1100, agent="b")
    recording.take(4, time=BEGAN + 1200, agent="b")
    recording.wait()
    recording.take(11, time=BEGAN + 2000)
    recording.take(12, time=BEGAN + 2100)
    recording.wait()
    assert [(agent, seq) for agent, seq, _ in recording.written] == [
        ("a", 10),
        ("b", 3),
        ("b", 4),
        ("a", 11),
        ("a", 12),
    ]
    assert recording.late == []
    assert recording.missing == []


def test_going_on_after_a_break_off_writes_nothing_twice_and_tells_what_is_missing(recording: Recording) -> None:
    for seq in (1, 2, 3):
        recording.channel.adopt("a", seq, BEGAN + seq * 100, goes_on=True)
    for seq in (2, 3, 6):
        recording.take(seq)
    recording.wait()
    assert recording.seqs == [6]
    assert recording.missing == [(4, 5)]


def test_going_on_after_an_end_misses_nothing_of_the_pause(recording: Recording) -> None:
    for seq in (1, 2, 3):
        recording.channel.adopt("a", seq, BEGAN - 9000 + seq, goes_on=False)
    recording.take(3, RETAINED, time=BEGAN - 9000 + 3)
    recording.take(60)
    recording.take(61)
    assert recording.seqs == [60, 61]
    assert recording.missing == []


def test_rows_without_their_agent_are_known_again(recording: Recording) -> None:
    recording.channel.adopt("", 3, BEGAN + 300, goes_on=True)
    recording.take(3)
    recording.take(4)
    assert recording.seqs == [4]


def test_too_many_that_wait_go_on(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST_HELD", 10)
    recording.take(1)
    for seq in range(3, 20):
        recording.take(seq)
        assert recording.merger.held <= 11
    assert recording.seqs[:3] == [1, 3, 4]
    recording.take(2, BACKLOG)
    recording.merger.flush()
    assert sorted(recording.seqs) == list(range(1, 20))


def test_a_link_that_loses_every_second_sample_does_not_fill_the_memory(recording: Recording) -> None:
    for seq in range(1, 8001, 2):
        recording.take(seq)
        recording.merger.flush()
    [run] = recording.channel.runs
    assert len(run.spans) <= 1000
    assert sum(last - first + 1 for first, last in recording.missing) >= 3999
    recording.take(7998, BACKLOG)
    assert recording.seqs[-1] == 7998


def test_many_runs_do_not_fill_the_memory(recording: Recording) -> None:
    for number in range(200):
        recording.take(2, time=BEGAN + number * 1000)
        recording.take(1, time=BEGAN + number * 1000 + 500)
        recording.wait()
    assert len(recording.channel.runs) <= 51


class Story:
    """An agent that is killed and started again, a broker that goes and comes back, and a slow link, by a random generator.

    ``messages``: what a recording is sent, in order; ``truth``: the samples of the period. As real agents do, this one sends
    states in order and the backlog oldest first, each at least once, and announces each start when it has the broker.
    """

    def __init__(self, dice: random.Random, *, announced: bool) -> None:
        self.messages: list[tuple[int, int, Source] | AgentInfo] = []
        self.truth: list[tuple[int, int]] = []
        backlog: list[tuple[int, int]] = []
        time, seq = BEGAN + 1000, dice.randrange(0, 40)
        if announced:
            self.messages.append(info(BEGAN - 100))
        is_first = True
        for _ in range(dice.randrange(1, 5)):  # runs
            start = time
            has_told = is_first
            for _ in range(dice.randrange(1, 5)):  # with and without the broker
                is_there = dice.random() < 0.6
                for _ in range(dice.randrange(1, 8)):
                    time += dice.randrange(1, 300)
                    seq += 1
                    self.truth.append((seq, time))
                    if not is_there or dice.random() < 0.2:
                        backlog.append((seq, time))
                        continue
                    if not has_told and announced:
                        self.messages.append(info(start))
                    has_told = True
                    self._send(seq, time, LIVE, dice)
                    for _ in range(dice.randrange(0, 4)):
                        if backlog:
                            self._send(*backlog.pop(0), BACKLOG, dice)
            time += dice.randrange(1, 2000)
            seq = 0
            is_first = False
        if not has_told and announced:
            self.messages.append(info(start))
        for sample in backlog:
            self._send(*sample, BACKLOG, dice)

    def _send(self, seq: int, time: int, source: Source, dice: random.Random) -> None:
        self.messages.append((seq, time, source))
        if dice.random() < 0.1:  # a broker may send again what was not acknowledged
            self.messages += [m for m in self.messages[-dice.randrange(1, 4) :] if isinstance(m, tuple)]


@given(dice=st.randoms(use_true_random=False), data=st.data())
@examples(300)
def test_any_story_gives_each_sample_once_and_in_order(dice: random.Random, data: st.DataObject) -> None:
    story = Story(dice, announced=True)
    recording = Recording()
    for number, message in enumerate(story.messages):
        if isinstance(message, AgentInfo):
            recording.merger.agent(message, retained=number == 0)
        else:
            recording.take(message[0], message[2], message[1])
    recording.merger.flush()
    first = recording.written[0][2]
    # Of what was sampled before the first that came, nothing is known.
    truth = [sample for sample in story.truth if sample[1] >= first]
    came = [(seq, time) for _, seq, time in recording.written]
    assert sorted(came, key=lambda row: row[1]) == [s for s in story.truth if s in came]
    assert len(came) == len(set(came))
    assert set(truth) <= set(came)
    assert recording.missing == []
    in_order = [row for row in recording.written if row not in recording.late]
    assert in_order == sorted(in_order, key=lambda row: row[2])


@given(dice=st.randoms(use_true_random=False), data=st.data())
@examples(200)
def test_a_recording_that_breaks_off_anywhere_goes_on_without_a_sample_twice(
    dice: random.Random, data: st.DataObject
) -> None:
    """The broker sends what was not acknowledged again; what waited was kept, and is taken first."""
    story = Story(dice, announced=True)
    at = data.draw(st.integers(0, len(story.messages)))
    again = data.draw(st.integers(0, 5))
    first = Recording()
    for number, message in enumerate(story.messages[:at]):
        if isinstance(message, AgentInfo):
            first.merger.agent(message, retained=number == 0)
        else:
            first.take(message[0], message[2], message[1])
    second = Recording()
    for agent, seq, time in first.written:
        second.channel.adopt(agent, seq, time, goes_on=True)
    starts = [message for message in story.messages[:at] if isinstance(message, AgentInfo)]
    for start in starts[-1:]:
        second.merger.agent(start, retained=True)
    for sample in list(first.merger.pending()):
        second.take(sample.seq, Source.KEPT, sample.time)
    for message in story.messages[max(0, at - again) :]:
        if isinstance(message, AgentInfo):
            second.merger.agent(message, retained=False)
        else:
            second.take(message[0], message[2], message[1])
    second.merger.flush()
    rows = first.written + second.written
    assert len(rows) == len(set(rows))
    sent = {(message[0], message[1]) for message in story.messages if isinstance(message, tuple)}
    assert {(seq, time) for _, seq, time in rows} == sent


@given(
    messages=st.lists(
        st.tuples(
            st.integers(1, 12),
            st.integers(-2000, 4000),
            st.sampled_from([LIVE, RETAINED, BACKLOG]),
            st.sampled_from("ab"),
        ),
        max_size=30,
    ),
    pauses=st.lists(st.floats(0, 10), max_size=30),
)
@examples(300)
def test_whatever_comes_nothing_is_written_twice_and_the_live_ones_are_written(
    messages: list[tuple[int, int, Source, str]], pauses: list[float]
) -> None:
    recording = Recording()
    for number, (seq, moment, source, agent) in enumerate(messages):
        recording.take(seq, source, BEGAN + moment, agent)
        if number < len(pauses):
            recording.wait(pauses[number])
    recording.merger.flush()
    assert recording.merger.held == 0
    assert not recording.channel.is_waiting
    for gap_first, gap_last in recording.missing:
        assert gap_first <= gap_last
    assert len(recording.written) <= len(messages)

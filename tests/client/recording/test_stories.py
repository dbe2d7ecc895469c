"""Each sample once, in order, whichever way it comes: random stories of agents, brokers and links."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from agent.client.recording.merging import Source
from agent.protocol.messages import AgentInfo
from tests.client.recording.channel import BACKLOG, BEGAN, LIVE, RETAINED, Recording, info
from tests.properties import examples


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
    starts = [message for message in story.messages[:at] if isinstance(message, AgentInfo)]
    for start in starts:
        second.merger.agent(start, retained=True)
    for agent, seq, time in first.written:
        second.channel.adopt(agent, seq, time, goes_on=True)
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

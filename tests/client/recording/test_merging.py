"""Each sample once, in order, whichever way it comes: single stories."""

from __future__ import annotations

import pytest

from agent.client.recording import merging
from agent.client.recording.merging import WAIT, Merger, Source
from agent.client.recording.runs import Sample
from tests.client.recording.channel import BACKLOG, BEGAN, LIVE, RETAINED, Recording, info


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


def test_what_is_missing_is_told_in_the_order_in_which_people_count_units() -> None:
    merger = Merger(BEGAN)
    for unit in ("rack10", "rack2"):
        channel = merger.channel(unit, 1, lambda *_: None)
        for seq in (1, 3):
            merger.add(channel, Sample("a", seq, BEGAN + seq, b""), LIVE, 100.0)
    merger.flush()
    assert list(merger.missing()) == [("rack2", 1), ("rack10", 1)]


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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The new run's first samples are in its backlog: 3 is another one than the old run's next.
        ([(1, 100, LIVE), (2, 200, LIVE)], [(3, 1300, LIVE), (1, 1100, BACKLOG), (2, 1200, BACKLOG)]),
        # The backlog of the old run comes before the new run.
        (
            [(1, 100, LIVE)],
            [(2, 1200, LIVE), (2, 200, BACKLOG), (3, 300, BACKLOG), (1, 1100, BACKLOG)],
        ),
    ],
)
def test_the_counts_of_two_runs_are_told_apart(
    recording: Recording, before: list[tuple[int, int, Source]], after: list[tuple[int, int, Source]]
) -> None:
    recording.merger.agent(info(BEGAN - 5000), retained=True)
    for seq, moment, source in before:
        recording.take(seq, source, time=BEGAN + moment)
    recording.merger.agent(info(BEGAN + 1000), retained=False)
    for seq, moment, source in after:
        recording.take(seq, source, time=BEGAN + moment)
    recording.wait()
    assert [time - BEGAN for _, _, time in recording.written] == sorted(moment for _, moment, _ in before + after)
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


def test_going_on_after_an_end_waits_for_nothing_before_the_retained_state(recording: Recording) -> None:
    """It held that state for `WAIT` s, and a recording of two seconds said at its end that samples were missing."""
    recording.channel.adopt("a", 3, BEGAN - 9000, goes_on=False)
    recording.take(40, RETAINED, time=BEGAN - 500)
    assert recording.merger.held == 0
    for seq in (41, 43):
        recording.take(seq)
    assert recording.seqs == [41]
    recording.take(42, BACKLOG)
    assert recording.seqs == [41, 42, 43]
    assert (recording.missing, recording.merger.held) == ([], 0)


def test_going_on_after_an_end_misses_what_followed_the_retained_state(recording: Recording) -> None:
    recording.channel.adopt("a", 3, BEGAN - 9000, goes_on=False)
    recording.take(40, RETAINED, time=BEGAN - 500)
    recording.take(43)
    recording.wait()
    assert recording.seqs == [43]
    assert recording.missing == [(41, 42)]


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


def test_a_sample_that_comes_again_after_a_pause_makes_nobody_wait(recording: Recording) -> None:
    """With a rate the file has every tenth sample, say: the broker sends one again that has no row."""
    for seq in (10, 20, 30):
        recording.channel.adopt("a", seq, BEGAN + seq * 100, goes_on=False)
    for seq in (29, 33, 34):
        recording.take(seq)
    assert recording.seqs == [29, 33, 34]
    assert [seq for _, seq, _ in recording.late] == [29]
    assert recording.missing == []

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.watching.glyphs import ASCII, UNICODE, glyphs_for, sparkline
from agent.cli.watching.seen import Seen
from agent.protocol.messages import ChannelState
from tests.client.test_fleet import state
from tests.properties import examples

BEGIN = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
PSU1 = ("psu1", 1)


def sample(seconds: float, *, unit: str = "psu1", **changes: Any) -> ChannelState:
    time = (BEGIN + timedelta(seconds=seconds)).isoformat()
    return ChannelState.model_validate_json(state(unit, time=time, **changes))


def seen_at(*moments: float, **changes: Any) -> Seen:
    seen = Seen()
    for moment in moments:
        seen.take(sample(moment, **changes), moment, retained=False)
    return seen


@pytest.mark.parametrize(
    ("moments", "usual", "limit"),
    [
        ([0, 1, 2], 1.0, 5.0),  # three polls, but no less than 5 s
        ([0, 4, 8], 4.0, 12.0),
        ([0, 1, 2], None, 60.0),  # nobody says how often
        ([0, 30, 60], None, 90.0),
        ([0, 8, 16, 24], 1.0, 24.0),  # polled more slowly than it should be, as on a busy line
        ([0, 1], 300.0, 900.0),  # only changes are published
    ],
)
def test_the_age_from_which_on_values_are_old(moments: list[float], usual: float | None, limit: float) -> None:
    assert seen_at(*moments).limit(PSU1, usual) == limit


def test_the_age_counts_from_the_last_state() -> None:
    assert seen_at(0, 1, 2).age(PSU1, 10) == 8
    assert Seen().age(PSU1, 10) == 0


@pytest.mark.parametrize("wrong_by", [0, -90000, 90000])
def test_a_retained_state_is_as_old_as_its_agent_s_other_messages_say(wrong_by: float) -> None:
    """This host's clock, or the agent's, may be wrong by any amount."""
    seen = Seen()
    seen.take(sample(wrong_by), 0, retained=True)
    assert seen.age(PSU1, 0) == 0
    seen.take(sample(wrong_by + 500, unit="psu2"), 1, retained=False)
    assert seen.age(PSU1, 2) == 501
    seen.take(sample(wrong_by + 502), 3, retained=False)
    assert seen.age(PSU1, 3) == 0


def test_an_agent_whose_clock_is_set_back_makes_nothing_old() -> None:
    seen = seen_at(0)
    seen.take(sample(-3600), 1, retained=False)
    assert seen.age(PSU1, 1) == 0


def test_the_time_without_the_broker_makes_nothing_old_but_what_is() -> None:
    seen = seen_at(0, 1)
    seen.take(sample(1, unit="psu2"), 1, retained=False)
    seen.interrupt(2)
    seen.take(sample(100), 101, retained=True)
    assert seen.age(PSU1, 101) == 1
    assert seen.age(("psu2", 1), 101) == 100
    assert seen.limit(PSU1, 1.0) == 5.0


def test_what_moves_is_shown() -> None:
    seen = Seen()
    for second in range(60):
        seen.take(sample(second, voltage=5.0, current=0.1 + second / 100), second, retained=False)
    trend = seen.trend(PSU1, 59.9, 6, 5)
    assert trend is not None
    assert trend.symbol == "A"
    assert sparkline(trend, UNICODE)[0] == "▁"
    assert sparkline(trend, UNICODE)[-1] == "█"
    for second in range(60, 120):
        seen.take(sample(second, voltage=5.0 - second / 50, current=0.1), second, retained=False)
    trend = seen.trend(PSU1, 119.9, 6, 5)
    assert trend is not None
    assert trend.symbol == "V"
    assert sparkline(trend, ASCII)[0] > " "
    assert sparkline(trend, ASCII).isascii()


def test_noise_is_a_flat_line() -> None:
    seen = Seen()
    for second in range(60):
        seen.take(sample(second, voltage=5.0, current=0.1 + (second % 3) / 10000), second, retained=False)
    trend = seen.trend(PSU1, 59.9, 10, 5)
    assert trend is not None
    assert len(set(sparkline(trend, UNICODE))) == 1


def test_gaps_are_gaps() -> None:
    seen = seen_at(*range(20), *range(40, 60), current=0.1)
    trend = seen.trend(PSU1, 59.9, 12, 2)
    assert trend is not None
    line = sparkline(trend, UNICODE)
    assert line[:4].strip() == line[:4]
    assert line[5:8] == "   "  # 25 to 40 s
    assert line[8:].strip() == line[8:]


def test_a_unit_that_was_offline_leaves_a_gap_at_once() -> None:
    seen = seen_at(0, 10)
    seen.take(sample(20, online=False, state=None, voltage=None), 20, retained=False)
    trend = seen.trend(PSU1, 59.9, 6, 500)
    assert trend is not None
    assert [height is None for height in trend.heights] == [False, False, True, True, True, True]


def test_a_slow_unit_has_no_gaps_between_its_polls() -> None:
    trend = seen_at(0, 15, 30, 45, current=1.0).trend(PSU1, 59.9, 20, 45)
    assert trend is not None
    assert None not in trend.heights


def test_a_retained_state_is_no_part_of_the_line() -> None:
    seen = Seen()
    seen.take(sample(0), 0, retained=True)
    assert seen.trend(PSU1, 1, 10, 60) is None


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100),
            st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.integers(1, 40),
    st.floats(0, 100),
)
@examples(100)
def test_any_states(samples: list[tuple[float, float | None, bool]], cells: int, limit: float) -> None:
    seen = Seen()
    moment = 0.0
    for passed, value, retained in samples:
        moment += passed
        one = sample(moment).model_copy(update={"voltage": value, "current": value})
        seen.take(one, moment, retained=retained)
    trend = seen.trend(PSU1, moment, cells, limit)
    assert trend is None or len(sparkline(trend, UNICODE)) == cells
    assert trend is None or all(height is None or 0 <= height <= 1 for height in trend.heights)


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", UNICODE), ("UTF8", UNICODE), ("latin-1", ASCII), (None, ASCII)]
)
def test_the_terminal_s_signs(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs

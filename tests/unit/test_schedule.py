"""The grid of a unit's polls."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.unit.schedule import FIRST_REST, LONGEST_REST, Schedule
from tests.properties import examples


def test_units_start_in_their_place() -> None:
    schedule = Schedule(1.0, phase=0.25)
    schedule.begin(100.0)
    assert schedule.due == 100.25
    assert not schedule.is_due(100.2)
    assert schedule.is_due(100.25)


def test_a_poll_that_is_wanted_takes_no_moment_of_the_grid() -> None:
    schedule = Schedule(1.0)
    schedule.begin(100.0)
    schedule.want()
    assert schedule.is_due(100.5)
    assert schedule.take(100.5) is False
    assert not schedule.is_due(100.5)
    assert schedule.due == 101.0


def test_late_polls_are_left_out() -> None:
    schedule = Schedule(1.0)
    schedule.begin(100.0)
    assert schedule.take(101.9) is False
    assert schedule.due == 102.0
    assert schedule.take(105.5) is True
    assert schedule.due == 106.0


def test_as_fast_as_it_answers() -> None:
    schedule = Schedule(0.0)
    schedule.begin(100.0)
    assert schedule.is_due(100.0)
    assert schedule.take(100.5) is False
    assert schedule.due == 100.5


def test_a_unit_that_is_polled_without_a_pause_rests_while_the_broker_is_slow() -> None:
    schedule = Schedule(0.0)
    schedule.begin(100.0)
    now, rests = 100.0, []
    for _ in range(10):
        assert schedule.take(now, is_congested=True) is False
        rests.append(schedule.due - now)
        now = schedule.due
    assert rests[:3] == pytest.approx([FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST])
    assert rests[-1] == pytest.approx(LONGEST_REST)
    schedule.take(now)
    assert schedule.due == now
    schedule.take(now, is_congested=True)
    assert schedule.due == pytest.approx(now + FIRST_REST)


@given(st.floats(0.01, 60), st.floats(0, 100), st.lists(st.floats(0, 100), max_size=20))
@examples(100)
def test_it_does_not_drift(interval: float, phase: float, delays: list[float]) -> None:
    schedule = Schedule(interval, phase)
    now = 1000.0
    schedule.begin(now)
    for delay in delays:
        assert now - 1e-6 < schedule.due <= now + interval + 1e-6
        now = schedule.due + delay
        is_late = schedule.take(now)
        if abs(delay - interval) > 1e-6:
            assert is_late is (delay > interval)
        steps = (schedule.due - phase) / interval
        assert math.isclose(steps, round(steps), abs_tol=1e-4)

"""The watch for hold-ups of the process."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import timing
from agent.timing import LONGEST_ABSENCE, TICK, HoldUps
from tests.lab import wait_until
from tests.properties import examples


class Clock:
    """A clock that a test sets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(timing, "system_clock", lambda: self.now)


@given(
    st.lists(st.tuples(st.floats(0.0, 4.0), st.booleans()), max_size=30),
    st.floats(0.0, 20.0),
)
@examples(300)
def test_no_hold_up_is_missed_and_none_is_made_up(pauses: list[tuple[float, bool]], ago: float) -> None:
    """Pauses of the process between its ticks, and after each one the thread that ticks runs first, or the one that asks."""
    with pytest.MonkeyPatch.context() as patch:
        clock, hold_ups = Clock(patch), HoldUps()
        hold_ups.tick(clock.now)
        newest = -math.inf
        received = clock.now + ago
        for pause, asks_first in pauses:
            clock.now += pause
            newest = clock.now if pause > LONGEST_ABSENCE else newest
            if asks_first:
                assert hold_ups.any_since(received) is (newest > received or pause > LONGEST_ABSENCE)
            hold_ups.tick(clock.now)
            assert hold_ups.any_since(received) is (newest > received)


def test_a_hold_up_goes_on_until_the_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, hold_ups = Clock(monkeypatch), HoldUps()
    hold_ups.tick(clock.now)
    clock.now += TICK + LONGEST_ABSENCE
    assert hold_ups.any_since(clock.now)  # nobody knows when it ended
    hold_ups.tick(clock.now)
    clock.now += 0.001
    assert not hold_ups.any_since(clock.now)


def test_nothing_is_a_hold_up_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, hold_ups = Clock(monkeypatch), HoldUps()
    clock.now += 3600.0
    assert not hold_ups.any_since(0.0)
    hold_ups.stop()
    assert not hold_ups.any_since(0.0)


def test_a_thread_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for the time that the host was asleep: the clock does not count what it waits."""
    monkeypatch.setattr(timing, "TICK", 0.01)
    clock, hold_ups = Clock(monkeypatch), HoldUps()
    hold_ups.start()
    before = clock.now
    clock.now += LONGEST_ABSENCE + 1.0
    assert hold_ups.any_since(before)
    wait_until(lambda: not hold_ups.any_since(clock.now), "the tick")
    assert hold_ups.any_since(before)
    hold_ups.stop()
    clock.now += 3600.0
    assert not hold_ups.any_since(clock.now)

"""The worker's turns: steps of plans, commands and polls, all of which are more than the unit has time for."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import Write
from agent.timing import LONGEST_ABSENCE, HoldUps, system_clock
from tests.lab import wait_until
from tests.properties import examples
from tests.unit.fakedriver import Call, TalkingDriver, Unit

#: s that the unit takes for each message. A ramp's step is two messages, a command four, so that three ramps fill the time.
SLOW = 0.002


def slow(call: Call) -> None:
    time.sleep(SLOW)


@given(st.sets(st.sampled_from([1, 2, 3]), min_size=1), st.integers(0, 40))
@examples(8)
def test_everything_that_is_due_gets_its_turn(ramps: set[int], commands: int) -> None:
    driver = TalkingDriver()
    with pytest.MonkeyPatch.context() as patch, Unit(driver, poll_interval=0.005) as unit:
        patch.setattr("agent.unit.plans.RAMP_INTERVAL", 0.001)
        driver.script = slow
        for index in ramps:
            unit.send(index, f"ramp {index}", voltage_limit=6, ramp=1.0)
        wait_until(lambda: {w.channels[0] for w in driver.writes} == ramps, "the ramps")
        mark = len(driver.calls)
        for number in range(commands):
            unit.send(number % 3 + 1, f"command {number}", current_limit=0.2 + number / 100)
        wait_until(lambda: len(unit.sheet.responses) == commands, "the commands")
        wait_until(lambda: driver.calls[mark:].count("poll") > 10, "polls")
        wait_until(lambda: len(driver.calls) > mark + 100, "more calls")
        calls = driver.calls[mark:]
        turns: list[str] = []  # p, c, or the channel of a ramp's step
        for call in calls:
            if call == "poll":
                turns.append("p")
            elif isinstance(call, Write):
                turns.append("c" if call.setting == "current_limit" else str(call.channels[0]))
        kinds = {"p", *map(str, ramps)}
        for kind in kinds:
            gaps = "".join(turn if turn == kind else "-" for turn in turns).split(kind)
            # Each other thing has one turn between, and two where it was not due for long.
            assert max(map(len, gaps[1:-1])) <= 2 * (len(ramps) + 2), (kind, "".join(turns))


def test_a_plan_that_waits_for_its_turn_is_not_held_up() -> None:
    """A slow unit makes it late by more than an absence after which plans are given up, while the process runs."""
    driver, hold_ups = TalkingDriver(), HoldUps()
    with Unit(driver, hold_ups=hold_ups) as unit:
        hold_ups.tick(system_clock())
        unit.send(1, "ramp", voltage_limit=1, ramp=10.0)
        wait_until(lambda: driver.writes, "the ramp")
        hold = driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        late = system_clock() + LONGEST_ABSENCE + 0.1

        def is_late() -> bool:
            hold_ups.tick(system_clock())
            return system_clock() > late

        wait_until(is_late, "the time that makes it late")
        hold.release()

        def is_done() -> bool:
            hold_ups.tick(system_clock())
            return bool(unit.sheet.responses)

        wait_until(is_done, "the response")
        assert unit.sheet.code("ramp") == "ok"


def test_a_poll_that_is_asked_for_is_not_put_off_by_ramps() -> None:
    driver = TalkingDriver()
    with pytest.MonkeyPatch.context() as patch, Unit(driver, poll_interval=3600.0) as unit:
        patch.setattr("agent.unit.plans.RAMP_INTERVAL", 0.001)
        driver.script = slow
        for index in (1, 2, 3):
            unit.send(index, f"ramp {index}", voltage_limit=6, ramp=1.0)
        wait_until(lambda: {w.channels[0] for w in driver.writes} == {1, 2, 3}, "the ramps")
        mark = len(driver.calls)
        unit.supply.poll_now()
        wait_until(lambda: "poll" in driver.calls[mark:], "the poll")
        assert driver.calls[mark:].index("poll") <= 12

"""Commands that the agent has already when the process is stopped, or its host asleep: nothing of them is carried out but off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.instruments.driver import Write
from agent.timing import LONGEST_ABSENCE, HoldUps, system_clock
from tests.lab import wait_until
from tests.unit.fakedriver import Call, FakeDriver, Unit, held_up, is_write

pytestmark = pytest.mark.usefixtures("quick")


class Watched(Unit):
    """A unit of an agent that watches for hold-ups."""

    def __init__(self, driver: FakeDriver | None = None) -> None:
        self.hold_ups = HoldUps()
        super().__init__(driver, hold_ups=self.hold_ups)

    def held_up_at(self, matching: Call | Callable[[Call], bool]) -> Callable[[], None]:
        """The process is stopped in the next call that matches. It returns what lets it go on."""
        hold = self.driver.hold(matching)

        def go_on() -> None:
            hold.wait()
            held_up(self.hold_ups)
            hold.release()

        return go_on


@pytest.fixture
def unit() -> Iterator[Watched]:
    with Watched() as unit:
        yield unit


@pytest.mark.parametrize(
    "command",
    [
        {"state": True},
        {"voltage_limit": 3},
        {"cycle": 0.01},
        {"clear_protection": True},
        {"voltage_limit": 3, "ramp": 1},
    ],
)
def test_what_waits_in_the_inbox_is_refused(unit: Watched, command: dict[str, Any]) -> None:
    go_on = unit.held_up_at("poll")
    unit.supply.poll_now()
    unit.send(1, "old", **command)
    go_on()
    assert unit.sheet.code("old") == "expired"
    assert "held up" in str(unit.sheet.response("old").error)
    assert unit.driver.writes == []
    assert unit.ask(1, "new", **command) == "ok"


def test_what_is_begun_before_the_next_tick_is_refused(unit: Watched) -> None:
    """After SIGCONT the unit's thread may run first."""
    unit.hold_ups.tick(system_clock() - LONGEST_ABSENCE - 1.0)
    assert unit.ask(1, "on", state=True) == "expired"
    assert unit.ask(1, "off", state=False) == "ok"


def test_an_off_that_waits_is_done(unit: Watched) -> None:
    unit.set_at_the_panel(1, state=True)
    unit.set_at_the_panel(2, state=True)
    go_on = unit.held_up_at("poll")
    unit.supply.poll_now()
    unit.send(1, "off", state=False)
    unit.send(2, "both", state=False, voltage_limit=3)
    go_on()
    assert unit.sheet.code("off") == "ok"
    assert unit.sheet.code("both") == "expired"
    assert unit.sheet.response("both").result.state is False  # type: ignore[union-attr]
    assert {(write.setting, write.value) for write in unit.driver.writes} == {("state", False)}


@pytest.mark.parametrize("command", [{"state": True}, {"voltage_limit": 3}, {"cycle": 0.01}])
def test_what_was_begun_and_not_written_yet_is_refused(unit: Watched, command: dict[str, Any]) -> None:
    """Its first look is under way. A cycle turns nothing off then."""
    unit.set_at_the_panel(1, state=True)
    go_on = unit.held_up_at("poll")
    unit.send(1, "old", **command)
    go_on()
    assert unit.sheet.code("old") == "expired"
    assert unit.driver.writes == []


def test_a_write_after_the_one_that_was_held_up_is_not_sent(unit: Watched) -> None:
    go_on = unit.held_up_at(is_write("voltage_limit"))
    unit.send(1, "old", voltage_limit=3, state=True)
    go_on()
    assert unit.sheet.code("old") == "superseded"
    assert "voltage_limit 3 V for channel 1" in str(unit.sheet.response("old").error)
    assert [write.setting for write in unit.driver.writes] == ["voltage_limit"]


def test_a_plan_that_was_held_up_is_given_up(unit: Watched) -> None:
    """A cycle, when it has turned off: the output stays off."""
    go_on = unit.held_up_at(is_write("state"))
    unit.send(1, "cycle", cycle=0.01)
    go_on()
    assert unit.sheet.code("cycle") == "superseded"
    assert "held up" in str(unit.sheet.response("cycle").error)
    assert unit.driver.writes == [Write("state", (1,), False)]


@pytest.mark.parametrize(("start", "target"), [(0.0, 6.0), (6.0, 0.0)])
def test_a_ramp_that_was_held_up_is_given_up(unit: Watched, start: float, target: float) -> None:
    unit.set_at_the_panel(1, state=True, voltage_limit=start, voltage=start)
    go_on = unit.held_up_at(is_write("voltage_limit"))
    unit.send(1, "ramp", voltage_limit=target, ramp=0.5)
    go_on()
    assert unit.sheet.code("ramp") == "superseded"
    assert len(unit.driver.writes) == 1


def test_an_output_that_did_not_go_on_is_turned_off_after_a_hold_up_as_well(unit: Watched) -> None:
    driver = unit.driver

    def stays_off(call: Call) -> None:
        if call == Write("state", (1,), True):
            held_up(unit.hold_ups)
        elif call == "poll":
            unit.set_at_the_panel(1, state=False)

    driver.script = stays_off
    assert unit.ask(1, "on", state=True) == "readback_mismatch"
    assert driver.writes == [Write("state", (1,), True), Write("state", (1,), False)]


def test_a_command_that_is_refused_ends_no_plan(unit: Watched) -> None:
    unit.send(1, "cycle", cycle=3600)
    wait_until(lambda: unit.driver.writes, "off")
    unit.hold_ups.tick(system_clock() - LONGEST_ABSENCE - 1.0)
    assert unit.ask(1, "on", state=True) == "expired"
    assert [response.id for response in unit.sheet.responses] == ["on"]
    assert unit.ask(1, "off", state=False) == "ok"
    assert "held up" not in str(unit.sheet.response("cycle").error)

"""The worker on a driver in memory: the loss of the broker, several outlets, and the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.instruments.driver import Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.report import Report
from agent.unit.job import Job
from agent.unit.limits.channel import DefaultSettings
from tests.lab import wait_until
from tests.unit.fakedriver import Breaks, FakeDriver, Sheet, Unit, is_write

pytestmark = pytest.mark.usefixtures("quick")

OFF_1 = Write("state", (1,), False)


def codes(unit: Unit) -> list[str]:
    return ["ok" if r.error is None else r.error.code for r in unit.sheet.responses]


# The loss of the broker.


def policies(**changed: Any) -> dict[int, Any]:
    return {1: DefaultSettings(on_broker_loss="off", broker_loss_after=0.03, **changed), 2: DefaultSettings()}


def test_without_a_broker_an_output_is_turned_off_once() -> None:
    with Unit(channels=policies()) as unit:
        unit.set_at_the_panel(1, state=True)
        unit.supply.poll_now()
        wait_until(unit.sheet.changes, "the poll")
        unit.supply.broker_gone(time.monotonic())
        wait_until(lambda: ("state", True, False, "agent", None) in unit.sheet.changes(), "the event")
        assert unit.sheet.responses == []
        unit.set_at_the_panel(1, state=True)  # somebody is there
        unit.supply.poll_now()
        wait_until(lambda: unit.sheet.changes()[-1][3] == "panel", "the poll")
        assert unit.driver.writes == [OFF_1]
        unit.supply.broker_gone(None)
        unit.supply.broker_gone(time.monotonic())
        wait_until(lambda: len(unit.driver.writes) == 2, "the next loss")


def test_the_policy_goes_before_what_waits_and_supersedes_what_would_turn_on() -> None:
    with Unit(channels=policies()) as unit:
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "setting", voltage_limit=1)
        unit.send(1, "on", state=True)
        unit.supply.broker_gone(time.monotonic() - 1)
        hold.release()
        assert unit.sheet.code("setting") == "ok"
        assert unit.sheet.code("on") == "superseded"
        assert unit.driver.writes == [OFF_1, Write("voltage_limit", (2,), 1.0)]


def test_the_policy_ends_a_plan_in_progress() -> None:
    with Unit(channels=policies()) as unit:
        unit.send(1, "cycle", cycle=1000)
        wait_until(lambda: unit.driver.writes, "the cycle")
        unit.supply.broker_gone(time.monotonic())
        assert unit.sheet.code("cycle") == "superseded"
        assert "turned off" in str(unit.sheet.response("cycle").error)


def test_the_policy_is_kept_to_when_the_link_is_back() -> None:
    driver = FakeDriver()
    with Unit(driver, channels=policies()) as unit:
        unit.set_at_the_panel(1, state=True)
        driver.script = Breaks(lambda call: is_write("state")(call) or call == "connect", times=4)
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: driver.readings[1].state is False, "off after all")


# Outlets.


def test_every_outlet_gets_every_report_whatever_the_others_do(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        congested = False

        def report(self, report: Report) -> None:
            raise KeyError("of its own")

    first, last = Sheet(), Sheet()
    with Unit(outlets=(Broken(), first, Broken(), last), online=False) as unit:
        wait_until(lambda: last.infos and last.infos[-1].online, "the connection")
        unit.send(1, "a", state=True)
        assert first.code("a") == last.code("a") == "ok"
        assert first.reports == last.reports
    assert any("Broken" in record.message and record.exc_info for record in caplog.records)


class Ahead(FakeDriver):
    """A driver that asks for the next poll ahead."""

    asked = False
    was_asked = 0

    def poll_ahead(self) -> bool:
        self.asked = True
        self.was_asked += 1
        return True

    @property
    def is_poll_under_way(self) -> bool:
        return self.asked

    def poll(self, give_way: Callable[[], bool]) -> Any:
        self.asked = False
        return super().poll(give_way)

    def write(self, write: Write) -> None:
        assert not self.asked  # it has to be read before anything else is said
        super().write(write)


def test_an_off_that_came_in_during_a_poll_does_not_wait_for_another() -> None:
    driver = Ahead()
    with Unit(driver, poll_interval=0.0) as unit:
        hold = driver.hold("poll")
        hold.wait()
        mark = len(driver.calls)
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert driver.calls[mark] == OFF_1


def test_a_congested_outlet_slows_down_a_unit_that_is_polled_without_a_pause() -> None:
    driver = Ahead()
    with Unit(driver, poll_interval=0.0) as unit:
        wait_until(lambda: driver.was_asked > 5, "polls ahead")
        assert unit.ask(1, "a", voltage_limit=1, state=True) == "ok"
        assert unit.ask(1, "off", state=False) == "ok"
        unit.sheet.congested = True
        unit.supply.poll_now()
        polls = driver.calls.count("poll")
        wait_until(lambda: driver.calls.count("poll") > polls + 3, "polls")
        asked = driver.was_asked
        wait_until(lambda: driver.calls.count("poll") > polls + 9, "polls")
        assert driver.was_asked == asked


# The end.


def test_the_end_answers_what_is_left_and_changes_no_output() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(2, state=True)
        unit.send(1, "cycle", cycle=1000)
        wait_until(lambda: unit.driver.writes, "the cycle")
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "waits", voltage_limit=1)
        unit.supply.stop("its configuration has changed")
        with pytest.raises(Refusal, match="not served any more: its configuration has changed"):
            unit.send(2, "late", state=True)
        hold.release()
        assert unit.supply.join(10)
        assert [unit.sheet.code(name) for name in ("cycle", "waits")] == ["superseded", "superseded"]
        assert unit.driver.writes == [OFF_1]
        assert unit.driver.calls[-1] == "close"
        assert unit.driver.hurried
        assert not unit.supply.online
        assert unit.sheet.reports[-1].info is not None
        assert unit.sheet.reports[-1].info.reason == "its configuration has changed"
        assert [state.online for state in unit.sheet.reports[-1].states] == [False] * 3


def test_an_abandoned_unit_says_no_more_and_gets_no_more() -> None:
    with Unit() as unit:
        hold = unit.driver.hold(is_write("voltage_limit"))
        unit.send(1, "running", voltage_limit=1, current_limit=1, state=True)
        hold.wait()
        unit.send(1, "waits", voltage_limit=2)
        unit.supply.stop()
        assert not unit.supply.join(0.01)
        unit.supply.abandon()
        assert codes(unit) == ["uncertain", "superseded"]
        assert not unit.supply.online
        last = unit.sheet.reports[-1]
        assert last.info is not None
        assert last.info.online is False
        assert [state.online for state in last.states] == [False] * 3
        told = len(unit.sheet.reports)
        hold.release()
        assert unit.supply.join(10)
        assert len(unit.sheet.reports) == told
        assert unit.driver.writes == [Write("voltage_limit", (1,), 1.0)]
        assert unit.driver.calls[-1] == "close"


def test_one_that_is_abandoned_while_it_connects_does_not_come_online() -> None:
    driver = FakeDriver()
    hold = driver.hold("connect")
    with Unit(driver, online=False) as unit:
        hold.wait()
        unit.supply.stop()
        unit.supply.abandon()
        told = len(unit.sheet.reports)
        hold.release()
        assert unit.supply.join(10)
        assert not unit.supply.online
        assert len(unit.sheet.reports) == told


def test_each_command_is_answered_once_whoever_is_first() -> None:
    with Unit() as unit:
        job = Job(Command(state=True, id="a"), (unit.supply.channel("1"),))
        assert job.claim_answer()
        assert not job.claim_answer()


def test_a_successor_goes_on_counting() -> None:
    with Unit() as unit:
        assert unit.ask(1, "a", state=True) == "ok"
        last = [state.seq for state in unit.sheet.states if state.index == 1][-1]
    with Unit(unit.driver, predecessor=unit.supply) as successor:
        assert successor.supply.counters is unit.supply.counters
        assert [s.seq for s in successor.sheet.states if s.index == 1] == [last + 2]  # one told that it was stopped


def test_one_that_was_never_started_has_ended() -> None:
    unit = Unit()
    unit.supply.stop()
    assert unit.supply.join(10)


def test_signs_of_life() -> None:
    with Unit() as unit:
        assert unit.supply.alive(0.5)  # it sleeps until the next poll, an hour from now, and that is as it should be
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        assert unit.supply.alive(-1e9)  # it waits for its unit, for as long as that takes
        hold.release()
        wait_until(lambda: not unit.supply.alive(-1e9), "the end of the poll")
        assert unit.supply.alive(0.5)
    assert not unit.supply.alive(1000)

"""Another agent serves the supply: no link, no poll, no setting; an off opens a link for itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.instruments.driver import LinkError, Write
from agent.protocol.errors import Refusal
from agent.protocol.messages import Conflict
from agent.unit import connecting
from agent.unit.standing import ALONE, Part, Standing
from tests.lab import wait_until
from tests.unit.fakedriver import Breaks, Call, FakeDriver, Hold, Unit, is_write

pytestmark = pytest.mark.usefixtures("quick")

OFF_1 = Write("state", (1,), False)
WHY = "agent bench2 on host2 serves this supply as psu7; send settings there"
OTHER = Conflict(agent="bench2", instance="i2", host="host2", unit="psu7", why="supply")
ASIDE = Standing(Part.YIELDS_SUPPLY, WHY, OTHER)


def step_aside(unit: Unit) -> int:
    """Have the unit yield its supply, and wait until it has. The number of calls that the driver has had by then."""
    unit.supply.stand(ASIDE)
    wait_until(lambda: unit.driver.calls[-1] == "close", "the closed link")
    unit.wait_offline()
    return len(unit.driver.calls)


def begin_off(unit: Unit) -> Hold:
    """Have the unit yield its supply, and send an off, whose link hangs until it is released."""
    step_aside(unit)
    hold = unit.driver.hold("connect")
    unit.send(1, "off", state=False)
    hold.wait()
    return hold


def link_calls(unit: Unit, mark: int) -> list[Call]:
    """The calls since then, without the further ones of `close`, which may be called twice."""
    calls = unit.driver.calls[mark:]
    return [call for number, call in enumerate(calls) if call != "close" or (number and calls[number - 1] != "close")]


def test_the_link_is_closed_and_the_unit_offline_for_that_reason() -> None:
    with Unit(poll_interval=0.01) as unit:
        mark = step_aside(unit)
        info = unit.sheet.infos[-1]
        assert (info.online, info.reason) == (False, WHY)
        assert [state.online for state in unit.sheet.reports[-1].states] == [False] * 3
        with pytest.raises(Refusal, match="bench2") as refused:
            unit.send(1, "a", voltage_limit=1)
        assert refused.value.code == "conflict"
        unit.supply.poll_now()
        assert unit.ask(1, "off", state=False) == "ok"  # the worker has been around once more
        assert link_calls(unit, mark)[:2] == ["connect", "poll"]


def test_an_off_opens_the_link_and_it_is_closed_again() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        mark = step_aside(unit)
        assert unit.ask(1, "off", state=False) == "ok"
        response = unit.sheet.response("off")
        assert response.result.state is False  # type: ignore[union-attr]
        unit.wait_offline()
        assert link_calls(unit, mark) == ["connect", "poll", OFF_1, "poll", "close"]
        assert unit.sheet.infos[-1].reason == WHY


def test_offs_that_are_repeated_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Unit() as unit:
        step_aside(unit)
        assert caplog.text.count(f"offline: {WHY}") == 1
        caplog.clear()
        for name in "abc":
            assert unit.ask(1, name, state=False) == "ok"
            unit.wait_offline()
        names = {record.name for record in caplog.records}
        assert names.isdisjoint({"agent.unit.connecting", "agent.unit.access"})
        unit.supply.stand(ALONE)
        wait_until(lambda: unit.supply.online, "the unit to be served")
        assert "agent.unit.connecting" in {record.name for record in caplog.records}
        unit.supply.stand(replace(ASIDE))  # that it yields again is news
        wait_until(lambda: f"offline: {WHY}" in caplog.text, "the log")


def test_several_offs_at_once_take_one_link() -> None:
    with Unit() as unit:
        mark = step_aside(unit)
        hold = unit.driver.hold("connect")
        unit.send(1, "a", state=False)
        hold.wait()
        unit.send(None, "b", state=False)
        unit.send(2, "c", state=False)
        hold.release()
        assert [unit.sheet.code(name) for name in "abc"] == ["ok"] * 3
        unit.wait_offline()
        assert unit.driver.calls[mark:].count("connect") == 1


def test_of_an_off_with_something_else_the_off_is_done() -> None:
    with Unit() as unit:
        step_aside(unit)
        assert unit.ask(1, "a", state=False, voltage_limit=1) == "conflict"
        assert str(unit.sheet.response("a").error).count("it was turned off, but") == 1
        assert unit.driver.writes == [OFF_1]


class OffAtClose(FakeDriver):
    """One whose first `close` meets an off."""

    unit: Unit | None = None

    def close(self) -> None:
        unit, self.unit = self.unit, None
        if unit is not None:
            unit.send(1, "off", state=False)
        super().close()


def yield_and_turn_off(unit: Unit, driver: OffAtClose) -> None:
    """The off comes while the link is closed."""
    driver.unit = unit
    unit.supply.stand(ASIDE)
    assert unit.sheet.code("off") == "ok"


def test_an_off_that_comes_while_the_link_is_closed() -> None:
    driver = OffAtClose()
    with Unit(driver) as unit:
        yield_and_turn_off(unit, driver)
        assert unit.driver.writes == [OFF_1]
        assert driver.unit is None


@pytest.mark.parametrize("at", ["connect", "poll"])
def test_an_off_that_comes_while_the_link_is_opened(at: str) -> None:
    driver = FakeDriver()
    hold = driver.hold(at)
    with Unit(driver, online=False) as unit:
        hold.wait()
        unit.supply.stand(ASIDE)
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert driver.writes == [OFF_1]


def test_a_unit_that_yields_while_it_is_connected_does_not_come_online() -> None:
    driver = FakeDriver()
    hold = driver.hold("connect")
    with Unit(driver, online=False) as unit:
        hold.wait()
        unit.supply.stand(ASIDE)
        hold.release()
        wait_until(lambda: unit.sheet.infos[-1].reason == WHY, "the reason")
        assert not any(info.online for info in unit.sheet.infos)
        assert unit.supply.counters.errors == 0


def test_one_that_can_not_be_reached_yields_at_once() -> None:
    driver = FakeDriver()
    driver.script = Breaks(lambda call: call == "connect", times=10**6)
    with Unit(driver, online=False) as unit:
        wait_until(lambda: len(unit.sheet.infos) > 1, "the first try")
        unit.supply.stand(ASIDE)
        wait_until(lambda: unit.sheet.infos[-1].reason == WHY, "the reason")
        tries = driver.calls.count("connect")
        assert unit.ask(1, "off", state=False) == "offline"
        message = str(unit.sheet.response("off").error)
        assert WHY in message
        assert "could not open a link for the off: no answer: timeout" in message
        assert driver.calls.count("connect") == tries + 2


def test_the_second_try_at_a_link_for_an_off() -> None:
    with Unit() as unit:
        step_aside(unit)
        unit.driver.script = Breaks(lambda call: call == "connect")
        assert unit.ask(1, "off", state=False) == "ok"
        wait_until(lambda: unit.sheet.infos[-1].reason == WHY, "the reason")


def test_an_off_whose_link_breaks_gets_one_more_try() -> None:
    with Unit() as unit:
        step_aside(unit)
        unit.driver.script = Breaks(is_write("state"))
        assert unit.ask(1, "off", state=False) == "ok"
        assert unit.driver.readings[1].state is False
        wait_until(lambda: unit.sheet.infos[-1].reason == WHY, "the reason")


def test_plans_under_way_and_what_waits_are_refused() -> None:
    with Unit() as unit:
        unit.send(1, "cycle", cycle=1000)
        wait_until(lambda: unit.driver.writes, "the cycle")
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "waits", voltage_limit=1)
        unit.supply.stand(ASIDE)
        hold.release()
        assert [unit.sheet.code(name) for name in ("cycle", "waits")] == ["conflict"] * 2
        assert unit.driver.writes == [OFF_1]


def test_an_off_with_a_delay_is_finished_before_the_link_is_closed() -> None:
    from agent.instruments.driver import Conditions
    from tests.unit.fakedriver import TalkingDriver

    driver = TalkingDriver()
    driver.conditions = Conditions(fall_delay={1: 0.1})
    with Unit(driver) as unit:
        unit.set_at_the_panel(1, state=True, voltage=5.0)
        step_aside(unit)
        unit.send(1, "off", state=False)
        assert unit.sheet.code("off") == "ok"


def test_it_takes_the_supply_back() -> None:
    with Unit() as unit:
        step_aside(unit)
        unit.supply.stand(ALONE)
        wait_until(lambda: unit.supply.online, "the link")
        assert unit.ask(1, "a", voltage_limit=1) == "ok"
        assert unit.sheet.infos[-1].online


def test_an_off_that_came_before_the_end_is_done() -> None:
    with Unit() as unit:
        hold = begin_off(unit)
        unit.supply.stop()
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert unit.supply.join(10)


def test_an_address_that_another_agent_serves_is_tried_seldom_but_for_an_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "NEXT_LOOK", 3600.0)
    driver = FakeDriver()
    driver.script = Breaks(lambda call: call == "connect", times=2)
    with Unit(driver, online=False, standing=Standing(Part.UNDECIDED, WHY, OTHER)) as unit:
        wait_until(lambda: unit.sheet.infos[-1].reason == "no answer: timeout", "the first try")
        wait_until(lambda: code_of(unit, "a") == "offline", "an off that is refused by the second")
        assert driver.calls.count("connect") == 2
        wait_until(lambda: code_of(unit, "b") == "ok", "an off that is done by the third")
        assert driver.writes == [OFF_1]


def test_one_that_looked_taken_is_connected_when_the_other_agent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "NEXT_LOOK", 3600.0)
    driver = FakeDriver()
    driver.script = Breaks(lambda call: call == "connect", times=1)
    with Unit(driver, online=False, standing=Standing(Part.UNDECIDED, WHY, OTHER)) as unit:
        wait_until(lambda: unit.sheet.infos[-1].reason == "no answer: timeout", "the first try")
        unit.supply.stand(ALONE)
        unit.wait_online()


def code_of(unit: Unit, command_id: str) -> str:
    """The outcome of an off that is sent until the unit takes it."""
    if not any(response.id == command_id for response in unit.sheet.responses):
        try:
            unit.send(1, command_id, state=False)
        except Refusal:  # its inbox is closed for a moment after a try
            return "refused at the door"
    return unit.sheet.code(command_id)


def test_a_clean_end_releases_the_unit_and_an_abandoned_one_does_not() -> None:
    with Unit() as unit:
        unit.supply.stop()
        assert unit.supply.join(10)
        assert (unit.sheet.infos[-1].serves, unit.sheet.infos[-1].online) == (False, False)
        assert unit.driver.calls[-1] == "close"
    with Unit() as unit:
        unit.supply.stop(is_replaced=True)
        assert unit.supply.join(10)
        assert unit.sheet.infos[-1].serves
    with Unit() as unit:
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.supply.stop()
        unit.supply.abandon()
        assert unit.sheet.infos[-1].serves
        hold.release()


def test_the_end_while_another_agent_serves_it() -> None:
    with Unit() as unit:
        step_aside(unit)
        unit.supply.stop("its configuration has changed")
        assert unit.supply.join(10)
        assert unit.driver.writes == []


def test_an_abandoned_off_is_answered_once() -> None:
    with Unit() as unit:
        hold = begin_off(unit)
        unit.supply.stop()
        unit.supply.abandon()
        hold.release()
        assert unit.supply.join(10)
        assert unit.sheet.code("off") in ("ok", "offline", "superseded")


def test_a_successor_stands_as_its_predecessor_and_takes_its_offs() -> None:
    with Unit() as unit:
        step_aside(unit)
        unit.supply.stop("its configuration has changed", is_replaced=True)
        assert unit.supply.join(10)
        unit.send(1, "off", state=False)
        unit.succeed()
        assert unit.supply.standing is ASIDE
        assert unit.sheet.code("off") == "ok"
        wait_until(lambda: unit.driver.calls[-1] == "close", "the closed link")
        with pytest.raises(Refusal, match="bench2"):
            unit.send(1, "a", state=True)


def test_an_off_for_outputs_that_nobody_knows_is_not_said_to_be_done() -> None:
    driver = FakeDriver(())
    driver.script = Breaks(lambda call: call == "connect", times=10**6)
    with Unit(driver, online=False) as unit:
        unit.supply.stand(ASIDE)
        with pytest.raises(Refusal, match="is offline") as refused:
            unit.send(None, "off", state=False)
        assert refused.value.code == "offline"


@pytest.mark.parametrize("part", [Part.UNDECIDED, Part.CONTESTED, Part.YIELDS_NAME])
def test_other_standings_poll_and_do_offs_and_take_no_setting(part: Part) -> None:
    with Unit(poll_interval=0.01) as unit:
        unit.supply.stand(Standing(part, None if part is Part.UNDECIDED else WHY))
        polls = unit.driver.calls.count("poll")
        wait_until(lambda: unit.driver.calls.count("poll") > polls + 2, "polls")
        with pytest.raises(Refusal) as refused:
            unit.send(1, "a", voltage_limit=1)
        assert refused.value.code == "conflict"
        assert unit.ask(1, "off", state=False) == "ok"
        assert unit.driver.writes == [OFF_1]
        unit.supply.stand(ALONE)
        assert unit.ask(1, "b", voltage_limit=1) == "ok"


def test_a_ramp_under_way_ends_when_the_unit_is_contested() -> None:
    with Unit() as unit:
        unit.send(1, "ramp", voltage_limit=6, ramp=0.5)
        wait_until(lambda: len(unit.driver.writes) > 1, "two steps")
        unit.supply.stand(Standing(Part.CONTESTED, WHY, OTHER))
        told = len(unit.driver.writes)
        assert unit.sheet.code("ramp") == "conflict"
        assert len(unit.driver.writes) <= told + 1  # one may have been on its way


def test_a_broken_link_keeps_no_unit_from_yielding() -> None:
    def breaks(call: Any) -> None:
        if call == "poll":
            raise LinkError("no answer: timeout")

    with Unit() as unit:
        unit.driver.script = breaks
        unit.supply.poll_now()
        unit.supply.stand(ASIDE)
        wait_until(lambda: unit.sheet.infos[-1].reason == WHY, "the reason")

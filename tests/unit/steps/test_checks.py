"""The checks of plans on a unit in memory: before a command's first write, and before it is called done."""

from __future__ import annotations

from typing import Any

import pytest

from agent.instruments.driver import Conditions, Reading, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.unit import plans
from agent.unit.limits.channel import Channel, DefaultSettings
from agent.unit.limits.judging import judge
from agent.unit.steps import LOOK, LOOK_AT_ALL, Pause, Seen
from tests.lab import wait_until
from tests.unit.fakedriver import OFF, Call, FakeDriver, TalkingDriver, Unit, output

OFF_1, ON_1 = Write("state", (1,), False), Write("state", (1,), True)
CHANNEL = Channel("psu1", "CH1", output(1))


def message(unit: Unit, command_id: str) -> str:
    error = unit.sheet.response(command_id).error
    assert error is not None
    return error.message


# Before the first write.


@pytest.mark.parametrize("fields", [{"state": True}, {"cycle": 0}, {"voltage_limit": 1, "state": True}])
def test_a_command_whose_effect_the_unit_does_not_tell_is_not_carried_out(fields: dict[str, Any]) -> None:
    driver = TalkingDriver()
    driver.silent = ["OUTP:COUP:CHAN? was not answered"]
    with Unit(driver) as unit:
        assert unit.ask(1, "a", **fields) == "uncertain"
        assert "OUTP:COUP:CHAN? was not answered by psu1" in message(unit, "a")
        assert driver.writes == []
        assert unit.ask(1, "off", state=False) == "ok"


@pytest.mark.parametrize("fields", [{"state": True}, {"cycle": 0}, {"state": True, "voltage_limit": 1, "ramp": 100}])
def test_outputs_that_are_coupled_with_others(fields: dict[str, Any]) -> None:
    driver = TalkingDriver()
    driver.conditions = Conditions(coupled=frozenset((1, 3)))
    with Unit(driver) as unit:
        assert unit.ask(1, "a", **fields) == "unsupported"
        assert "outputs 1, 3 are coupled, so 3 would be turned" in message(unit, "a")
        assert driver.writes == []
        assert unit.ask(2, "b", **fields) == "ok"
        assert unit.ask(None, "all", state=True) == "ok"
        assert unit.ask(1, "c", voltage_limit=2) == "ok"


def test_a_coupling_is_asked_for_again_right_before_an_output_is_turned_on() -> None:
    driver = TalkingDriver()

    def couple(call: Call) -> None:
        if call == Write("voltage_limit", (1,), 1.0):
            driver.conditions = Conditions(coupled=frozenset((1, 2)))

    driver.script = couple
    with Unit(driver) as unit:
        assert unit.ask(1, "a", voltage_limit=1, state=True) == "unsupported"
        assert ON_1 not in driver.writes


@pytest.mark.parametrize("reading", [OFF, OFF._replace(state=True, mode="CV", voltage_limit=4.0, voltage=4.0)])
@pytest.mark.parametrize(
    ("fields", "trips"),
    [
        ({"voltage_limit": 5.5}, True),
        ({"voltage_limit": 5}, False),
        ({"voltage_protection": 3.9}, True),
        ({"voltage_protection": 3.9, "voltage_limit": 3.9}, False),
        ({"voltage_protection": 6, "voltage_limit": 5.5}, False),
        ({"current_limit": 1}, False),
    ],
)
def test_a_voltage_above_the_trip_level_is_judged_where_the_output_is_or_goes_on(
    reading: Reading, fields: dict[str, float], trips: bool
) -> None:
    before = reading._replace(voltage_protection=5.0, voltage_limit=4.0)
    for more in ({}, {"state": True}, {"cycle": 1.0}, {"state": False}):
        command = Command(**fields, **more)
        on = bool(more.get("state")) or "cycle" in more or (before.state and "state" not in more)
        if trips and on:
            with pytest.raises(Refusal, match=r"would trip \(OVP\)") as refusal:
                judge(command, CHANNEL, before)
            assert refusal.value.code == "out_of_range"
        else:
            judge(command, CHANNEL, before)


def test_going_down_is_no_reason_for_a_trip() -> None:
    """The unit's protection may be switched off; nobody must be kept from lowering the voltage."""
    before = OFF._replace(state=True, voltage_protection=3.0, voltage_limit=5.0, voltage=5.0)
    judge(Command(voltage_limit=4.0), CHANNEL, before)
    with pytest.raises(Refusal):
        judge(Command(voltage_limit=5.5), CHANNEL, before)
    with pytest.raises(Refusal):
        judge(Command(voltage_limit=4.0, voltage_protection=3.5), CHANNEL, before)


def test_a_voltage_that_comes_from_elsewhere_counts() -> None:
    before = OFF._replace(state=True, voltage_protection=6.0, voltage_limit=2.0, voltage=5.0)
    with pytest.raises(Refusal, match="it measures 5 V"):
        judge(Command(voltage_protection=4.0), CHANNEL, before)
    judge(Command(voltage_protection=5.5), CHANNEL, before)


def test_a_ramp_that_would_begin_above_the_limit_is_refused_before_anything_is_set() -> None:
    with Unit(channels={1: DefaultSettings(voltage_max=5.0)}) as unit:
        unit.set_at_the_panel(1, voltage_limit=6.0)
        fields = {"voltage_limit": 1, "ramp": 100, "current_limit": 1}
        assert unit.ask(1, "a", **fields) == "limit_exceeded"
        assert "no ramp from where the unit is: voltage_limit 6 V is above" in message(unit, "a")
        unit.set_at_the_panel(1, voltage_limit=None)
        assert unit.ask(1, "b", **fields) == "readback_mismatch"
        assert unit.driver.writes == []
        unit.set_at_the_panel(1, voltage_limit=6.0)
        assert unit.ask(1, "soft", **fields, state=True) == "ok"  # it begins at 0 V


def test_a_unit_that_tells_no_trip_level_is_not_judged_by_one() -> None:
    for level in (None, 0.0):
        judge(Command(voltage_limit=5.0, state=True), CHANNEL, OFF._replace(voltage_protection=level))


# After the writes.


class Discharging(FakeDriver):
    """Output 1 is on at 5 V, and keeps this voltage for some polls after it was set lower, or after it was turned off."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self.left = polls
        self.readings[1] = OFF._replace(state=True, mode="CV", voltage_limit=5.0, voltage=5.0)

    def poll(self, give_way: Any) -> dict[int, Reading] | None:
        readings = super().poll(give_way)
        if readings is not None and self.writes and self.left > 0:
            self.left -= 1
            readings[1] = readings[1]._replace(voltage=5.0)
        return readings


@pytest.mark.parametrize("fields", [{"voltage_limit": 3}, {"voltage_limit": 3, "ramp": 1000}])
def test_the_trip_level_waits_for_an_output_that_discharges_slowly(fields: dict[str, float]) -> None:
    driver = Discharging(4)
    with Unit(driver) as unit:
        assert unit.ask(1, "a", voltage_protection=4, **fields) == "ok"
        protection = driver.calls.index(Write("voltage_protection", (1,), 4.0))
        assert driver.calls[:protection].count("poll") >= 5
        assert driver.left == 0


def test_a_measurement_a_little_above_the_trip_level_keeps_nobody_waiting() -> None:
    driver = FakeDriver()
    driver.readings[1] = OFF._replace(state=True, mode="CV", voltage_limit=5.0, voltage=5.0)

    def noise(call: Call) -> None:
        if call == "poll" and driver.writes:
            driver.readings[1] = driver.readings[1]._replace(voltage=4.003)

    driver.script = noise
    with Unit(driver) as unit:
        assert unit.ask(1, "a", voltage_limit=4, voltage_protection=4) == "ok"
        assert len([call for call in driver.calls if call == "poll"]) <= 4


def test_the_trip_level_stays_where_the_output_does_not_come_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.unit.steps.waiting.LONGEST_DESCENT", 0.05)
    driver = Discharging(10_000)
    with Unit(driver) as unit:
        assert unit.ask(1, "a", voltage_protection=4, voltage_limit=3) == "readback_mismatch"
        assert "voltage_protection was not lowered" in message(unit, "a")
        assert [write.setting for write in driver.writes] == ["voltage_limit"]


def test_the_trip_level_stays_where_the_unit_ignores_the_voltage() -> None:
    class Stubborn(FakeDriver):
        def write(self, write: Write) -> None:
            self._called(write)

    driver = Stubborn()
    driver.readings[1] = OFF._replace(state=True, mode="CV", voltage_limit=5.0, voltage=5.0)
    with Unit(driver) as unit:
        assert unit.ask(1, "a", voltage_protection=4, voltage_limit=3) == "readback_mismatch"
        assert [write.setting for write in driver.writes] == ["voltage_limit"]


class Tripping(FakeDriver):
    """Output 1 is on, unregulated after a write for some polls, and then trips."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self.left = polls
        self.readings[1] = OFF._replace(state=True, mode="CV", voltage_limit=1.0, voltage=1.0)

    def poll(self, give_way: Any) -> dict[int, Reading] | None:
        if self.writes:
            self.left -= 1
            on = self.left > 0
            self.readings[1] = self.readings[1]._replace(
                state=on, mode="UR" if on else "OFF", tripped=None if on else "OVP"
            )
        return super().poll(give_way)


@pytest.mark.parametrize("fields", [{"voltage_limit": 3}, {"current_limit": 1}, {"state": True}])
def test_a_trip_some_time_after_the_last_write_is_not_done(fields: dict[str, Any]) -> None:
    with Unit(Tripping(4)) as unit:
        assert unit.ask(1, "a", **fields) == "readback_mismatch"
        assert "tripped (OVP)" in message(unit, "a")


def test_an_output_that_does_not_go_on_is_turned_off_again() -> None:
    class Inhibited(FakeDriver):
        def write(self, write: Write) -> None:
            self._called(write)

    with Unit(Inhibited()) as unit:
        assert unit.ask(1, "a", state=True) == "readback_mismatch"
        assert unit.driver.writes == [ON_1, OFF_1]


# Off.


def test_an_off_that_took_others_along_is_told_as_the_commands_work() -> None:
    driver = TalkingDriver()
    driver.conditions = Conditions(coupled=frozenset((1, 2)))

    def along(call: Call) -> None:
        if call == OFF_1:
            for index in (2, 3):  # 3 by somebody else at the same moment
                driver.readings[index] = OFF

    driver.script = along
    with Unit(driver) as unit:
        for index in (1, 2, 3):
            unit.set_at_the_panel(index, state=True, mode="CV")
        unit.supply.poll_now()
        wait_until(lambda: unit.sheet.changes(3), "the poll")
        assert unit.ask(1, "off", state=False) == "ok"
        authors = {
            index: [c for c in unit.sheet.changes(index) if c[:3] == ("state", True, False)] for index in (1, 2, 3)
        }
        assert authors[1] == authors[2] == [("state", True, False, "command", "off")]
        assert authors[3] == [("state", True, False, "panel", None)]


@pytest.mark.parametrize("fields", [{}, {"current_limit": 1}])
def test_off_is_not_done_before_the_off_delay_is_over(fields: dict[str, float]) -> None:
    driver = TalkingDriver()
    driver.conditions = Conditions(fall_delay={1: 60.0})
    driver.readings[1] = OFF._replace(voltage_limit=5.0, voltage=5.0)  # it has the voltage still
    driver.bars = ["a bar that is none for an off"] if not fields else []
    with Unit(driver) as unit:

        def keep(call: Call) -> None:
            if isinstance(call, str):
                driver.readings[1] = driver.readings[1]._replace(voltage=5.0)

        driver.script = keep
        assert unit.ask(1, "off", state=False, **fields) == "instrument_error"
        assert "off delay of 60 s" in message(unit, "off")
        assert OFF_1 in driver.writes
        driver.conditions = Conditions(fall_delay={1: 0.01})
        assert unit.ask(1, "again", state=False, **fields) == "ok"


def test_the_off_delay_counts_from_the_unit_s_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write is sent, and nobody knows when it arrives; the answer to what was sent after it comes when it has."""
    now = 1000.0
    monkeypatch.setattr(plans, "system_clock", lambda: now)
    live = {1: OFF._replace(voltage_limit=5.0, voltage=5.0)}
    plan = plans.off((CHANNEL,))
    assert plan.send(None) == (OFF_1,)  # type: ignore[arg-type]
    assert plan.send(None) == LOOK  # type: ignore[arg-type]
    now += 3.0
    assert plan.send(Seen(live)) == LOOK_AT_ALL
    pause = plan.send(Seen(live, Conditions(fall_delay={1: 2.0})))
    assert isinstance(pause, Pause)
    assert pause.until == now + 2.0

"""Commands that meet a plan under way: those for the same thing replace it, others and refused ones leave it alone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agent.instruments.driver import Write
from agent.protocol.commands import Command, parse_command
from agent.unit.job import Job
from tests.lab import wait_until
from tests.unit.fakedriver import TalkingDriver, Unit, as_json

ON_2 = Write("state", (2,), True)


def begin_ramp(unit: Unit, **more: Any) -> None:
    unit.send(2, "older", voltage_limit=6, ramp=0.2, **more)
    wait_until(lambda: [w for w in unit.driver.writes if w.setting == "voltage_limit"], "the ramp")


def begin_cycle(unit: Unit, **more: Any) -> None:
    unit.send(2, "older", cycle=1000, **more)
    wait_until(lambda: Write("state", (2,), False) in unit.driver.writes, "off")
    wait_until(lambda: unit.driver.calls[-1] == "inspect []", "the look after it")


NEWER: list[dict[str, Any]] = [
    {"state": False},
    {"state": True},
    {"cycle": 0},
    {"voltage_limit": 1},
    {"voltage_limit": 1, "ramp": 100},
    {"current_limit": 1},
    {"voltage_protection": 6.5},
    {"current_protection": True},
    {"clear_protection": True},
    {"state": False, "current_limit": 1},
]
RAMP_ENDS = [{"state": False}, {"cycle": 0}, {"voltage_limit": 1}, {"voltage_limit": 1, "ramp": 100}, NEWER[-1]]
CYCLE_ENDS = [{"state": False}, {"state": True}, {"cycle": 0}, {"clear_protection": True}, NEWER[-1]]


def goes_on(unit: Unit) -> bool:
    return any(execution.job.command.id == "older" for execution in unit.supply._worker.executions)


@pytest.mark.parametrize("newer", NEWER, ids=str)
@pytest.mark.parametrize(("begin", "ends"), [(begin_ramp, RAMP_ENDS), (begin_cycle, CYCLE_ENDS)])
def test_a_newer_command(begin: Any, ends: list[dict[str, Any]], newer: dict[str, Any]) -> None:
    with Unit(TalkingDriver()) as unit:
        unit.set_at_the_panel(2, state=True, mode="CV")
        begin(unit)
        assert unit.ask(2, "newer", **newer) == "ok"
        if newer in ends:
            assert unit.sheet.code("older") == "superseded"
        else:
            assert goes_on(unit)


@pytest.mark.parametrize("newer", NEWER[1:-1], ids=str)
@pytest.mark.parametrize("begin", [begin_ramp, begin_cycle])
def test_a_refused_command_has_no_effect(begin: Any, newer: dict[str, Any]) -> None:
    """By what the first look tells, and before: by its age."""
    driver = TalkingDriver()
    with Unit(driver) as unit:
        unit.set_at_the_panel(2, state=True, mode="CV")
        begin(unit)
        driver.bars = ["outputs 2 and 3 track each other; turn tracking off"]
        assert unit.ask(2, "newer", **newer) == "unsupported"
        assert goes_on(unit)
        driver.bars = []
        command = parse_command(as_json({"id": "old", **newer}))
        hold = driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        job = Job(command, (unit.supply.channel("2"),), expires=time.monotonic() + 3600)
        unit.supply.submit(job)
        job.expires = time.monotonic() - 1
        hold.release()
        assert unit.sheet.code("old") == "expired"
        assert goes_on(unit)


def test_a_ramp_that_moves_an_output_that_is_off_ends_when_it_is_turned_on() -> None:
    with Unit(TalkingDriver()) as unit:
        begin_ramp(unit)
        assert unit.ask(2, "on", state=True) == "ok"
        assert unit.sheet.code("older") == "superseded"


@pytest.mark.parametrize("field", [{"voltage_limit": 2}, {"current_limit": 1}])
def test_a_cycle_is_replaced_by_a_newer_value_of_what_it_has_set_itself(field: dict[str, float]) -> None:
    with Unit(TalkingDriver()) as unit:
        begin_cycle(unit, voltage_limit=1, current_limit=0.5)
        assert unit.ask(2, "newer", **field) == "ok"
        assert unit.sheet.code("older") == "superseded"
        assert ON_2 not in unit.driver.writes


def test_a_trip_level_that_a_ramp_lowers_at_its_end_is_its_own() -> None:
    with Unit(TalkingDriver()) as unit:
        unit.set_at_the_panel(2, state=True, mode="CV", voltage_limit=6.0, voltage=6.0)
        unit.send(2, "older", voltage_limit=1, ramp=0.2, voltage_protection=3)
        wait_until(lambda: unit.driver.writes, "the ramp")
        assert unit.ask(2, "newer", voltage_protection=6.5) == "ok"
        assert unit.sheet.code("older") == "superseded"


def test_a_ramp_is_one_event_though_other_commands_come_and_are_refused_between() -> None:
    driver = TalkingDriver()
    with Unit(driver, poll_interval=0.002) as unit:
        unit.set_at_the_panel(2, state=True, mode="CV")
        unit.send(2, "ramp", voltage_limit=0.5, ramp=1)
        wait_until(lambda: driver.writes, "the ramp")
        assert unit.ask(2, "other", current_limit=1) == "ok"
        driver.bars = ["something"]
        assert unit.ask(2, "refused", voltage_limit=3, ramp=1) == "unsupported"
        driver.bars = []
        assert unit.sheet.code("ramp") == "ok"
        changes = [change for change in unit.sheet.changes(2) if change[0] == "voltage_limit"]
        assert changes == [("voltage_limit", 0.0, 0.5, "command", "ramp")]


def test_the_older_command_is_answered_after_the_first_write_of_the_newer_one() -> None:
    """Nothing stands between an off and its write."""
    with Unit(TalkingDriver()) as unit:
        begin_cycle(unit)
        answered: list[bool] = []

        def note(call: Any) -> None:
            if call == Write("state", (2,), False):
                answered.append(any(response.id == "older" for response in unit.sheet.responses))

        unit.driver.script = note
        assert unit.ask(2, "off", state=False) == "ok"
        assert unit.sheet.code("older") == "superseded"
        assert answered == [False]


# Expiry.


def test_an_expiry_is_looked_at_before_each_write_that_turns_on_or_raises() -> None:
    """The unit is slow: it is past when the look before it has been answered."""
    driver = TalkingDriver()
    with Unit(driver) as unit:
        channels = (unit.supply.channel("1"),)
        for name, fields in (
            ("on", {"state": True}),
            ("up", {"voltage_limit": 5}),
            ("clear", {"clear_protection": True}),
        ):
            hold = driver.hold("inspect [1]")
            job = Job(Command(id=name, **fields), channels, expires=time.monotonic() + 3600)
            unit.supply.submit(job)
            hold.wait()
            job.expires = time.monotonic() - 1
            hold.release()
            assert unit.sheet.code(name) == "expired"
        assert [write for write in driver.writes if write != Write("state", (1,), False)] == []


def test_lowering_goes_on_past_the_expiry() -> None:
    driver = TalkingDriver()
    with Unit(driver) as unit:
        unit.set_at_the_panel(1, state=True, mode="CV", voltage_limit=5.0, voltage=5.0, current_limit=1.0)
        hold = driver.hold("inspect [1]")
        fields = {"voltage_limit": 3.0, "current_limit": 0.5, "voltage_protection": 4.0, "current_protection": True}
        job = Job(Command(id="down", **fields), (unit.supply.channel("1"),), expires=time.monotonic() + 3600)
        unit.supply.submit(job)
        hold.wait()
        job.expires = time.monotonic() - 1
        hold.release()
        assert unit.sheet.code("down") == "ok"


def test_a_cycle_that_expired_in_its_off_time_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set, so that it was not known before."""
    with Unit(TalkingDriver()) as unit:
        off = unit.driver.hold(Write("state", (2,), False))
        job = unit.send(2, "cycle", cycle=0.05)
        off.wait()
        job.expires = time.monotonic() - 1
        off.release()
        assert unit.sheet.code("cycle") == "expired"
        assert ON_2 not in unit.driver.writes

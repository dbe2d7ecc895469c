"""Commands on a unit in memory: off ahead of everything, one response each, and what was found goes with it."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from agent.instruments.driver import Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.unit import worker
from agent.unit.job import Job
from agent.unit.limits.channel import DefaultSettings
from tests.lab import wait_until
from tests.unit.fakedriver import Call, FakeDriver, TalkingDriver, Unit, is_write

OFF_1 = Write("state", (1,), False)


def since(driver: FakeDriver, count: int) -> list[Any]:
    return driver.calls[count:]


def test_the_settings_then_on_then_the_response_with_the_states() -> None:
    with Unit() as unit:
        mark, told = len(unit.driver.calls), len(unit.sheet.reports)
        assert unit.ask(1, "a", voltage_limit=3, current_limit=0.5, state=True) == "ok"
        assert since(unit.driver, mark) == [
            "poll",
            Write("voltage_limit", (1,), 3.0),
            Write("current_limit", (1,), 0.5),
            "poll",
            Write("state", (1,), True),
            "poll",
        ]
        (report,) = unit.sheet.reports[told:]  # the states of all three polls, the events and the response in one
        assert report.reply_to.correlation == b"a"
        assert [state.index for state in report.states] == [1, 2, 3] * 3
        assert [state.seq for state in report.states if state.index == 1] == [2, 3, 4]
        assert sorted(event.field for event in report.events) == ["current_limit", "mode", "state", "voltage_limit"]
        assert report.response is not None
        assert report.response.result == unit.sheet.states[-3]
        assert unit.sheet.changes() == [
            ("voltage_limit", 0.0, 3.0, "command", "a"),
            ("current_limit", 0.1, 0.5, "command", "a"),
            ("state", False, True, "command", "a"),
            ("mode", "OFF", "CV", "command", "a"),
        ]
        assert unit.driver.threads == {"supply-psu1"}


def test_a_whole_unit() -> None:
    with Unit() as unit:
        assert unit.ask(None, "on", state=True) == "ok"
        assert unit.ask(None, "off", state=False) == "ok"
        assert unit.driver.writes == [Write("state", (1, 2, 3), True), Write("state", (1, 2, 3), False)]
        response = unit.sheet.response("off")
        assert response.index is None
        assert isinstance(response.result, list)
        assert [state.state for state in response.result] == [False, False, False]


def test_off_asks_nothing_before_and_goes_ahead_of_what_waits() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "setting", voltage_limit=2)
        unit.send(1, "on", state=True)
        unit.send(1, "off", state=False)
        assert unit.sheet.code("on") == "superseded"
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert unit.sheet.code("setting") == "ok"
        assert unit.driver.writes == [OFF_1, Write("voltage_limit", (2,), 2.0)]


def test_a_poll_gives_way_to_an_off_and_comes_right_after_it() -> None:
    with Unit(FakeDriver(messages=12)) as unit:
        hold = unit.driver.hold("message")
        mark = len(unit.driver.calls)
        unit.supply.poll_now()
        hold.wait()
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        told = len(unit.sheet.reports)
        wait_until(lambda: len(unit.sheet.reports) > told or len(unit.sheet.states) > 6, "the poll that was dropped")
        calls = since(unit.driver, mark)
        assert calls[:4] == ["poll", "message", "dropped", OFF_1]
        wait_until(
            lambda: since(unit.driver, mark).count("poll") == 3, "a look after off, and the poll that was dropped"
        )
        assert unit.supply.counters.polls == 3


def test_an_off_of_the_same_output_ends_what_is_being_carried_out() -> None:
    with Unit() as unit:
        hold = unit.driver.hold(is_write("voltage_limit"))
        unit.send(1, "long", voltage_limit=3, current_limit=0.5, state=True)
        hold.wait()
        mark = len(unit.driver.calls)
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert unit.sheet.code("long") == "superseded"
        assert since(unit.driver, mark) == [OFF_1, "poll"]  # not even the unit's state is read before it
        assert unit.driver.writes == [Write("voltage_limit", (1,), 3.0), OFF_1]


def test_an_off_of_another_output_goes_between_two_messages_of_a_plan() -> None:
    driver = TalkingDriver()
    with Unit(driver) as unit:
        hold = driver.hold(is_write("voltage_limit"))
        unit.send(2, "long", voltage_limit=3, current_limit=0.5, state=True)
        hold.wait()
        mark = len(driver.calls)
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("long") == "ok"
        assert unit.sheet.code("off") == "ok"
        # The complaint about what was sent is asked for first: it would be taken for one about the off.
        assert since(driver, mark)[:3] == ["complaints", OFF_1, "inspect []"]
        assert driver.writes[-2:] == [Write("current_limit", (2,), 0.5), Write("state", (2,), True)]
        assert driver.readings[2].state
        order = [response.id for response in unit.sheet.responses]
        assert order == ["off", "long"]
        seqs = [state.seq for state in unit.sheet.states if state.index == 2]
        assert seqs == sorted(seqs)


def test_a_plan_that_gave_way_goes_on_right_after_the_off() -> None:
    """The step of a ramp of a third output between the two would be a write after which nobody has read the unit."""
    driver = FakeDriver()
    with Unit(driver) as unit:
        unit.send(3, "ramp", voltage_limit=6, ramp=0.001)
        wait_until(lambda: driver.writes, "the ramp")
        polls = [0]

        def off_during_the_last_look(call: Call) -> None:
            if call != "poll":
                return
            polls[0] += 1
            if polls[0] == 2:
                unit.send(2, "off", state=False)
                (ramp, _) = unit.supply._worker.executions
                ramp.due = 1.0  # its next step is due at once

        driver.script = off_during_the_last_look
        unit.send(1, "on", voltage_limit=1, state=True)
        assert unit.sheet.code("on") == "ok"
        assert unit.sheet.code("off") == "ok"


def test_a_look_that_was_dropped_for_an_off_is_taken_again() -> None:
    with Unit(FakeDriver(messages=5)) as unit:
        assert unit.ask(2, "set", voltage_limit=3) == "ok"
        unit.send(2, "ramp", voltage_limit=3.05, ramp=1)
        hold = unit.driver.hold("message")
        hold.wait()
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert unit.sheet.code("ramp") == "ok"
        assert unit.driver.readings[2].voltage_limit == 3.05


def test_an_inspection_gives_way_and_is_taken_again_as_a_whole() -> None:
    driver = TalkingDriver(messages=5)
    with Unit(driver) as unit:
        mark = len(driver.calls)
        hold = driver.hold("message")
        unit.send(2, "set", voltage_limit=3)
        hold.wait()
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert unit.sheet.code("set") == "ok"
        calls = [call for call in since(driver, mark) if call != "message"]
        assert calls == [
            "inspect [2]",
            "dropped",
            OFF_1,
            "inspect []",
            "inspect [2]",
            Write("voltage_limit", (2,), 3.0),
            "inspect []",
        ]


def test_a_complaint_that_a_dropped_inspection_told_counts() -> None:
    driver = TalkingDriver(messages=5)
    driver.answer = lambda write: '-222,"Data out of range"' if write.setting == "voltage_limit" else None
    with Unit(driver) as unit:
        reached = []

        def hang_in_the_second_inspection(call: Any) -> bool:
            reached.append(call)
            return call == "message" and "inspect []" in reached

        hold = driver.hold(hang_in_the_second_inspection)
        unit.send(2, "set", voltage_limit=3)
        hold.wait()
        unit.send(1, "off", state=False)
        hold.release()
        assert unit.sheet.code("off") == "ok"
        assert unit.sheet.code("set") == "instrument_error"


def test_a_newer_command_replaces_the_rest_of_an_older_one() -> None:
    with Unit() as unit:
        unit.send(1, "cycle", cycle=1000)
        wait_until(lambda: OFF_1 in unit.driver.writes, "off")
        assert unit.ask(2, "other", voltage_limit=1) == "ok"
        assert unit.ask(1, "newer", clear_protection=True) == "ok"
        assert unit.sheet.code("cycle") == "superseded"
        assert Write("state", (1,), True) not in unit.driver.writes


def test_a_cycle() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        begun = time.monotonic()
        assert unit.ask(1, "cycle", cycle=0.05) == "ok"
        assert time.monotonic() - begun >= 0.05
        assert unit.driver.writes == [OFF_1, Write("state", (1,), True)]


def test_a_ramp_is_one_event_and_polls_go_on_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.unit.plans.RAMP_INTERVAL", 0.005)
    with Unit(poll_interval=0.002) as unit:
        unit.set_at_the_panel(2, state=True, mode="CV")
        assert unit.ask(2, "ramp", voltage_limit=1, ramp=10) == "ok"
        seen = len(unit.sheet.states)
        wait_until(lambda: len(unit.sheet.states) > seen + 3, "another poll")
        steps = [write.value for write in unit.driver.writes if write.setting == "voltage_limit"]
        assert steps == sorted(steps)
        assert steps[-1] == 1.0
        assert len(steps) > 3
        changes = [change for change in unit.sheet.changes(2) if change[0] == "voltage_limit"]
        assert changes == [("voltage_limit", 0.0, 1.0, "command", "ramp")]
        volts = [state.voltage_limit for state in unit.sheet.states if state.index == 2]
        assert len(set(volts)) > 3


def test_a_ramp_that_an_off_ends_is_told_to_where_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.unit.plans.RAMP_INTERVAL", 0.005)
    with Unit(poll_interval=0.002) as unit:
        unit.send(2, "ramp", voltage_limit=6, ramp=1, state=True)
        wait_until(lambda: (unit.driver.readings[2].voltage_limit or 0) > 0.02, "some steps")
        assert unit.ask(2, "off", state=False) == "ok"
        assert unit.sheet.code("ramp") == "superseded"
        reached = unit.driver.readings[2].voltage_limit
        wait_until(lambda: [c for c in unit.sheet.changes(2) if c[0] == "voltage_limit"], "the event")
        assert [c for c in unit.sheet.changes(2) if c[0] == "voltage_limit"] == [
            ("voltage_limit", 0.0, reached, "command", "ramp")
        ]


def test_a_ramp_sees_that_somebody_turned_the_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.unit.plans.RAMP_INTERVAL", 0.01)
    with Unit(poll_interval=0.002) as unit:
        unit.send(2, "ramp", voltage_limit=6, ramp=1)
        wait_until(lambda: (unit.driver.readings[2].voltage_limit or 0) > 0.02, "some steps")
        # In the moment of a poll, so that no step comes between.
        script = unit.driver.script
        turned = itertools.chain([True], itertools.repeat(False))

        def turn(call: Any) -> None:
            if call == "poll" and next(turned):
                unit.set_at_the_panel(2, voltage_limit=5.5)
            script(call)

        unit.driver.script = turn
        assert unit.sheet.code("ramp") == "superseded"
        assert "changed at the unit to 5.5 V" in str(unit.sheet.response("ramp").error)


# Complaints of the unit.


def test_a_complaint_ends_the_plan_and_names_the_setting() -> None:
    driver = TalkingDriver()
    driver.answer = lambda write: '-222,"Data out of range"' if write.setting == "voltage_limit" else None
    with Unit(driver) as unit:
        mark = len(driver.calls)
        assert unit.ask(1, "a", voltage_limit=3, current_limit=1, state=True) == "instrument_error"
        assert unit.sheet.response("a").error.message == (  # type: ignore[union-attr]
            'psu1 refused voltage_limit 3 V for channel 1: -222,"Data out of range"'
        )
        # Then the truth is read.
        wait_until(lambda: since(driver, mark)[-1] == "poll", "the poll after it")
        assert since(driver, mark) == ["inspect [1]", Write("voltage_limit", (1,), 3.0), "complaints", "poll"]


def test_a_complaint_about_the_last_setting_comes_with_the_look() -> None:
    driver = TalkingDriver()
    driver.answer = lambda write: '-221,"Settings conflict"' if write.setting == "state" else None
    with Unit(driver) as unit:
        assert unit.ask(None, "a", state=True) == "instrument_error"
        assert "refused state on for channels 1, 2, 3" in str(unit.sheet.response("a").error)
        assert driver.calls[-1] == "inspect []"  # which was published, so nothing is read after it


def test_a_complaint_that_stood_there_before_is_not_the_commands() -> None:
    driver = TalkingDriver()
    driver.queue.append('-410,"Query INTERRUPTED"')
    with Unit(driver) as unit:
        assert unit.ask(1, "a", voltage_limit=3) == "ok"


def test_a_complaint_does_not_stop_off_and_is_told_if_it_stayed_on() -> None:
    driver = TalkingDriver()
    driver.answer = lambda write: '-350,"Queue overflow"' if write.setting == "state" else None
    with Unit(driver) as unit:
        assert unit.ask(1, "off", state=False) == "ok"
        unit.set_at_the_panel(1, state=True)
        assert unit.ask(1, "on", state=False) == "instrument_error"
        message = str(unit.sheet.response("on").error)
        assert "still on although it was turned off; the unit says: -350" in message


def test_coupled_outputs_take_no_setting_and_can_be_turned_off() -> None:
    driver = TalkingDriver()
    driver.bars = ["outputs 2 and 3 track each other; turn tracking off"]
    with Unit(driver) as unit:
        assert unit.ask(2, "set", voltage_limit=1) == "unsupported"
        assert "at psu1 outputs 2 and 3 track each other; turn tracking off, then send the command again" in str(
            unit.sheet.response("set").error
        )
        assert unit.ask(2, "off", state=False) == "ok"
        assert unit.ask(2, "both", state=False, voltage_limit=1) == "unsupported"
        assert "it was turned off" in str(unit.sheet.response("both").error)
        assert [write.setting for write in driver.writes] == ["state", "state"]


def test_limits_hold_at_the_unit_too() -> None:
    with Unit(channels={1: DefaultSettings(voltage_max=5.0)}) as unit:
        unit.set_at_the_panel(1, voltage_limit=5.5)
        assert unit.ask(1, "on", state=True) == "limit_exceeded"
        assert unit.driver.writes == []


# Before anything is sent.


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"voltage_limit": 5.1}, "limit_exceeded"), ({"current_limit": 9}, "out_of_range")],
)
def test_what_can_be_judged_is_judged_at_once(fields: dict[str, float], code: str) -> None:
    with Unit(channels={1: DefaultSettings(voltage_max=5.0)}) as unit:
        with pytest.raises(Refusal) as refusal:
            unit.send(1, "a", **fields)
        assert refusal.value.code == code


def test_an_expired_command_is_not_carried_out() -> None:
    with Unit() as unit:
        channels = (unit.supply.channel("1"),)
        with pytest.raises(Refusal) as refusal:
            unit.supply.submit(Job(Command(state=True), channels, expires=time.monotonic() - 1))
        assert refusal.value.code == "expired"
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        job = Job(Command(state=True, id="late"), channels, expires=time.monotonic() + 3600)
        unit.supply.submit(job)
        job.expires = time.monotonic() - 1
        hold.release()
        assert unit.sheet.code("late") == "expired"
        assert unit.driver.writes == []


def test_what_waited_for_too_long_is_not_wanted_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with Unit() as unit:
        monkeypatch.setattr(worker, "LONGEST_WAIT", -1.0)
        assert unit.ask(1, "old", state=True) == "expired"
        assert unit.ask(1, "off", state=False) == "ok"


def test_channels_by_number_and_by_name() -> None:
    with Unit(channels={1: DefaultSettings(name="VDD")}) as unit:
        assert unit.supply.channel("VDD").index == unit.supply.channel("1").index == 1
        with pytest.raises(Refusal, match=r"no channel '4'; it has 1 \(VDD\), 2, 3") as refusal:
            unit.supply.channel("4")
        assert refusal.value.code == "unknown_channel"

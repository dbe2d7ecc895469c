"""Offs on a unit in memory: many are one, each is answered, and nothing rides on one for long."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agent.instruments.driver import Write
from agent.protocol.commands import Command, parse_command
from agent.protocol.errors import Refusal
from agent.timing import HoldUps
from agent.unit import worker
from agent.unit.inbox import MOST_MERGED
from agent.unit.job import Job
from agent.unit.limits.channel import DefaultSettings
from tests.lab import wait_until
from tests.unit.fakedriver import ALL_SETTINGS, Breaks, FakeDriver, TalkingDriver, Unit, held_up, is_write, output

pytestmark = pytest.mark.usefixtures("quick")

OFF_1 = Write("state", (1,), False)
OFF_ALL = Write("state", (1, 2, 3), False)


def submit(unit: Unit, payload: bytes, channel: int | None = 1, **arguments: Any) -> Job:
    """Submit what a payload says, with its faults."""
    command = parse_command(payload, "unit" if channel is None else "channel")
    channels = unit.supply.channels if channel is None else (unit.supply.channel(str(channel)),)
    job = Job(command, channels, whole_unit=channel is None, **arguments)
    unit.supply.submit(job)
    return job


def held(unit: Unit) -> Any:
    """The unit hangs in a poll until this is released."""
    hold = unit.driver.hold("poll")
    unit.supply.poll_now()
    hold.wait()
    return hold


# Faults.


def test_an_off_with_a_fault_is_done_and_its_response_says_both() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(1, state=True)
        submit(unit, b'{"id": "a", "state": false, "colour": 1}')
        response = unit.sheet.response("a")
        assert not response.ok
        assert response.error is not None
        assert response.error.code == "bad_payload"
        assert response.error.message.startswith('it was turned off, but there is no field "colour"')
        assert response.result is not None
        assert response.result.state is False  # type: ignore[union-attr]
        assert unit.driver.writes == [OFF_1]
        assert unit.supply.counters.refusals == 1
        assert b'"result":{' in response.to_json()
        assert b'"error":{' in response.to_json()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"voltage_limit": 9}, "limit_exceeded"),
        ({"current_limit": 99}, "out_of_range"),
        ({"voltage_limit": 1, "current_protection": True}, "unsupported"),
    ],
)
def test_what_rides_on_an_off_and_is_not_allowed_does_not_stop_it(fields: dict[str, Any], code: str) -> None:
    driver = FakeDriver((output(1, settings=ALL_SETTINGS - {"current_protection"}),))
    with Unit(driver, channels={1: DefaultSettings(voltage_max=5.0)}) as unit:
        assert unit.ask(1, "a", state=False, voltage_protection=6, **fields) == code
        assert unit.sheet.response("a").result.state is False  # type: ignore[union-attr]
        assert unit.driver.writes == [OFF_1]  # and nothing of the rest


def test_a_whole_unit_goes_off_as_far_as_it_can_be_switched() -> None:
    driver = FakeDriver((output(1), output(2, settings=frozenset({"voltage_limit"})), output(3)))
    with Unit(driver) as unit:
        assert unit.ask(None, "a", state=False) == "unsupported"
        response = unit.sheet.response("a")
        assert [state.state for state in response.result] == [False, False]  # type: ignore[union-attr]
        assert driver.writes == [Write("state", (1, 3), False)]
        with pytest.raises(Refusal, match="channel 2 of psu1 has no state"):
            unit.send(2, "b", state=False)


def test_a_complaint_about_a_setting_that_rides_on_an_off() -> None:
    driver = TalkingDriver()
    driver.answer = lambda write: '-222,"Data out of range"' if write.setting == "voltage_limit" else None
    with Unit(driver) as unit:
        assert unit.ask(1, "a", state=False, voltage_limit=1) == "instrument_error"
        assert unit.sheet.response("a").result.state is False  # type: ignore[union-attr]


# Many offs.


def test_offs_that_wait_are_one_and_each_is_answered() -> None:
    with Unit() as unit:
        hold = held(unit)
        for number in range(300):
            unit.send(1, f"off {number}", state=False)
        hold.release()
        assert {unit.sheet.code(f"off {number}") for number in range(300)} == {"ok"}
        assert unit.driver.writes == [OFF_1]
        assert {report.reply_to.correlation for report in unit.sheet.reports if report.response} == {
            f"off {number}".encode() for number in range(300)
        }


def test_a_whole_unit_answers_for_its_channels_with_their_own_states() -> None:
    with Unit() as unit:
        hold = held(unit)
        for channel, name in ((1, "one"), (None, "unit"), (3, "three")):
            unit.send(channel, name, state=False)
        hold.release()
        assert unit.sheet.code("unit") == "ok"
        assert unit.driver.writes == [OFF_ALL]
        one, whole, three = (unit.sheet.response(name) for name in ("one", "unit", "three"))
        assert (one.index, one.result.index) == (1, 1)  # type: ignore[union-attr]
        assert (three.index, three.result.index) == (3, 3)  # type: ignore[union-attr]
        assert (whole.index, [state.index for state in whole.result]) == (None, [1, 2, 3])  # type: ignore[union-attr]


def test_one_that_stayed_on_is_told_to_those_whom_it_concerns() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        hold = held(unit)
        for channel, name in ((1, "one"), (2, "two"), (None, "unit")):
            unit.send(channel, name, state=False)

        def stay_on(call: Any) -> None:
            if call == "poll":
                unit.set_at_the_panel(2, state=True)

        driver.script = stay_on
        hold.release()
        assert [unit.sheet.code(name) for name in ("one", "two", "unit")] == [
            "ok",
            "readback_mismatch",
            "readback_mismatch",
        ]


def test_an_off_whose_own_expiry_ran_out_takes_no_other_along() -> None:
    with Unit() as unit:
        hold = held(unit)
        late = submit(unit, b'{"id": "late", "state": false}', None, expires=time.monotonic() + 0.01)
        also = submit(unit, b'{"id": "also late", "state": false}', 1, expires=time.monotonic() + 0.01)
        unit.send(1, "one", state=False)
        unit.send(3, "three", state=False)
        wait_until(lambda: late.has_expired() and also.has_expired(), "the expiry")
        unit.send(1, "newer", state=True)
        hold.release()
        assert [unit.sheet.code(name) for name in ("late", "also late", "one", "three", "newer")] == [
            "expired",
            "expired",
            "ok",
            "ok",
            "ok",
        ]
        assert unit.driver.writes == [OFF_1, Write("state", (3,), False), Write("state", (1,), True)]


def test_too_many_are_told_that_the_off_is_done_all_the_same() -> None:
    with Unit() as unit:
        hold = held(unit)
        for number in range(MOST_MERGED + 1):
            unit.send(1, f"{number}", state=False)
        with pytest.raises(Refusal, match="carried out") as refusal:
            unit.send(1, "one too many", state=False)
        assert refusal.value.code == "busy"
        hold.release()
        assert unit.sheet.code(f"{MOST_MERGED}") == "ok"
        assert unit.driver.writes == [OFF_1]


def test_merged_offs_get_their_second_try_together_and_one_answer_each() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        hold = held(unit)
        for name in ("a", "b", "c"):
            unit.send(1, name, state=False)
        driver.script = Breaks(is_write("state"))
        hold.release()
        assert [unit.sheet.code(name) for name in ("a", "b", "c")] == ["ok"] * 3
        driver.script = Breaks(lambda call: is_write("state")(call) or call == "connect", times=2)
        unit.send(1, "d", state=False)
        assert unit.sheet.code("d") == "uncertain"


def test_an_agent_that_stops_carries_merged_offs_out() -> None:
    unit = Unit()
    with unit:
        unit.set_at_the_panel(1, state=True)
        hold = held(unit)
        for name in ("a", "b"):
            unit.send(1, name, state=False)
        unit.supply.stop()
        hold.release()
    assert [unit.sheet.code(name) for name in ("a", "b")] == ["ok"] * 2
    assert unit.driver.writes == [OFF_1]


def test_a_unit_that_hangs_is_given_up_and_merged_offs_are_answered() -> None:
    unit = Unit()
    with unit:
        hold = held(unit)
        for name in ("a", "b"):
            unit.send(1, name, state=False)
        unit.supply.stop()
        unit.supply.abandon()
        assert [unit.sheet.code(name) for name in ("a", "b")] == ["superseded"] * 2
        hold.release()
    assert len(unit.sheet.responses) == 2


# Settings that ride on an off.


def test_the_offs_of_all_channels_go_before_what_rides_on_one() -> None:
    with Unit() as unit:
        hold = held(unit)
        unit.send(2, "set", voltage_limit=2)
        unit.send(1, "both", state=False, voltage_limit=1)
        unit.send(3, "off", state=False)
        hold.release()
        assert [unit.sheet.code(name) for name in ("set", "both", "off")] == ["ok"] * 3
        assert [(w.setting, w.channels, w.value) for w in unit.driver.writes[:4]] == [
            ("state", (1,), False),
            ("state", (3,), False),
            ("voltage_limit", (2,), 2.0),
            ("state", (1,), False),
        ]
        assert unit.driver.readings[1].voltage_limit == 1.0


def test_a_setting_under_way_gives_way_to_an_off_that_carries_another() -> None:
    with Unit() as unit:
        hold = unit.driver.hold(is_write("voltage_limit"))
        unit.send(2, "long", voltage_limit=3, current_limit=0.5, state=True)
        hold.wait()
        unit.send(1, "both", state=False, voltage_limit=1)
        hold.release()
        assert unit.sheet.code("both") == "ok"
        assert unit.sheet.code("long") == "ok"
        assert unit.driver.writes[1] == OFF_1


def test_what_rides_on_an_off_gives_way_to_an_off() -> None:
    with Unit() as unit:
        hold = unit.driver.hold(is_write("voltage_limit"))
        unit.send(1, "both", state=False, voltage_limit=3, current_limit=0.5)
        hold.wait()
        unit.send(2, "off", state=False)
        hold.release()
        assert unit.sheet.code("both") == "ok"
        assert [w.setting for w in unit.driver.writes] == ["state", "voltage_limit", "state", "current_limit"]


def test_an_off_that_gave_way_and_was_held_up_is_done() -> None:
    hold_ups = HoldUps()
    with Unit(hold_ups=hold_ups) as unit:
        unit.set_at_the_panel(1, state=True)
        hold = held(unit)
        unit.send(1, "both", state=False, voltage_limit=1)
        unit.send(2, "off", state=False)
        held_up(hold_ups)
        hold.release()
        assert unit.sheet.code("both") == "expired"
        assert "held up" in str(unit.sheet.response("both").error)
        assert unit.sheet.response("both").result.state is False  # type: ignore[union-attr]
        assert unit.sheet.code("off") == "ok"
        assert sorted(w.channels for w in unit.driver.writes) == [(1,), (2,)]


def test_an_off_that_was_not_taken_is_tried_again_without_what_rides_on_it() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        unit.set_at_the_panel(1, state=True)
        left = [1]

        def stay_on(call: Any) -> None:
            if call == "poll" and left[0] > 0 and driver.writes:
                left[0] -= 1
                unit.set_at_the_panel(1, state=True)

        driver.script = stay_on
        assert unit.ask(1, "both", state=False, current_protection=False) == "readback_mismatch"
        assert unit.sheet.response("both").result.state is False  # type: ignore[union-attr]
        assert not driver.readings[1].state


def test_what_rode_on_an_off_for_too_long_is_dropped_and_the_off_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with Unit() as unit:
        monkeypatch.setattr(worker, "LONGEST_WAIT", -1.0)
        assert unit.ask(1, "both", state=False, voltage_limit=1) == "expired"
        assert unit.sheet.response("both").result.state is False  # type: ignore[union-attr]
        assert unit.driver.writes == [OFF_1]
        hold = held(unit)
        unit.send(2, "set", voltage_limit=2)
        for number in range(50):
            unit.send(1, f"{number}", state=False, voltage_limit=1)
        hold.release()
        assert {unit.sheet.code(f"{number}") for number in range(50)} == {"expired"}
        assert all(unit.sheet.response(f"{number}").result.state is False for number in range(50))  # type: ignore[union-attr]
        assert unit.driver.writes == [OFF_1, OFF_1]  # one for all fifty, which were answered from what it read


def test_a_broken_link_drops_what_rides_and_tries_the_off_again() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        driver.script = Breaks(is_write("voltage_limit"))
        assert unit.ask(1, "both", state=False, voltage_limit=1) == "uncertain"
        assert unit.sheet.response("both").result.state is False  # type: ignore[union-attr]
        assert driver.writes[-1] == OFF_1
        hold = held(unit)
        unit.send(2, "set", voltage_limit=2)
        unit.send(1, "waiting", state=False, voltage_limit=1)
        count = len(driver.writes)
        hold.release(error=TimeoutError("a fault of our own"))
        assert unit.sheet.code("waiting") == "offline"
        assert unit.sheet.response("waiting").result.state is False  # type: ignore[union-attr]
        assert unit.sheet.code("set") == "offline"
        assert driver.writes[count:] == [OFF_1]


def test_no_word_of_a_command_stays_of_a_plain_off() -> None:
    assert Command(state=False, voltage_limit=1.0).only_off(Refusal("busy", "x")).fields == {"state": False}

"""Plans on outputs that can't tell all: a state that can't be read is never taken for off, and what is off is made sure of."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.instruments.driver import Range, Reading, Write
from agent.protocol.commands import Command, parse_command
from agent.protocol.errors import Refusal
from agent.unit.limits.channel import Channel
from agent.unit.limits.checking import check
from tests.properties import examples
from tests.unit.limits.test_judging import OUTPUT, commands
from tests.unit.steps import test_plans
from tests.unit.steps.test_plans import carry_out

ON = Reading(5.0, 1.0, 5.0, 2.0, True, 66.0, False, "CV", None, 22.0, True)
OFF = ON._replace(state=False, voltage=0.0, current=0.0, mode="OFF")
CHANNEL = Channel("psu1", "CH1", OUTPUT)
ONE = {1: CHANNEL}
OFF_1, ON_1 = Write("state", (1,), False), Write("state", (1,), True)
CLEAR_1 = Write("clear_protection", (1,), True)


class Unit(test_plans.Unit):
    """One that does not tell some of its outputs' quantities."""

    def __init__(self, readings: Mapping[int, Reading], *hidden: str) -> None:
        super().__init__(readings)
        self._hidden: dict[str, Any] = dict.fromkeys(hidden)

    def take(self, write: Write) -> None:
        super().take(write)
        if write.setting == "state":
            for index in write.channels:
                now = self.readings[index]
                self.readings[index] = now._replace(current=1.0 if now.state else 0.0)

    def told(self) -> dict[int, Reading]:
        return {index: reading._replace(**self._hidden) for index, reading in self.readings.items()}


class Stuck(Unit):
    """One whose output stays on, or goes on again, whatever it is told."""

    def __init__(self, readings: Mapping[int, Reading], *hidden: str, after_looks: int | None = None) -> None:
        super().__init__(readings, *hidden)
        self.after_looks = after_looks  # how many looks see it on still; None: all

    def take(self, write: Write) -> None:
        self.sent.append(write)

    def told(self) -> dict[int, Reading]:
        if self.after_looks is not None:
            self.after_looks -= 1
            if self.after_looks < 0:
                self.readings = {1: OFF}
        return super().told()


class Waking(Unit):
    """One that turns its output on when its trip is cleared, as some have it in their manuals."""

    def take(self, write: Write) -> None:
        super().take(write)
        if write.setting == "clear_protection":
            self.readings[1] = ON


# A switch that can't be read.


def test_on_and_off_are_sent_and_done() -> None:
    unit = Unit({1: OFF}, "state", "mode")
    assert carry_out(unit, Command(state=True), (1,), known=ONE) is None
    assert carry_out(unit, Command(state=True, voltage_limit=3), (1,), known=ONE) is None
    assert carry_out(unit, Command(cycle=0.5), (1,), known=ONE) is None
    assert carry_out(unit, Command(state=False), (1,), known=ONE) is None
    assert [write for write in unit.sent if write.setting == "state"] == [ON_1, ON_1, OFF_1, ON_1, OFF_1]
    assert unit.readings[1].state is False


def test_an_output_that_still_delivers_was_not_turned_off() -> None:
    refusal = carry_out(Stuck({1: ON}, "state"), Command(state=False), (1,), known=ONE)
    assert refusal is not None
    assert (refusal.code, refusal.message) == (
        "readback_mismatch",
        "channel 1 of psu1 was turned off, and still measures 5 V and 1 A",
    )
    combined = carry_out(Stuck({1: ON}, "state"), Command(state=False, current_limit=2), (1,), known=ONE)
    assert combined is not None
    assert combined.code == "readback_mismatch"


def test_a_slow_meter_is_waited_for() -> None:
    assert carry_out(Stuck({1: ON}, "state", after_looks=5), Command(state=False), (1,), known=ONE) is None


def test_an_output_that_discharges_without_a_load_is_off() -> None:
    assert carry_out(Stuck({1: ON._replace(current=0.0)}, "state"), Command(state=False), (1,), known=ONE) is None


def test_a_ramp_on_an_output_that_delivers_begins_where_it_is() -> None:
    unit = Unit({1: ON}, "state")
    assert carry_out(unit, Command(state=True, voltage_limit=6, ramp=10), (1,), known=ONE) is None
    assert all(write.value >= 5 for write in unit.sent if write.setting == "voltage_limit")
    unit = Unit({1: OFF}, "state")
    assert carry_out(unit, Command(state=True, voltage_limit=6, ramp=10), (1,), known=ONE) is None
    assert unit.sent[:2] == [Write("voltage_limit", (1,), 0.0), ON_1]


def test_a_switch_that_alone_can_be_set() -> None:
    """An output without settings, such as a fixed one of 5 V."""
    channel = Channel("psu1", "CH3", replace(OUTPUT, ranges={}, settings=frozenset({"state"})))
    unit = Unit({1: OFF}, *(name for name in Reading._fields if name != "state"))
    for state in (True, False):
        assert carry_out(unit, Command(state=state), (1,), known={1: channel}) is None
        assert unit.readings[1].state is state


def test_a_protection_that_cant_be_read_back_is_not_called_done() -> None:
    unit = Unit({1: OFF}, "current_protection")
    refusal = carry_out(unit, Command(current_protection=True), (1,), known=ONE)
    assert refusal is not None
    assert refusal.message == "current_protection of channel 1 of psu1 can't be read back"


# Clearing a trip.


@pytest.mark.parametrize("state", [True, False])
def test_off_is_sent_before_a_clear_though_the_unit_says_that_it_is_off(state: bool) -> None:
    unit = Unit({1: OFF._replace(tripped="OVP", state=state)})
    assert carry_out(unit, Command(clear_protection=True), (1,), known=ONE) is None
    assert unit.sent == [OFF_1, CLEAR_1]


def test_an_output_that_the_clear_turned_on_is_turned_off_again() -> None:
    unit = Waking({1: OFF._replace(tripped="OVP")})
    refusal = carry_out(unit, Command(clear_protection=True), (1,), known=ONE)
    assert refusal is not None
    assert (refusal.code, refusal.message) == (
        "readback_mismatch",
        "clearing the trip turned output 1 of psu1 on; it was turned off again",
    )
    assert unit.sent == [OFF_1, CLEAR_1, OFF_1]
    assert unit.readings[1].state is False


def test_another_output_that_the_clear_turned_on_is_turned_off_again() -> None:
    known = {1: CHANNEL, 2: Channel("psu1", "CH2", replace(OUTPUT, index=2))}
    unit = Waking({1: OFF, 2: OFF._replace(tripped="OVP")})
    refusal = carry_out(unit, Command(clear_protection=True), (2,), known=known)
    assert refusal is not None
    assert "turned output 1 of psu1 on" in refusal.message
    assert unit.readings[1].state is False


def test_an_output_whose_state_cant_be_read_is_turned_off_after_the_clear_too() -> None:
    unit = Waking({1: OFF._replace(tripped="OVP")}, "state")
    assert carry_out(unit, Command(clear_protection=True), (1,), known=ONE) is None
    assert unit.sent == [OFF_1, CLEAR_1, OFF_1]
    assert unit.readings[1].state is False


def test_one_that_can_not_be_turned_off_again() -> None:
    class Awake(Waking):
        def take(self, write: Write) -> None:
            if CLEAR_1 not in self.sent:
                super().take(write)

    refusal = carry_out(Awake({1: OFF._replace(tripped="OVP")}), Command(clear_protection=True), (1,), known=ONE)
    assert refusal is not None
    assert refusal.message == (
        "clearing the trip turned output 1 of psu1 on; output 1 is still on: turn it off at the unit"
    )


def test_an_output_that_trips_while_it_says_that_it_is_on_is_not_done() -> None:
    class Tripping(Unit):
        def take(self, write: Write) -> None:
            super().take(write)
            self.readings[1] = self.readings[1]._replace(tripped="OVP", mode="OFF", state=True)

    refusal = carry_out(Tripping({1: ON}), Command(voltage_limit=6), (1,), known=ONE)
    assert refusal is not None
    assert refusal.message == "channel 1 of psu1 tripped (OVP) while it was set"


# Settings outside the power envelope, which somebody made at the unit.


@pytest.mark.parametrize(
    "fields", [{"voltage_limit": 50, "state": True}, {"voltage_limit": 5, "ramp": 1000}, {"cycle": 0}]
)
@pytest.mark.parametrize("before", [ON, OFF])
def test_a_command_that_comes_nearer_to_the_envelope_is_carried_out_whole(
    before: Reading, fields: dict[str, Any]
) -> None:
    unit = Unit({1: before._replace(voltage_limit=60.0, current_limit=20.0)})
    known = {1: Channel("psu1", "CH1", replace(OUTPUT, power_max=100.0))}
    assert carry_out(unit, Command(**fields), (1,), known=known) is None


# The order of protections.


@pytest.mark.parametrize(
    ("before", "fields", "order"),
    [
        (
            ON._replace(current_protection_level=2.0),
            {"current_limit": 3, "current_protection_level": 4},
            ["current_protection_level", "current_limit"],
        ),
        (ON, {"current_limit": 1.5, "current_protection_level": 1.8}, ["current_limit", "current_protection_level"]),
        (
            ON._replace(voltage_protection=6.0),
            {"voltage_limit": 9, "voltage_protection_state": False},
            ["voltage_protection_state", "voltage_limit"],
        ),
        (
            ON._replace(voltage_protection=4.0, voltage_protection_state=False),
            {"voltage_limit": 9, "voltage_protection": 10, "voltage_protection_state": True},
            ["voltage_protection", "voltage_protection_state", "voltage_limit"],
        ),
        (
            ON._replace(voltage_protection=4.0, voltage_protection_state=False),
            {"voltage_limit": 3, "voltage_protection_state": True},
            ["voltage_limit", "voltage_protection_state"],
        ),
        (
            ON._replace(voltage_protection=4.0, voltage_protection_state=False),
            {"voltage_limit": 3, "ramp": 1000, "voltage_protection_state": True},
            ["voltage_limit", "voltage_limit", "voltage_protection_state"],
        ),
        (
            ON,
            {"voltage_limit": 3, "voltage_protection": 4, "current_protection": True, "current_protection_level": 1.5},
            ["voltage_limit", "current_protection_level", "voltage_protection", "current_protection"],
        ),
    ],
)
def test_no_protection_trips_on_the_way(before: Reading, fields: dict[str, Any], order: list[str]) -> None:
    unit = Unit({1: before})
    assert carry_out(unit, Command(**fields), (1,), known=ONE) is None
    written = [write.setting for write in unit.sent]
    assert [*dict.fromkeys(written)] == [*dict.fromkeys(order)]
    for reading in (step[1] for step in unit.history):
        if reading.voltage_protection_state:
            assert abs(reading.voltage_limit or 0.0) <= (reading.voltage_protection or 0.0)


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({"voltage_limit": -9, "voltage_protection": -10}, ["voltage_protection", "voltage_limit"]),
        ({"voltage_limit": -3, "voltage_protection": -4}, ["voltage_limit", "voltage_protection"]),
    ],
)
@pytest.mark.parametrize("volts", [-5.0, -2.0])  # in CC it measures less than what is set
def test_no_negative_protection_trips_on_the_way(volts: float, fields: dict[str, Any], order: list[str]) -> None:
    """A level of -10 V is a higher one than -6 V."""
    below = {"voltage_limit": Range(-60, 0), "voltage_protection": Range(-66, -0.001)}
    known = {1: Channel("psu1", "CH1", replace(OUTPUT, ranges={**OUTPUT.ranges, **below}))}
    unit = Unit({1: ON._replace(voltage=volts, voltage_limit=-5.0, voltage_protection=-6.0)})
    assert carry_out(unit, Command(**fields), (1,), known=known) is None
    assert [write.setting for write in unit.sent] == order


# Any command, whatever is unknown.

LIMITED = replace(OUTPUT, power_max=100.0)
PAIR = {
    index: Channel("psu1", f"CH{index}", replace(LIMITED, index=index), together=frozenset((1, 2))) for index in (1, 2)
}
KNOWN = {**PAIR, 3: Channel("psu1", "CH3", replace(LIMITED, index=3))}
_HIDDEN = [name for name in Reading._fields if name not in ("voltage_limit", "current_limit")]


@st.composite
def _readings(draw: st.DrawFn) -> dict[int, Reading]:
    states = draw(st.booleans()), draw(st.booleans())
    made = {}
    for index in KNOWN:
        on = states[index // 3]
        volts = draw(st.floats(0, 12).map(lambda value: round(value, 3)))
        made[index] = (ON if on else OFF)._replace(
            voltage_limit=volts,
            voltage=volts if on else 0.0,
            current_limit=draw(st.floats(0, 8).map(lambda value: round(value, 3))),
            voltage_protection=draw(st.floats(12, 60)),
            voltage_protection_state=draw(st.sampled_from([True, False, None])),
            tripped=None if on else draw(st.sampled_from([None, "OVP", "OTHER"])),
        )
    return made


@given(commands, _readings(), st.sets(st.sampled_from(_HIDDEN)), st.sampled_from([(1,), (3,), (1, 2), (1, 2, 3)]))
@examples(200)
def test_nothing_passes_that_should_not(
    fields: dict[str, Any], readings: dict[int, Reading], hidden: set[str], indices: tuple[int, ...]
) -> None:
    try:
        command = parse_command(json.dumps(fields).encode())
        check(command, [KNOWN[index] for index in indices])
    except Refusal:
        assume(False)
        raise
    unit = Unit(readings, *hidden)
    carry_out(unit, command, indices, known=KNOWN)  # raises nothing but a refusal, and comes to an end
    for earlier, later in itertools.pairwise(unit.history):
        for index in KNOWN:
            was, now = earlier[index], later[index]
            watts, watts_before = (abs((r.voltage_limit or 0.0) * (r.current_limit or 0.0)) for r in (now, was))
            assert watts <= max(100.0 * 1.0001, watts_before)
            if now.state and not was.state:
                assert command.state or command.cycle is not None
    for write in unit.sent:
        if write.setting == "state" and write.value:
            assert {1, 2} <= set(write.channels) or set(write.channels) == {3}
    if command.state is False:
        assert unit.sent[0] == Write("state", indices, False)
        assert not any(unit.readings[index].state for index in indices)

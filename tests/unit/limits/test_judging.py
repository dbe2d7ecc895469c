"""The judgement of a command by what its output has and does: power, present ranges, trip levels and their switches, trips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import Profile, Range, Reading
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import SETTINGS
from agent.unit.limits.channel import Channel, channels_of
from agent.unit.limits.checking import check, check_reach
from agent.unit.limits.judging import judge
from tests.properties import examples
from tests.unit.fakedriver import output

RANGES = {
    "voltage_limit": Range(0.0, 60.0),
    "current_limit": Range(0.0, 20.0),
    "voltage_protection": Range(0.0, 66.0),
    "current_protection_level": Range(0.0, 22.0),
}
OUTPUT = replace(output(1), ranges=RANGES, settings=SETTINGS)
CHANNEL = Channel("psu1", "CH1", OUTPUT)
#: A unit of 60 V, 20 A and 420 W.
LIMITED = Channel("psu1", "CH1", replace(OUTPUT, power_max=420.0))
NEGATIVE = Channel(
    "psu1",
    "CH3",
    replace(output(3, voltage=Range(-30.0, 0.0), voltage_protection=Range(-33.0, -0.001)), settings=SETTINGS),
)
ON = Reading(5.0, 1.0, 5.0, 2.0, True, 66.0, False, "CV", None, 22.0, True)
OFF = ON._replace(state=False, voltage=0.0, current=0.0, mode="OFF")


def refused(channel: Channel, before: Reading, present: dict[str, Range] | None = None, **fields: Any) -> str:
    """The code and the message that a command is refused with, empty if it is not."""
    try:
        judge(Command(**fields), channel, before, present=present or {})
    except Refusal as refusal:
        return f"{refusal.code}: {refusal.message}"
    return ""


# The power envelope.


@pytest.mark.parametrize("before", [ON, OFF])
def test_a_setting_outside_the_envelope_is_refused_with_the_envelope_named(before: Reading) -> None:
    assert refused(LIMITED, before, voltage_limit=60, current_limit=20) == (
        "out_of_range: voltage_limit 60 V with current_limit 20 A is 1200 W, more than the 420 W of channel 1 of psu1; "
        "lower one of them in the same command"
    )
    assert "60 V with current_limit 7.1 A" in refused(LIMITED, before._replace(current_limit=7.1), voltage_limit=60)
    assert "is 440 W" in refused(LIMITED, before._replace(voltage_limit=22.0), current_limit=20)
    assert refused(CHANNEL, before, voltage_limit=60, current_limit=20) == ""


@pytest.mark.parametrize(
    "fields", [{"voltage_limit": 60, "current_limit": 7}, {"voltage_limit": 21, "current_limit": 20}]
)
def test_the_envelope_itself_is_allowed(fields: dict[str, Any]) -> None:
    assert refused(LIMITED, ON, **fields) == ""


def test_a_command_that_lowers_the_product_is_allowed_though_it_ends_outside() -> None:
    outside = OFF._replace(voltage_limit=60.0, current_limit=20.0)  # somebody set it so at the unit
    assert refused(LIMITED, outside, voltage_limit=50) == ""
    assert refused(LIMITED, outside, current_limit=10) == ""
    assert refused(LIMITED, outside, voltage_limit=60) == ""  # it has that already
    assert refused(LIMITED, outside, voltage_limit=10, ramp=1) == ""
    assert "more than the 420 W" in refused(LIMITED, outside, voltage_limit=50, current_limit=24.1)


def test_an_unknown_setting_has_no_product() -> None:
    assert refused(LIMITED, OFF._replace(current_limit=None), voltage_limit=60) == ""
    assert "1200 W" in refused(LIMITED, OFF._replace(current_limit=None), voltage_limit=60, current_limit=20)


def test_a_ramp_is_judged_where_it_begins_too() -> None:
    high = ON._replace(voltage_limit=60.0, current_limit=7.0)
    assert "60 V with current_limit 20 A" in refused(LIMITED, high, voltage_limit=10, current_limit=20, ramp=1)
    assert refused(LIMITED, high, voltage_limit=10, current_limit=20) == ""


# Present ranges.


def test_a_setting_outside_the_present_range() -> None:
    present = {"voltage_limit": Range(0.0, 8.24), "current_protection_level": Range(0.0, 22.0)}
    assert refused(CHANNEL, OFF, present, voltage_limit=12) == (
        "out_of_range: voltage_limit 12 V is not in the present range of channel 1 of psu1, 0 to 8.24 V; select the other range "
        "at the unit"
    )
    assert refused(CHANNEL, OFF, present, voltage_limit=8.24, current_limit=20) == ""
    assert "23 A is not in the present range" in refused(CHANNEL, OFF, present, current_protection_level=23)
    assert refused(CHANNEL, OFF._replace(voltage_limit=12.0), present, current_limit=1) == ""  # it has that already


# Over-voltage protection, of which only the magnitude counts.


def test_levels_of_a_negative_output_are_compared_as_magnitudes() -> None:
    on = Reading(-5.0, 0.1, -5.0, 1.0, True, -8.0, False, "CV", None)
    assert refused(NEGATIVE, on, voltage_limit=-7) == ""
    assert "above its voltage_protection of 8 V" in refused(NEGATIVE, on, voltage_limit=-9)
    assert refused(NEGATIVE, on, voltage_limit=-9, voltage_protection=-10) == ""
    assert "would trip (OVP)" in refused(NEGATIVE, on, voltage_protection=-4)
    assert refused(NEGATIVE, on, voltage_protection=-6) == ""


def test_a_level_without_effect() -> None:
    unprotected = ON._replace(voltage_protection_state=False, voltage_protection=3.0)
    said = refused(CHANNEL, unprotected, voltage_protection=10)
    assert said == (
        "unsupported: the over-voltage protection of channel 1 of psu1 is switched off, so its level has no effect; send "
        "voltage_protection_state true in the same command"
    )
    assert refused(CHANNEL, unprotected, voltage_protection=10, voltage_protection_state=True) == ""
    assert "has no effect" in refused(CHANNEL, ON, voltage_protection=10, voltage_protection_state=False)
    panel = Channel("psu1", "CH1", replace(OUTPUT, settings=SETTINGS - {"voltage_protection_state"}))
    assert refused(panel, unprotected, voltage_protection=10).endswith("switch it on at the unit")


def test_a_level_that_is_switched_off_forbids_nothing() -> None:
    unprotected = ON._replace(voltage_protection_state=False, voltage_protection=3.0)
    assert refused(CHANNEL, unprotected, voltage_limit=10) == ""
    assert refused(CHANNEL, ON._replace(voltage_protection=6.0), voltage_limit=10, voltage_protection_state=False) == ""
    assert "would trip (OVP)" in refused(CHANNEL, ON._replace(voltage_protection=6.0), voltage_limit=10)


def test_switching_protection_on_below_the_voltage() -> None:
    unprotected = ON._replace(voltage_protection_state=False, voltage_protection=3.0)
    assert "would trip (OVP)" in refused(CHANNEL, unprotected, voltage_protection_state=True)
    assert "would trip (OVP)" in refused(CHANNEL, unprotected, voltage_protection_state=True, voltage_limit=4)
    assert refused(CHANNEL, unprotected, voltage_protection_state=True, voltage_limit=2) == ""
    assert refused(CHANNEL, unprotected._replace(state=False), voltage_protection_state=True) == ""


# The over-current trip level.


def test_a_level_below_the_measured_current() -> None:
    assert refused(CHANNEL, ON._replace(current_protection=True), current_protection_level=0.5) == (
        "out_of_range: channel 1 of psu1 would trip (OCP): it measures 1 A, which is above current_protection_level 0.5 A; "
        "lower current_limit first"
    )
    assert (
        refused(CHANNEL, ON._replace(current_protection=None), current_protection_level=0.5) != ""
    )  # it has no switch
    assert refused(CHANNEL, ON, current_protection_level=0.5) == ""  # switched off
    assert "would trip" in refused(CHANNEL, ON, current_protection_level=0.5, current_protection=True)
    # Below the current limit it trips instead of limiting, which may be wanted.
    assert refused(CHANNEL, ON._replace(current_protection=True), current_protection_level=1.5) == ""
    assert refused(CHANNEL, OFF._replace(current_protection=True), current_protection_level=0.5) == ""
    assert refused(CHANNEL, ON._replace(current_protection=True), current_protection_level=0.5, state=False) == ""


def test_an_output_whose_state_is_unknown_may_run() -> None:
    unknown = ON._replace(state=None, current_protection=True)
    assert "would trip" in refused(CHANNEL, unknown, current_protection_level=0.5)
    assert "would trip" in refused(CHANNEL, unknown, voltage_protection=4)


def test_the_configured_current_does_not_limit_it() -> None:
    check(Command(current_protection_level=22), [CHANNEL])
    with pytest.raises(Refusal, match="current_protection_level 23 A is outside the 0 to 22 A"):
        check(Command(current_protection_level=23), [CHANNEL])


# Trips.


@pytest.mark.parametrize("before", [OFF._replace(tripped="OVP"), ON._replace(tripped="OVP", mode="OFF")])
def test_on_after_a_trip_needs_a_clear(before: Reading) -> None:
    assert refused(CHANNEL, before, state=True) == (
        "instrument_error: channel 1 of psu1 has tripped (OVP); send clear_protection first"
    )
    assert refused(CHANNEL, before, clear_protection=True) == ""
    assert refused(CHANNEL, before, voltage_limit=3) == ""


def test_a_unit_whose_trip_ends_by_on_alone() -> None:
    why = "a trip of this unit ends when its output is turned on; send state true"
    one = Channel(
        "psu1",
        "CH1",
        replace(OUTPUT, settings=SETTINGS - {"clear_protection"}, unsupported={"clear_protection": why}),
    )
    with pytest.raises(Refusal) as refusal:
        check(Command(clear_protection=True), [one])
    assert (refusal.value.code, refusal.value.message) == (
        "unsupported",
        f"channel 1 of psu1 takes no clear_protection: {why}",
    )
    assert refused(one, OFF._replace(tripped="OVP"), state=True) == ""
    assert "end the trip first" in refused(one, OFF._replace(tripped="OVP"), voltage_limit=1, ramp=1)


@pytest.mark.parametrize(("field", "setting"), [("cycle", "state"), ("ramp", "voltage_limit"), ("state", "state")])
def test_the_sentence_of_a_setting_is_that_of_the_fields_that_need_it(field: str, setting: str) -> None:
    one = Channel("psu1", "CH1", replace(OUTPUT, settings=frozenset(), unsupported={setting: "it hangs on the mains"}))
    with pytest.raises(Refusal, match=f"channel 1 of psu1 takes no {field}: it hangs on the mains"):
        check(Command(**{field: 1}), [one])


# Whatever is unknown, a judgement is a refusal or none.

_SOMETHING = {
    "voltage": st.floats(-70, 70),
    "current": st.floats(-25, 25),
    "voltage_limit": st.floats(-70, 70),
    "current_limit": st.floats(0, 25),
    "state": st.booleans(),
    "voltage_protection": st.floats(-70, 70),
    "current_protection": st.booleans(),
    "mode": st.sampled_from(["CV", "CC", "CP", "UR", "OFF"]),
    "tripped": st.sampled_from(["OVP", "AC", "OTHER"]),
    "current_protection_level": st.floats(0, 25),
    "voltage_protection_state": st.booleans(),
}
readings = st.builds(Reading, **{name: st.none() | values for name, values in _SOMETHING.items()})
commands = st.fixed_dictionaries(
    {},
    optional={
        **{
            name: values for name, values in _SOMETHING.items() if name not in ("voltage", "current", "mode", "tripped")
        },
        "clear_protection": st.just(True),
        "cycle": st.floats(0, 3),
        "ramp": st.floats(0.5, 1000),
    },
)
presents = st.dictionaries(
    st.sampled_from(sorted(RANGES)), st.tuples(st.floats(-70, 0), st.floats(0, 70)).map(lambda ends: Range(*ends))
)


@given(readings, commands, presents, st.sampled_from([CHANNEL, LIMITED, NEGATIVE]), st.booleans())
@examples(200)
def test_a_judgement_is_a_refusal_or_none(
    before: Reading, fields: dict[str, Any], present: dict[str, Range], channel: Channel, to_go_on: bool
) -> None:
    command = Command(**fields)
    try:
        check(command, [channel])
        judge(command, channel, before, to_go_on=to_go_on, present=present)
    except Refusal:
        return
    volts = before.voltage_limit if command.voltage_limit is None else command.voltage_limit
    amperes = before.current_limit if command.current_limit is None else command.current_limit
    if channel is LIMITED and command.voltage_limit is not None and volts is not None and amperes is not None:
        held = abs((before.voltage_limit or 0.0) * (before.current_limit or 0.0))
        assert abs(volts * amperes) <= max(420.0 * 1.0001, held)


def test_a_switch_reaches_the_outputs_of_its_group() -> None:
    profile = Profile("FAKE3", (output(1), output(2), output(3)), together=(frozenset((1, 2)),))
    channels = channels_of("psu1", profile, {})
    assert [sorted(channel.together) for channel in channels.values()] == [[1, 2], [1, 2], []]
    check_reach([channels[1], channels[2]])
    check_reach([channels[3]])
    with pytest.raises(Refusal, match="channel 2 of psu1 has one switch with channel 1, which"):
        check_reach([channels[2], channels[3]])

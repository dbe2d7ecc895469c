"""Commands to the E36300 series by literal transcripts: what a worker has its driver send, word for word, and in which order."""

from __future__ import annotations

import pytest

from agent.config import ChannelSettings
from tests.instruments.e36300 import MODELS, NO_ERROR, OFF, checked, connecting, guards, idn, joined, poll
from tests.instruments.transcript import Line
from tests.transcript import Driven

ON_AT_5 = poll(
    voltage="+5.00000E+00,0,0", volt="+5.00000E+00,+0.00000E+00,+0.00000E+00", outp="1,0,0", conditions=("+2", "+0", "+0")  # type: ignore[arg-type]
)  # fmt: skip


def at(volt: float, outp: int = 1, curr: float = 1.0, prot: float = 6.6) -> Line:
    return poll(
        volt=f"{volt:+.5E},+0.00000E+00,+0.00000E+00",
        curr=f"{curr:+.5E},+1.00000E+00,+1.00000E+00",
        prot=f"{prot:+.5E},+2.75000E+01,+2.75000E+01",
        outp=f"{outp},0,0",
        conditions=("+2" if outp else "+0", "+0", "+0"),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("model", MODELS)
def test_off_goes_first_and_asks_nothing_before(model: str) -> None:
    with Driven(model, connecting(model, ON_AT_5)) as driven:
        response = driven.carry_out('{"state": false}', [("OUTP 0,(@1)", None), joined(NO_ERROR, OFF)])
        assert response.ok


def test_off_with_settings_goes_off_before_them() -> None:
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [
            NO_ERROR,
            ("OUTP 0,(@1)", None),
            joined(NO_ERROR, *guards("voltage_limit"), at(5, 0)),
            ("VOLT 3,(@1)", None),
            joined(NO_ERROR, at(3, 0)),
        ]
        # The queue is not read first: nothing goes before off.
        assert driven.carry_out('{"state": false, "voltage_limit": 3}', lines[1:]).ok


def test_settings_go_before_on_and_are_looked_at_between() -> None:
    lines = [
        joined(NO_ERROR, *guards("state"), OFF),
        checked("CURR 0.5,(@1)"),
        ("VOLT 3.3,(@1)", None),
        joined(NO_ERROR, *guards("state"), at(3.3, 0, 0.5)),
        ("OUTP 1,(@1)", None),
        joined(NO_ERROR, at(3.3, 1, 0.5)),
    ]
    with Driven("E36313A", connecting()) as driven:
        assert driven.carry_out('{"current_limit": 0.5, "voltage_limit": 3.3, "state": true}', lines).ok


def test_lowering_comes_before_raising() -> None:
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [
            joined(NO_ERROR, *guards("voltage_limit"), at(5)),
            checked("VOLT 3,(@1)"),
            ("CURR 2,(@1)", None),
            joined(NO_ERROR, at(3, 1, 2)),
        ]
        assert driven.carry_out('{"current_limit": 2, "voltage_limit": 3}', lines).ok
        lines = [
            joined(NO_ERROR, *guards("voltage_limit"), at(3, 1, 2)),
            checked("CURR 1,(@1)"),
            ("VOLT 4,(@1)", None),
            joined(NO_ERROR, at(4, 1, 1)),
        ]
        assert driven.carry_out('{"current_limit": 1, "voltage_limit": 4}', lines).ok


def test_the_trip_level_goes_up_before_the_voltage_and_down_after_it() -> None:
    with Driven("E36313A", connecting(seen=at(3, prot=4))) as driven:
        lines = [
            joined(NO_ERROR, *guards("voltage_limit", "voltage_protection"), at(3, prot=4)),
            checked("VOLT:PROT 6,(@1)"),
            ("VOLT 5,(@1)", None),
            joined(NO_ERROR, at(5, prot=6)),
        ]
        assert driven.carry_out('{"voltage_limit": 5, "voltage_protection": 6}', lines).ok
        lines = [
            joined(NO_ERROR, *guards("voltage_limit", "voltage_protection"), at(5, prot=6)),
            ("VOLT 3,(@1)", None),
            joined(NO_ERROR, at(3, prot=6)),  # it has come down
            ("VOLT:PROT 4,(@1)", None),
            joined(NO_ERROR, at(3, prot=4)),
        ]
        assert driven.carry_out('{"voltage_limit": 3, "voltage_protection": 4}', lines).ok


def test_the_settings_of_the_negative_output() -> None:
    """The value nearer to zero is the lower one: magnitudes decide."""

    def third(volt: float, curr: float) -> Line:
        return poll(
            volt=f"+0.00000E+00,+0.00000E+00,{volt:+.5E}", curr=f"+1.00000E+00,+1.00000E+00,{curr:+.5E}", outp="0,0,1"
        )

    with Driven("E36311A", connecting("E36311A", third(-12, 0.5))) as driven:
        lines = [
            joined(NO_ERROR, *guards("voltage_limit", channel=3), third(-12, 0.5)),
            checked("VOLT -5,(@3)"),
            ("CURR 1,(@3)", None),
            joined(NO_ERROR, third(-5, 1)),
        ]
        assert driven.carry_out('{"current_limit": 1, "voltage_limit": -5}', lines, "3").ok


def test_a_trip_is_cleared_with_the_output_off() -> None:
    tripped = poll(ovp="1,0,0")
    lines = [
        joined(NO_ERROR, *guards("clear_protection"), tripped),
        ("OUTP 0,(@1)", None),
        NO_ERROR,
        ("OUTP:PROT:CLE (@1)", None),
        joined(NO_ERROR, OFF),
        OFF,
    ]
    with Driven("E36313A", connecting(seen=tripped)) as driven:
        assert driven.carry_out('{"clear_protection": true}', lines).ok


def test_a_whole_unit_is_one_message() -> None:
    with Driven("E36313A", connecting(seen=poll(outp="1,1,1"))) as driven:
        response = driven.carry_out("OFF", [("OUTP 0,(@1,2,3)", None), joined(NO_ERROR, OFF)], None)
        assert isinstance(response.result, list)
        assert len(response.result) == 3


def test_over_current_protection() -> None:
    with Driven("E36313A", connecting()) as driven:
        lines = [
            joined(NO_ERROR, *guards("current_protection", channel=2), OFF),
            ("CURR:PROT:STAT 1,(@2)", None),
            joined(NO_ERROR, poll(ocp="0,1,0")),
        ]
        assert driven.carry_out('{"current_protection": true}', lines, "2").ok
        lines = [
            joined(NO_ERROR, *guards("current_protection", channel=2), poll(ocp="0,1,0")),
            ("CURR:PROT:STAT 0,(@2)", None),
            joined(NO_ERROR, OFF),
        ]
        assert driven.carry_out('{"current_protection": 0}', lines, "2").ok


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("3", "3"),
        ("3.30", "3.3"),
        ("1e-3", "0.001"),
        ("0.1234567", "0.123457"),
        ("1E-7", "0"),
        ("5e0", "5"),
        ("-0.0", "0"),
        ("0.30000000000000004", "0.3"),
        ("6.1799999999", "6.18"),
    ],
)
def test_values_are_plain_decimals(value: str, sent: str) -> None:
    with Driven("E36313A", connecting()) as driven:
        lines = [
            joined(NO_ERROR, *guards("voltage_limit"), OFF),
            (f"VOLT {sent},(@1)", None),
            joined(NO_ERROR, at(float(sent), 0)),
        ]
        assert driven.carry_out(f'{{"voltage_limit": {value}}}', lines).ok


def test_an_error_of_the_unit_ends_the_plan_and_the_truth_is_read() -> None:
    error: Line = ("SYST:ERR?", '-221,"Settings conflict;VOLT ""3"""')
    with Driven("E36313A", connecting()) as driven:
        # The look asks about the last setting before it, any other setting asks about itself.
        for lines in (
            [joined(NO_ERROR, *guards("state"), OFF), checked("CURR 0.5,(@1)", error), NO_ERROR, OFF],
            [
                joined(NO_ERROR, *guards("state"), OFF),
                checked("CURR 0.5,(@1)"),
                ("VOLT 3,(@1)", None),
                joined(error, *guards("state"), at(1)),
                NO_ERROR,
                joined(NO_ERROR, *guards("state"), OFF),
            ],
        ):
            response = driven.carry_out('{"voltage_limit": 3, "current_limit": 0.5, "state": true}', lines)
            assert response.error is not None
            assert response.error.code == "instrument_error"
            assert '-221,"Settings conflict;VOLT ""3"""' in response.error.message


def test_an_error_that_was_there_before_is_not_the_commands() -> None:
    old: Line = ("SYST:ERR?", '-410,"Query INTERRUPTED"')
    with Driven("E36313A", connecting()) as driven:
        asked = guards("voltage_limit")
        lines = [joined(old, *asked, OFF), NO_ERROR, joined(NO_ERROR, *asked, OFF)]
        lines += [("VOLT 3,(@1)", None), joined(NO_ERROR, at(3, 0))]
        assert driven.carry_out('{"voltage_limit": 3}', lines).ok


def test_what_came_with_an_error_is_old_when_the_queue_has_been_read() -> None:
    """Somebody turns the knob up meanwhile: neither is the older value told, nor the output turned on."""
    old: Line = ("SYST:ERR?", '-410,"Query INTERRUPTED"')
    with Driven("E36313A", connecting(), {1: ChannelSettings(voltage_max=5.5)}) as driven:
        asked = guards("state")
        lines = [joined(old, *asked, at(1, 0)), old, old, NO_ERROR, joined(NO_ERROR, *asked, at(6, 0))]
        response = driven.carry_out('{"state": true}', lines)
        assert response.error is not None
        assert response.error.code == "limit_exceeded"
        assert [state.voltage_limit for state in driven.sheet.states if state.index == 1] == [0.0, 6.0]


def test_an_error_does_not_stop_off() -> None:
    full: Line = ("SYST:ERR?", '-350,"Error queue overflow"')
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [("OUTP 0,(@1)", None), joined(full, ON_AT_5), NO_ERROR, joined(NO_ERROR, OFF)]
        assert driven.carry_out("OFF", lines).ok


def test_limits_hold_at_the_unit_too() -> None:
    seen = at(6, 0)
    with Driven("E36313A", connecting(seen=seen), {1: ChannelSettings(voltage_max=5.5)}) as driven:
        response = driven.carry_out('{"state": true}', [joined(NO_ERROR, *guards("state"), seen)])
        assert response.error is not None
        assert response.error.code == "limit_exceeded"


@pytest.mark.parametrize(("changed", "said"), [({"TRAC": "1"}, "track"), ({"PAIR": "SER"}, "paired")])
def test_coupled_outputs_take_no_settings_and_can_be_turned_off(changed: dict[str, str], said: str) -> None:
    with Driven("E36313A", connecting()) as driven:
        for payload, setting in (('{"voltage_limit": 1}', "voltage_limit"), ('{"state": true}', "state")):
            lines = [joined(NO_ERROR, *guards(setting, channel=3, changed=changed), OFF)]
            response = driven.carry_out(payload, lines, "3")
            assert response.error is not None
            assert response.error.code == "unsupported"
            assert said in response.error.message
        assert driven.carry_out("OFF", [("OUTP 0,(@3)", None), joined(NO_ERROR, OFF)], "3").ok
        lines = [("OUTP 0,(@3)", None), joined(NO_ERROR, *guards("voltage_limit", channel=3, changed=changed), OFF)]
        response = driven.carry_out('{"state": false, "voltage_limit": 1}', lines, "3")
        assert response.error is not None
        assert (response.error.code, "it was turned off" in response.error.message) == ("unsupported", True)
        # The first output is not coupled to any.
        lines = [joined(NO_ERROR, *guards("voltage_limit"), OFF), ("VOLT 1,(@1)", None), joined(NO_ERROR, at(1, 0))]
        assert driven.carry_out('{"voltage_limit": 1}', lines).ok


#: Settings at the unit, and the command for channel 1 that they forbid with a part of the reason.
FORBIDDEN = [
    ({"COUP": "ALL"}, "state", "outputs 1, 2, 3 are coupled, so 2, 3 would be turned on too"),
    ({"COUP": "CH1,CH3"}, "state", "outputs 1, 3 are coupled, so 3 would be turned on too"),
    ({"COUP": "(@1,2)"}, "state", "outputs 1, 2 are coupled, so 2 would be turned on too"),
    ({"VOLT:MODE": "STEP,FIX,FIX"}, "state", "voltage of output 1 changes by a trigger (VOLT:MODE STEP)"),
    ({"VOLT:MODE": "LIST,FIX,FIX"}, "voltage_limit", "voltage of output 1 changes by a trigger (VOLT:MODE LIST)"),
    ({"CURR:MODE": "STEP,FIX,FIX"}, "current_limit", "current limit of output 1 changes by a trigger"),
    ({"INH": "LIVE"}, "state", "remote inhibit is LIVE"),
    ({"PIN1": "ONC"}, "state", "pin 1 of the digital port"),
    ({"PIN2": "OFFC"}, "state", "pin 2 of the digital port"),
    ({"RISE": "60,0,0"}, "state", "on delay of 60 s"),
    ({"FALL": "+6.00000E+01,0,0"}, "state", "off delay of 60 s"),
    ({"PROT:STAT": "0,1,1"}, "voltage_protection", "over-voltage protection of output 1 is switched off"),
]


@pytest.mark.parametrize(("changed", "setting", "said"), FORBIDDEN)
def test_a_setting_at_the_unit_forbids_a_command_before_anything_is_sent(
    changed: dict[str, str], setting: str, said: str
) -> None:
    value = "true" if setting == "state" else "1"
    with Driven("E36313A", connecting()) as driven:
        lines = [joined(NO_ERROR, *guards(setting, changed=changed), OFF)]
        response = driven.carry_out(f'{{"{setting}": {value}}}', lines)
        assert response.error is not None
        assert response.error.code == "unsupported"
        assert said in response.error.message
        assert "at the unit" in response.error.message or "at psu1" in response.error.message


#: Settings at the unit that change nothing about the command for channel 1.
ALLOWED = [
    ({"COUP": "CH2,CH3"}, "state"),
    ({"COUP": "CH1"}, "state"),
    ({"COUP": "ALL"}, "voltage_limit"),
    ({"VOLT:MODE": "FIX,STEP,LIST"}, "voltage_limit"),
    ({"INH": "LATC"}, "state"),
    ({"PIN3": "INH"}, "state"),
    ({"RISE": "0,60,60"}, "state"),
    ({"PROT:STAT": "0,0,0"}, "voltage_limit"),
]


@pytest.mark.parametrize(("changed", "setting"), ALLOWED)
def test_a_setting_at_the_unit_that_does_not_concern_the_command_is_no_hindrance(
    changed: dict[str, str], setting: str
) -> None:
    with Driven("E36313A", connecting()) as driven:
        sent, after = ("OUTP 1,(@1)", ON_AT_5) if setting == "state" else ("VOLT 1,(@1)", at(1, 0))
        lines = [joined(NO_ERROR, *guards(setting, changed=changed), OFF), (sent, None), joined(NO_ERROR, after)]
        payload = '{"state": true}' if setting == "state" else '{"voltage_limit": 1}'
        assert driven.carry_out(payload, lines).ok


def test_a_whole_unit_that_is_coupled_is_turned_on_as_a_whole() -> None:
    on = poll(outp="1,1,1", conditions=("+2", "+2", "+2"))  # type: ignore[arg-type]
    with Driven("E36313A", connecting()) as driven:
        lines = [joined(NO_ERROR, *guards("state", channel=2, changed={"COUP": "ALL"}), OFF), ("OUTP 1,(@1,2,3)", None)]
        assert driven.carry_out('{"state": true}', [*lines, joined(NO_ERROR, on)], None).ok


def test_a_coupling_that_is_made_while_a_command_is_on_its_way_is_seen_before_on() -> None:
    with Driven("E36313A", connecting()) as driven:
        lines = [
            joined(NO_ERROR, *guards("state"), OFF),
            ("VOLT 3,(@1)", None),
            joined(NO_ERROR, *guards("state", changed={"COUP": "ALL"}), at(3, 0)),
        ]
        response = driven.carry_out('{"voltage_limit": 3, "state": true}', lines)
        assert response.error is not None
        assert response.error.code == "unsupported"


def test_a_step_of_a_ramp_is_one_message() -> None:
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [joined(NO_ERROR, *guards("voltage_limit"), at(5)), checked("VOLT 3,(@1)"), at(3)]
        assert driven.carry_out('{"voltage_limit": 3, "ramp": 1000}', lines).ok


def test_a_step_that_the_unit_refuses_ends_the_ramp() -> None:
    error: Line = ("SYST:ERR?", '-222,"Data out of range"')
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [joined(NO_ERROR, *guards("voltage_limit"), at(5)), checked("VOLT 3,(@1)", error), NO_ERROR, at(5)]
        response = driven.carry_out('{"voltage_limit": 3, "ramp": 1000}', lines)
        assert response.error is not None
        assert response.error.code == "instrument_error"
        assert "refused voltage_limit 3 V for channel 1: -222" in response.error.message


def test_a_step_that_the_unit_does_not_answer_for_as_it_refuses_it() -> None:
    """It stays online, and its next ramp takes two messages a step."""
    error: Line = ("SYST:ERR?", '-113,"Undefined header"')
    asked = joined(NO_ERROR, *guards("voltage_limit"), at(5))
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [asked, (checked("VOLT 3,(@1)")[0], None), idn(), error, NO_ERROR, at(5)]
        response = driven.carry_out('{"voltage_limit": 3, "ramp": 1000}', lines)
        assert response.error is not None
        assert response.error.code == "instrument_error"
        assert '-113,"Undefined header"' in response.error.message
        assert driven.carry_out(
            '{"voltage_limit": 4, "ramp": 1000}', [asked, ("VOLT 4,(@1)", None), NO_ERROR, at(4)]
        ).ok
        assert driven.latest[1].online

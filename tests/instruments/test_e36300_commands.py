"""Commands to the E36300 series by literal transcripts: what a worker has its driver send, word for word, and in which order."""

from __future__ import annotations

import pytest

from agent.config import ChannelSettings
from tests.instruments.e36300 import MODELS, NO_ERROR, OFF, UNCOUPLED, connecting, joined, poll
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
            joined(NO_ERROR, at(5, 0)),
            ("VOLT 3,(@1)", None),
            joined(NO_ERROR, at(3, 0)),
        ]
        # The queue is not read first: nothing goes before off.
        assert driven.carry_out('{"state": false, "voltage_limit": 3}', lines[1:]).ok


def test_settings_go_before_on_and_are_looked_at_between() -> None:
    lines = [
        joined(NO_ERROR, OFF),
        ("CURR 0.5,(@1)", None),
        NO_ERROR,
        ("VOLT 3.3,(@1)", None),
        joined(NO_ERROR, at(3.3, 0, 0.5)),
        ("OUTP 1,(@1)", None),
        joined(NO_ERROR, at(3.3, 1, 0.5)),
    ]
    with Driven("E36313A", connecting()) as driven:
        assert driven.carry_out('{"current_limit": 0.5, "voltage_limit": 3.3, "state": true}', lines).ok


def test_lowering_comes_before_raising() -> None:
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [
            joined(NO_ERROR, at(5)),
            ("VOLT 3,(@1)", None),
            NO_ERROR,
            ("CURR 2,(@1)", None),
            joined(NO_ERROR, at(3, 1, 2)),
        ]
        assert driven.carry_out('{"current_limit": 2, "voltage_limit": 3}', lines).ok
        lines = [
            joined(NO_ERROR, at(3, 1, 2)),
            ("CURR 1,(@1)", None),
            NO_ERROR,
            ("VOLT 4,(@1)", None),
            joined(NO_ERROR, at(4, 1, 1)),
        ]
        assert driven.carry_out('{"current_limit": 1, "voltage_limit": 4}', lines).ok


def test_the_trip_level_goes_up_before_the_voltage_and_down_after_it() -> None:
    with Driven("E36313A", connecting(seen=at(3, prot=4))) as driven:
        lines = [
            joined(NO_ERROR, at(3, prot=4)),
            ("VOLT:PROT 6,(@1)", None),
            NO_ERROR,
            ("VOLT 5,(@1)", None),
            joined(NO_ERROR, at(5, prot=6)),
        ]
        assert driven.carry_out('{"voltage_limit": 5, "voltage_protection": 6}', lines).ok
        lines = [
            joined(NO_ERROR, at(5, prot=6)),
            ("VOLT 3,(@1)", None),
            NO_ERROR,
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
            joined(NO_ERROR, *UNCOUPLED, third(-12, 0.5)),
            ("VOLT -5,(@3)", None),
            NO_ERROR,
            ("CURR 1,(@3)", None),
            joined(NO_ERROR, third(-5, 1)),
        ]
        assert driven.carry_out('{"current_limit": 1, "voltage_limit": -5}', lines, "3").ok


def test_a_trip_is_cleared_with_the_output_off() -> None:
    tripped = poll(ovp="1,0,0")
    lines = [
        joined(NO_ERROR, tripped),
        ("OUTP 0,(@1)", None),
        NO_ERROR,
        ("OUTP:PROT:CLE (@1)", None),
        joined(NO_ERROR, OFF),
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
            joined(NO_ERROR, *UNCOUPLED, OFF),
            ("CURR:PROT:STAT 1,(@2)", None),
            joined(NO_ERROR, poll(ocp="0,1,0")),
        ]
        assert driven.carry_out('{"current_protection": true}', lines, "2").ok
        lines = [
            joined(NO_ERROR, *UNCOUPLED, poll(ocp="0,1,0")),
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
        lines = [joined(NO_ERROR, OFF), (f"VOLT {sent},(@1)", None), joined(NO_ERROR, at(float(sent), 0))]
        assert driven.carry_out(f'{{"voltage_limit": {value}}}', lines).ok


def test_an_error_of_the_unit_ends_the_plan_and_the_truth_is_read() -> None:
    error: Line = ("SYST:ERR?", '-221,"Settings conflict;VOLT ""3"""')
    with Driven("E36313A", connecting()) as driven:
        # The last setting before a look is asked about with it, any other by itself.
        for lines in (
            [joined(NO_ERROR, OFF), ("CURR 0.5,(@1)", None), error, NO_ERROR, OFF],
            [
                joined(NO_ERROR, OFF),
                ("CURR 0.5,(@1)", None),
                NO_ERROR,
                ("VOLT 3,(@1)", None),
                joined(error, at(1)),
                NO_ERROR,
                joined(NO_ERROR, OFF),
            ],
        ):
            response = driven.carry_out('{"voltage_limit": 3, "current_limit": 0.5, "state": true}', lines)
            assert response.error is not None
            assert response.error.code == "instrument_error"
            assert '-221,"Settings conflict;VOLT ""3"""' in response.error.message


def test_an_error_that_was_there_before_is_not_the_commands() -> None:
    old: Line = ("SYST:ERR?", '-410,"Query INTERRUPTED"')
    with Driven("E36313A", connecting()) as driven:
        lines = [joined(old, OFF), NO_ERROR, joined(NO_ERROR, OFF), ("VOLT 3,(@1)", None), joined(NO_ERROR, at(3, 0))]
        assert driven.carry_out('{"voltage_limit": 3}', lines).ok


def test_what_came_with_an_error_is_old_when_the_queue_has_been_read() -> None:
    """Somebody turns the knob up meanwhile: neither is the older value told, nor the output turned on."""
    old: Line = ("SYST:ERR?", '-410,"Query INTERRUPTED"')
    with Driven("E36313A", connecting(), {1: ChannelSettings(voltage_max=5.5)}) as driven:
        lines = [joined(old, at(1, 0)), old, old, NO_ERROR, joined(NO_ERROR, at(6, 0))]
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
        response = driven.carry_out('{"state": true}', [joined(NO_ERROR, seen)])
        assert response.error is not None
        assert response.error.code == "limit_exceeded"


TRACKING: list[Line] = [("OUTP:TRAC:STAT?", "1"), ("OUTP:PAIR?", "OFF")]
PAIRED: list[Line] = [("OUTP:TRAC:STAT?", "0"), ("OUTP:PAIR?", "SER")]


@pytest.mark.parametrize(("coupled", "said"), [(TRACKING, "track"), (PAIRED, "paired")])
def test_coupled_outputs_take_no_settings_and_can_be_turned_off(coupled: list[Line], said: str) -> None:
    with Driven("E36313A", connecting()) as driven:
        for payload in ('{"voltage_limit": 1}', '{"state": true}'):
            response = driven.carry_out(payload, [joined(NO_ERROR, *coupled, OFF)], "3")
            assert response.error is not None
            assert response.error.code == "unsupported"
            assert said in response.error.message
        assert driven.carry_out("OFF", [("OUTP 0,(@3)", None), joined(NO_ERROR, OFF)], "3").ok
        lines = [("OUTP 0,(@3)", None), joined(NO_ERROR, *coupled, OFF)]
        response = driven.carry_out('{"state": false, "voltage_limit": 1}', lines, "3")
        assert response.error is not None
        assert (response.error.code, "it was turned off" in response.error.message) == ("unsupported", True)
        # The first output is not coupled to any.
        lines = [joined(NO_ERROR, OFF), ("VOLT 1,(@1)", None), joined(NO_ERROR, at(1, 0))]
        assert driven.carry_out('{"voltage_limit": 1}', lines).ok

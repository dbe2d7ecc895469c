"""The E36300 series by literal transcripts: what each model is sent, word for word, and how its answers are read.

The answers have the form that the Programming Guide E36311-90008 gives them.
"""

from __future__ import annotations

import pytest

from agent.config.schema import Channel
from agent.instruments.catalogue import all_models, candidates
from tests.transcript import Driven, Line

NO_ERROR: Line = ("SYST:ERR?", '+0,"No error"')

QUERIES = [
    "MEAS:VOLT? (@1,2,3)",
    "MEAS:CURR? (@1,2,3)",
    "VOLT? (@1,2,3)",
    "CURR? (@1,2,3)",
    "OUTP? (@1,2,3)",
    "VOLT:PROT? (@1,2,3)",
    "VOLT:PROT:TRIP? (@1,2,3)",
    "CURR:PROT:STAT? (@1,2,3)",
    "CURR:PROT:TRIP? (@1,2,3)",
    "STAT:QUES:INST:ISUM1:COND?",
    "STAT:QUES:INST:ISUM2:COND?",
    "STAT:QUES:INST:ISUM3:COND?",
]
POLL = (
    "MEAS:VOLT? (@1,2,3);:MEAS:CURR? (@1,2,3);:VOLT? (@1,2,3);:CURR? (@1,2,3);:OUTP? (@1,2,3);"
    ":VOLT:PROT? (@1,2,3);:VOLT:PROT:TRIP? (@1,2,3);:CURR:PROT:STAT? (@1,2,3);:CURR:PROT:TRIP? (@1,2,3);"
    ":STAT:QUES:INST:ISUM1:COND?;:STAT:QUES:INST:ISUM2:COND?;:STAT:QUES:INST:ISUM3:COND?"
)


def answers(
    *,
    voltage: str = "+1.10000E-04,+0.00000E+00,-2.00000E-05",
    current: str = "-1.00000E-04,+0.00000E+00,+3.00000E-05",
    volt: str = "+0.00000E+00,+0.00000E+00,+0.00000E+00",
    curr: str = "+1.00000E+00,+1.00000E+00,+1.00000E+00",
    outp: str = "0,0,0",
    prot: str = "+6.60000E+00,+2.75000E+01,+2.75000E+01",
    ovp: str = "0,0,0",
    ocp: str = "0,0,0",
    ocp_tripped: str = "0,0,0",
    conditions: tuple[str, str, str] = ("+0", "+0", "+0"),
) -> list[str]:
    """The answers to `QUERIES`."""
    return [voltage, current, volt, curr, outp, prot, ovp, ocp, ocp_tripped, *conditions]


def poll(**changed: str) -> Line:
    return (POLL, ";".join(answers(**changed)))  # type: ignore[arg-type]


OFF = poll()


def idn(model: str) -> Line:
    return ("*IDN?", f"Keysight Technologies,{model},MY61004803,1.0.4-1.0.0-1.00")


#: Asked before a setting of outputs 2 or 3 is written, and once on connecting.
UNCOUPLED: list[Line] = [("OUTP:TRAC:STAT?", "0"), ("OUTP:PAIR?", "OFF")]


def joined(*lines: Line) -> Line:
    """What is asked in one message around a setting, and its one answer."""
    return (";:".join(sent for sent, _ in lines), ";".join(str(answer) for _, answer in lines))


def connecting(model: str = "E36313A", seen: Line = OFF) -> list[Line]:
    return [idn(model), NO_ERROR, OFF, *UNCOUPLED, joined(NO_ERROR, *UNCOUPLED, OFF), seen]


MODELS = ["E36311A", "E36312A", "E36313A"]


@pytest.mark.parametrize("model", MODELS)
def test_a_connection_and_a_poll(model: str) -> None:
    answer = (
        "+4.99982E+00,+1.20013E+01,+3.30010E+00;+1.20300E-01,+2.00010E-01,+0.00000E+00;"
        "+5.00000E+00,+1.20000E+01,+3.30000E+00;+1.00000E+00,+2.00000E-01,+5.00000E-01;1,1,0;"
        "+6.60000E+00,+2.75000E+01,+2.00000E+01;0,0,1;0,1,0;0,0,0;+2;+1;+512"
    )
    with Driven(model, connecting(model, (POLL, answer))) as driven:
        one, two, three = (driven.latest[index] for index in (1, 2, 3))
        assert (one.model, one.name, one.online, one.state, one.mode, one.tripped) == (
            model,
            "CH1",
            True,
            True,
            "CV",
            None,
        )
        assert (one.voltage, one.current, one.voltage_limit, one.current_limit) == (4.99982, 0.1203, 5.0, 1.0)
        assert (one.voltage_protection, one.current_protection) == (6.6, False)
        assert one.power == round(4.99982 * 0.1203, 6)
        assert (two.state, two.mode, two.current_protection) == (True, "CC", True)
        assert (three.state, three.mode, three.tripped) == (False, "OFF", "OVP")
        info = driven.sheet.infos[-1]
        assert (info.model, info.serial, info.firmware) == (model, "MY61004803", "1.0.4-1.0.0-1.00")


def test_older_units_call_their_maker_agilent() -> None:
    lines = connecting()
    lines[0] = ("*IDN?", "Agilent Technologies,E36313A,MY1,1.0")
    with Driven("E36300", lines) as driven:
        assert driven.sheet.infos[-1].manufacturer == "Agilent Technologies"


def test_errors_that_stood_in_the_queue_are_taken_out_first() -> None:
    lines = connecting()
    lines[1:2] = [("SYST:ERR?", '-222,"Data out of range"'), ("SYST:ERR?", '-113,"Undefined header"'), NO_ERROR]
    with Driven("E36313A", lines):
        pass


REFUSED: Line = ("SYST:ERR?", '-103,"Invalid separator"')


def test_a_unit_that_takes_no_compound_messages_is_polled_by_lists() -> None:
    lists: list[Line] = list(zip(QUERIES, answers(), strict=True))
    lines = [idn("E36313A"), NO_ERROR, (POLL, None), idn("E36313A"), REFUSED, NO_ERROR, *lists, *UNCOUPLED, *lists]
    with Driven("E36313A", lines) as driven:
        assert driven.latest[3].voltage == -2e-05


def test_a_unit_that_takes_no_channel_lists_is_polled_one_by_one() -> None:
    singles: list[Line] = []
    for query, answer in zip(QUERIES, answers(), strict=True):
        if "(@1,2,3)" in query:
            singles += [
                (query.replace("(@1,2,3)", f"(@{number})"), part) for number, part in enumerate(answer.split(","), 1)
            ]
        else:
            singles.append((query, answer))
    lines = [idn("E36313A"), NO_ERROR, (POLL, None), idn("E36313A"), REFUSED, NO_ERROR]
    lines += [
        (QUERIES[0], None),
        idn("E36313A"),
        ("SYST:ERR?", '-171,"Invalid expression"'),
        NO_ERROR,
        *singles,
        *UNCOUPLED,
        *singles,
    ]
    with Driven("E36313A", lines) as driven:
        assert driven.latest[1].voltage == 0.00011
        assert len(driven.sheet.all_states) == 3


def test_a_silent_unit_that_refused_nothing_is_not_asked_in_smaller_messages() -> None:
    lines = [idn("E36313A"), NO_ERROR, (POLL, None), idn("E36313A"), NO_ERROR, *connecting()]
    with Driven("E36313A", lines) as driven:
        assert any(info.reason == "no answer: timeout" for info in driven.sheet.infos)


# Commands.

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
    """What is nearer to zero is lower: magnitudes decide."""

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
    with Driven("E36313A", connecting(), {1: Channel(voltage_max=5.5)}) as driven:
        lines = [joined(old, at(1, 0)), old, old, NO_ERROR, joined(NO_ERROR, at(6, 0))]
        response = driven.carry_out('{"state": true}', lines)
        assert response.error is not None
        assert response.error.code == "limit_exceeded"
        assert [state.voltage_limit for state in driven.sheet.all_states if state.index == 1] == [0.0, 6.0]


def test_an_error_does_not_stop_off() -> None:
    full: Line = ("SYST:ERR?", '-350,"Error queue overflow"')
    with Driven("E36313A", connecting(seen=ON_AT_5)) as driven:
        lines = [("OUTP 0,(@1)", None), joined(full, ON_AT_5), NO_ERROR, joined(NO_ERROR, OFF)]
        assert driven.carry_out("OFF", lines).ok


def test_limits_hold_at_the_unit_too() -> None:
    seen = at(6, 0)
    with Driven("E36313A", connecting(seen=seen), {1: Channel(voltage_max=5.5)}) as driven:
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


def test_a_unit_that_can_not_be_asked_about_coupling() -> None:
    unknown: list[Line] = [("SYST:ERR?", '-113,"Undefined header"'), NO_ERROR]
    lines = [idn("E36313A"), NO_ERROR, OFF, ("OUTP:TRAC:STAT?", None), idn("E36313A"), *unknown]
    lines += [("OUTP:PAIR?", None), idn("E36313A"), *unknown, joined(NO_ERROR, OFF), OFF]
    with Driven("E36313A", lines) as driven:
        lines = [joined(NO_ERROR, OFF), ("CURR:PROT:STAT 1,(@2)", None), joined(NO_ERROR, poll(ocp="0,1,0"))]
        assert driven.carry_out('{"current_protection": true}', lines, "2").ok


@pytest.mark.parametrize("it_tells", [True, False])
def test_a_unit_that_takes_no_other_question_beside_a_poll_is_asked_one_by_one(it_tells: bool) -> None:
    hello = [idn("E36313A"), NO_ERROR, OFF, *UNCOUPLED, (joined(NO_ERROR, *UNCOUPLED, OFF)[0], None), idn("E36313A")]
    lines = [*hello, REFUSED, NO_ERROR, OFF] if it_tells else [*hello, NO_ERROR, *hello, NO_ERROR, OFF]
    with Driven("E36313A", lines) as driven:
        lines = [NO_ERROR, *UNCOUPLED, OFF, ("CURR:PROT:STAT 1,(@2)", None), NO_ERROR, poll(ocp="0,1,0")]
        assert driven.carry_out('{"current_protection": true}', lines, "2").ok
        response = driven.carry_out('{"state": true}', [NO_ERROR, *TRACKING, OFF], "3")
        assert response.error is not None
        assert response.error.code == "unsupported"


# The table.


def test_the_series_has_these_models_and_ratings() -> None:
    table = {
        model.name: [
            (c.index, c.voltage_rating, c.current_rating, c.voltage, c.current, c.voltage_protection)
            for c in model.channels
        ]
        for model in candidates("E36300")
    }
    assert table == {
        "E36311A": [
            (1, 6.0, 5.0, (0, 6.18), (0, 5.15), (0.5, 6.6)),
            (2, 25.0, 1.0, (0, 25.75), (0, 1.03), (0.5, 27.5)),
            (3, 25.0, 1.0, (-25.75, 0), (0, 1.03), (0.5, 27.5)),
        ],
        "E36312A": [
            (1, 6.0, 5.0, (0, 6.18), (0, 5.15), (0.5, 6.6)),
            (2, 25.0, 1.0, (0, 25.75), (0, 1.03), (0.5, 27.5)),
            (3, 25.0, 1.0, (0, 25.75), (0, 1.03), (0.5, 27.5)),
        ],
        "E36313A": [
            (1, 6.0, 10.0, (0, 6.18), (0, 10.3), (0.5, 6.6)),
            (2, 25.0, 2.0, (0, 25.75), (0, 2.06), (0.5, 27.5)),
            (3, 25.0, 2.0, (0, 25.75), (0, 2.06), (0.5, 27.5)),
        ],
    }


def test_every_model_names_its_source_and_says_whether_it_was_tried() -> None:
    for model in all_models():
        assert model.series.manual
        assert isinstance(model.series.tested, list)

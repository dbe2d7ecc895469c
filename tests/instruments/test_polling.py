"""Answers are believed only in the exact form that their question asks for."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.catalogue import candidates, identify
from agent.instruments.driver import IdentityError, MalformedAnswerError, Write
from agent.instruments.text.errors import ErrorQueue, in_words
from agent.instruments.text.identified import IdentifiedLink, parse_identity
from agent.instruments.text.messages import channel_list, combine, take_apart
from agent.instruments.text.polling import Batching, PollReader, poll_plan
from agent.instruments.text.settings import outgoing
from tests.instruments.e36300 import OFF
from tests.instruments.transcript import Transcript
from tests.properties import examples

MODEL = candidates("E36313A")[0]
PLAN = PollReader(poll_plan(MODEL, Batching.COMPOUND))
GOOD = str(OFF[1])


QUEUE = ErrorQueue(IdentifiedLink(Transcript(), MODEL.series), "psu1", MODEL.series.errors)


def parse_error(answer: str) -> str | None:
    error = QUEUE.parsed(answer)
    return None if error is None else in_words([error])[0]


def test_the_good_answer_is_good() -> None:
    assert PLAN.read([GOOD])[1].voltage_limit == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "0",
        GOOD[:-1],
        GOOD[:-2],
        GOOD + ";+0",
        GOOD + ",+0",
        "+0;" + GOOD,
        GOOD.replace(";", ",", 1),
        GOOD.replace(",", ";", 1),
        GOOD.replace(";0,0,0;", ";0,0;", 1),
        GOOD.replace(";0,0,0;", ";0,0,2;", 1),
        GOOD.replace(";0,0,0;", ";0,0,0.5;", 1),
        GOOD.replace(";0,0,0;", ";OFF,OFF,NO;", 1),
        GOOD[:-2] + "-1",
        GOOD[:-2] + "+1.5",
        GOOD.replace("+6.60000E+00", "6.6A"),
        GOOD.replace("+6.60000E+00", "nan"),
        GOOD.replace("+6.60000E+00", "inf"),
        GOOD.replace("+6.60000E+00", "0x10"),
        GOOD.replace("+6.60000E+00", "6_6"),
        GOOD.replace("+6.60000E+00", "٣"),
        GOOD.replace("+6.60000E+00", ""),
        GOOD.replace("+1.00000E+00,+1.00000E+00,+1.00000E+00", "+9.91E37,+1.00000E+00,+1.00000E+00"),
        GOOD.replace("+1.00000E+00,+1.00000E+00,+1.00000E+00", "+1E999,+1.00000E+00,+1.00000E+00"),
        "Keysight Technologies,E36313A,MY61004803,1.0.4-1.0.0-1.00",
        '+0,"No error"',
        GOOD + "\x00",
        GOOD + "\x1b[2J",
    ],
)
def test_what_is_not_of_the_form_is_not_believed(answer: str) -> None:
    for reader in (PLAN, PollReader(PLAN.plan)):  # one that may have read before, and one that has not
        with pytest.raises(MalformedAnswerError) as error:
            reader.read([answer])
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 400


def test_a_measurement_that_is_none() -> None:
    """SCPI-99, volume 1, 7.2.1.4 and .5: 9.91E37 is not a number, 9.9E37 infinity."""
    reading = PLAN.read([GOOD.replace("+1.10000E-04", "+9.91000E+37").replace("-1.00000E-04", "9.9E37")])[1]
    assert (reading.voltage, reading.current) == (None, None)


@pytest.mark.parametrize(
    ("condition", "output", "mode", "tripped"),
    [
        (1, 1, "CC", None),
        (2, 1, "CV", None),
        (0, 1, "UR", None),
        (3, 1, "UR", None),
        (2, 0, "OFF", None),
        (2 | 16, 0, "OFF", "OTP"),
        (16, 1, "OFF", "OTP"),
        (1 | 512 | 1024, 1, "CC", None),
    ],
)
def test_modes(condition: int, output: int, mode: str, tripped: str | None) -> None:
    answer = GOOD.replace(";0,0,0;", f";{output},0,0;", 1)
    parts = answer.split(";")
    parts[9] = f"{condition:+d}"
    reading = PLAN.read([";".join(parts)])[1]
    assert (reading.mode, reading.tripped) == (mode, tripped)


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=400))
@examples()
def test_any_text_is_read_or_refused(answer: str) -> None:
    try:
        PLAN.read([answer])
    except MalformedAnswerError as error:
        said = str(error)
    else:
        said = ""
    assert said.isprintable()


@given(st.data())
@examples()
def test_a_good_answer_with_a_change_is_a_good_answer_or_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 3))
    inserted = data.draw(st.text(alphabet='0123456789+-.,;E \x00"', max_size=3))
    changed = GOOD[:place] + inserted + GOOD[place + length :]
    try:
        readings = PLAN.read([changed])
    except MalformedAnswerError:
        return
    assert len(re.split("[,;]", changed)) == 30
    for reading in readings.values():
        for value in (reading.voltage, reading.current, reading.voltage_limit, reading.current_limit):
            assert value is None or math.isfinite(value)


def test_an_inspection_is_one_message_and_one_answer() -> None:
    message = combine("SYST:ERR?", ["OUTP:TRAC:STAT?", "OUTP:PAIR?"], OFF[0])
    assert message == f"SYST:ERR?;:OUTP:TRAC:STAT?;:OUTP:PAIR?;:{OFF[0]}"
    for error in ('+0,"No error"', "0,No error", '-222,"Data out of range;VOLT 9;""x"""'):
        assert take_apart(f"{error};0;OFF;{GOOD}", 2) == (error, ["0", "OFF"], GOOD)


def inspect(answer: str) -> None:
    error, _, poll = take_apart(answer, 2)
    parse_error(error)
    PLAN.read([poll])


@pytest.mark.parametrize(
    "answer",
    [
        "",
        GOOD,
        f"0;OFF;{GOOD}",
        f'+0,"No error";{GOOD}',
        f'+0,"No error";0;{GOOD}',
        f'+0,"No error";0;OFF;OFF;{GOOD}',
        f'+0,"No error;0;OFF;{GOOD}',
        f"-222,Data out of range;VOLT 9;0;OFF;{GOOD}",
        f'no,"No error";0;OFF;{GOOD}',
        '+0,"No error";0;OFF',
        '+0,"No error";0;OFF;',
    ],
)
def test_what_is_no_answer_to_an_inspection(answer: str) -> None:
    with pytest.raises(MalformedAnswerError):
        inspect(answer)


@given(st.data())
@examples()
def test_an_answer_to_an_inspection_with_a_change_is_read_or_refused(data: st.DataObject) -> None:
    good = f'-222,"Data out of range;""VOLT""";0;OFF;{GOOD}'
    place = data.draw(st.integers(0, 60))
    inserted = data.draw(st.text(alphabet='0123456789+-.,;E \x00"O', max_size=3))
    changed = good[:place] + inserted + good[place + data.draw(st.integers(0, 3)) :]
    try:
        error_, answers, poll = take_apart(changed, 2)
        said = str(parse_error(error_))
        readings = PLAN.read([poll])
    except MalformedAnswerError as error:
        said = str(error)
    else:
        parts = changed.rsplit(";", 14)
        assert answers == parts[1:3]
        assert readings == PLAN.read([";".join(parts[3:])])
    assert said.isprintable()


@given(st.text(max_size=300) | st.from_regex(r'[+-]?[0-9]{1,6},".{0,40}"', fullmatch=True))
@examples()
def test_any_text_is_an_error_answer_or_refused(answer: str) -> None:
    try:
        text = str(parse_error(answer))
    except MalformedAnswerError as error:
        text = str(error)
    assert text.isprintable()


@pytest.mark.parametrize(
    ("answer", "parsed"),
    [
        ('+0,"No error"', None),
        ('-222,"Data out of range"', '-222,"Data out of range"'),
        ('-113,"Undefined header;VOLT:PROT"', '-113,"Undefined header;VOLT:PROT"'),
        ("0,No error", None),
        (' +540 , "Command not allowed, while tripped" ', '540,"Command not allowed, while tripped"'),
        ('-1,"\x1b[31mred\x9b2J"', '-1,"\\x1b[31mred\\x9b2J"'),
    ],
)
def test_error_answers(answer: str, parsed: str | None) -> None:
    assert parse_error(answer) == parsed


@pytest.mark.parametrize("answer", ["", "5.0", "+0", "No error", "1e3,x", "+0;+0", "12345678,x", '"0","x"'])
def test_what_is_no_error_answer(answer: str) -> None:
    with pytest.raises(MalformedAnswerError):
        parse_error(answer)


@given(st.text(max_size=300))
@examples()
def test_any_text_is_an_identification_or_refused(answer: str) -> None:
    try:
        identity = parse_identity(answer)
    except IdentityError as error:
        said = str(error)
    else:
        identify(identity)
        said = f"{identity.model}{identity.serial}{identity.firmware}"
    assert said.isprintable()


@given(st.floats(-1000, 1000))
@examples()
def test_a_value_is_sent_as_a_plain_decimal_next_to_it(value: float) -> None:
    (message,) = outgoing(MODEL, Write("voltage_limit", (1,), value))
    text = message.text.removeprefix("VOLT ").removesuffix(",(@1)")
    assert re.fullmatch(r"-?\d{1,4}(\.\d{0,5}[1-9])?", text)
    assert text != "-0"
    assert abs(float(text) - value) <= 5.1e-7


def test_channel_lists() -> None:
    assert channel_list((1,)) == "(@1)"
    assert channel_list((1, 3)) == "(@1,3)"


def test_plans_are_shared_and_what_was_read_is_not() -> None:
    assert poll_plan(MODEL, Batching.LISTS) is poll_plan(MODEL, Batching.LISTS)
    one, two = PollReader(PLAN.plan), PollReader(PLAN.plan)
    changed = GOOD.replace("+6.60000E+00", "+5.50000E+00")
    assert one.read([GOOD])[1].voltage_protection == 6.6
    assert two.read([changed])[1].voltage_protection == 5.5
    assert one.read([GOOD])[1].voltage_protection == 6.6
    assert one.read([changed])[1].voltage_protection == 5.5

"""Patterns of answers and templates of messages: what they take, what they say, and that nothing else gets through."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.catalogue import all_series
from agent.instruments.catalogue.answers import AnswerPattern, PatternError, Value, Words
from agent.instruments.catalogue.messages import Template
from agent.instruments.catalogue.schema import default_type
from tests.properties import examples

WORDS: dict[str, Words] = {
    "on_off": {"ON": True, "OFF": False, "1": True, "0": False},
    "yes_no": {"YES": True, "NO": False},
    "inverted": {"0": True, "1": False},
    "modes": {"CV": "CV", "CC": "CC", "UNREG": "UR", "NONE": None},
}


def read(pattern: str, answer: str) -> tuple[Value, ...] | None:
    return AnswerPattern(pattern, WORDS, default_type).read(answer)


@pytest.mark.parametrize(
    ("pattern", "answer", "values"),
    [
        ("{voltage}", "+1.50000E+00", (1.5,)),
        ("{voltage}", " -0.005 ", (-0.005,)),
        ("{voltage}", "-0.00", (0.0,)),
        ("{voltage}", "+5.", (5.0,)),
        ("{voltage}", ".5e-1", (0.05,)),
        ("{voltage}", " 1.50 \r\n", (1.5,)),
        ("{voltage}", "1.5V", (1.5,)),
        ("{voltage_protection}", "33.0 v", (33.0,)),
        ("{current}", "0.100 A", (0.1,)),
        ("{power_max}", "1500.0 W", (1500.0,)),
        ("{voltage}", "9.91E37", (None,)),
        ("{voltage}V", "43.50V", (43.5,)),
        ("{voltage}V, {current}A, {_}W", "12.5V,33.3A, 420W", (12.5, 33.3)),
        ("V{_:int} {voltage_limit}", "V1 20.19", (20.19,)),
        ('"{voltage_limit},{current_limit}"', '"5.000000,1.000000"', (5.0, 1.0)),
        ('"{voltage_limit},{current_limit}"', '"5.000000 , 1.000000"', (5.0, 1.0)),
        ("{voltage},{current},{_}", "  5.00,  1.00, 005.0", (5.0, 1.0)),
        ("{voltage}, {current}", "+5.0000,+0.0000", (5.0, 0.0)),
        ("{_},{voltage_limit},{current_limit}", "CH1:30V/3A,5.000,1.0000", (5.0, 1.0)),
        ("MV({voltage}),{_},SR({status:hex}),{_}", "MV(45.201),PV(45),SR(3f),FR(00)", (45.201, 0x3F)),
        ("0x{status:hex}", "0x0224", (0x224,)),
        ("{voltage:d4/100}{current:d4/100}{mode:d1}", "150016001", (15.0, 16.0, 1)),
        ("{voltage_limit:d3/10}{current_limit:d3/100}", "362700", (36.2, 7.0)),
        ("{state:on_off}", "on", (True,)),
        ("{mode:modes}", "UNREG", ("UR",)),
        ("{mode:modes}", "NONE", (None,)),
        ("{state}", "+1", (True,)),
        ("{state}", "ON", (True,)),
        ("{state}", "off", (False,)),
        ("{state:yes_no}", "off", (False,)),
        ("{state:yes_no}", "1", (True,)),
        ("{state:inverted}", "0", (True,)),
        ("{mode}", "cv", ("CV",)),
        ("{mode}", "CP", ("CP",)),
        ("{mode}", "LIST", (None,)),
        ("0x{status:hex}", "0X1F", (0x1F,)),
        ("{status:byte}", "\xd1", (0xD1,)),
        ("{status:byte}", "\n", (10,)),
        ("{mode.1:modes}/{mode.2:modes}", "CV/CC", ("CV", "CC")),
        ("{status:c2}{_}", "01xyz", ("01",)),
        ("{serial:text}", "", ("",)),
    ],
)
def test_an_answer_of_the_form_is_read(pattern: str, answer: str, values: tuple[Value, ...]) -> None:
    assert read(pattern, answer) == values


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        ("{voltage}", ""),
        ("{voltage}", "1.5A"),
        ("{current}", "1.5 V"),
        ("{voltage}", "1500mV"),
        ("{voltage}", "1,5"),
        ("{voltage}", "nan"),
        ("{voltage}", "inf"),
        ("{voltage}", "1_5"),
        ("{voltage}", "٣"),
        ("{voltage}", "1.5\n2"),
        ("{voltage}V", "1.5"),
        ("{voltage}V", "1.5A"),
        ("{voltage:d4/100}", "150"),
        ("{voltage:d4/100}", "15000"),
        ("{state}", "2"),
        ("{state}", "YES"),
        ("{state:on_off}", "2"),
        ("{state:inverted}", "ON"),
        ("{mode}", "5.000"),
        ("{mode}", "Command error"),
        ("{_},{voltage}", " " * 2000 + ",1"),
        ("{state}", "01"),
        ("{state:on_off}", "ONE"),
        ("{status:hex}", "0x1"),
        ("{status}", "-1"),
        ("{status:byte}", ""),
        ("{status:byte}", "ab"),
        ("{mode:modes}", "CR"),
    ],
)
def test_another_answer_is_none(pattern: str, answer: str) -> None:
    assert read(pattern, answer) is None


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{voltage", "a field is {name}"),
        ("{}", "a field is {name}"),
        ("voltage}", "a field is {name}"),
        ("{1st}", "a field is {name}"),
        ("{voltage:real}", "'real' is no type of a field"),
        ("{voltage:d0}", "'d0' is no type of a field"),
        ("{voltage:d3/0}", "'d3/0' is no type of a field"),
        ("{voltage:c0}", "'c0' is no type of a field"),
        ("{state:up_down}", "a table of `words`: on_off, yes_no, inverted, modes"),
        ("{voltage} {voltage}", "holds {voltage} twice"),
    ],
)
def test_what_is_no_pattern(pattern: str, said: str) -> None:
    with pytest.raises(PatternError) as error:
        AnswerPattern(pattern, WORDS, default_type)
    assert said in str(error.value)


@given(st.text(max_size=60))
@examples()
def test_any_text_is_a_pattern_or_a_fault(text: str) -> None:
    try:
        pattern = AnswerPattern(text, WORDS, default_type)
    except PatternError:
        return
    assert all(field.name != "_" for field in pattern.fields)


PATTERNS = sorted({(series.name, text) for series in all_series() for poll in series.polls for text in poll.answer})
BY_NAME = {series.name: series for series in all_series()}


@given(st.sampled_from(PATTERNS), st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=60))
@examples()
def test_any_answer_to_a_shipped_question_is_read_or_refused(pattern: tuple[str, str], answer: str) -> None:
    name, text = pattern
    series = BY_NAME[name]
    compiled = AnswerPattern(text, series.tables, default_type)
    values = compiled.read(answer)
    if values is not None:
        assert len(values) == len(compiled.fields)
        assert all(not isinstance(value, float) or math.isfinite(value) for value in values)


def filled(template: str, value: float | bool | None = None, **places: str) -> str:
    allowed = frozenset(("ch", "name", "list", "address", "value"))
    return Template(template, WORDS, allowed).filled({"ch": "2", "name": "P25V", "list": "(@1,2)", **places}, value)


@pytest.mark.parametrize(
    ("template", "value", "message"),
    [
        ("VOLT {value},(@{ch})", 3.3, "VOLT 3.3,(@2)"),
        ("VOLT {value}", 1e-7, "VOLT 0"),
        ("VOLT {value}", -0.0000001, "VOLT 0"),
        ("VOLT {value}", 12345678.0, "VOLT 12345678"),
        ("VOLT {value:.3f}", 3.3, "VOLT 3.300"),
        ("VOLT {value:.3f}", -0.0001, "VOLT 0.000"),
        ("VSET1:{value:05.2f}", 3.3, "VSET1:03.30"),
        ("VOLT{value:d3*10}", 12.7, "VOLT127"),
        ("VOLT{value:d3*10}", 1, "VOLT010"),
        ("CURR{value:d4*100}", 0.29, "CURR0029"),
        ("OUTP {value}", True, "OUTP 1"),
        ("OUTP CH{ch},{value:on_off}", False, "OUTP CH2,OFF"),
        ("APPL {name}", None, "APPL P25V"),
    ],
)
def test_a_message_is_filled_in(template: str, value: float | bool | None, message: str) -> None:
    assert filled(template, value) == message


@pytest.mark.parametrize("value", [100, -1, 1e6])
def test_a_value_that_does_not_fit_into_its_digits_is_not_sent(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit into 3 digits"):
        filled("VOLT{value:d3*10}", value)


@given(st.floats(-1000, 1000), st.sampled_from(["{value}", "{value:.3f}", "{value:07.3f}"]))
@examples()
def test_a_value_is_sent_next_to_itself(value: float, form: str) -> None:
    text = filled(form, value)
    assert abs(float(text) - value) <= (5.1e-7 if form == "{value}" else 5.1e-4)
    assert "e" not in text.lower()
    assert not text.startswith("-") or float(text) < 0


@given(st.integers(0, 99_99), st.sampled_from([10, 100, 1000]))
@examples()
def test_scaled_digits_come_back_as_they_went(number: int, factor: int) -> None:
    """A scale that is wrong by one place is a voltage that is wrong by ten."""
    value = number / factor
    text = filled(f"{{value:d4*{factor}}}", value)
    assert AnswerPattern(f"{{voltage:d4/{factor}}}", {}, default_type).read(text) == (value,)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("VOLT {value", "a place is {name}"),
        ("VOLT {volts}", "{volts} stands for nothing here"),
        ("VOLT {value:real}", "'real' is no form of {value}"),
        ("VOLT {ch:.3f}", "'.3f' is no form of {ch}"),
        ("OUTP {value:modes}", "has no word for true or none for false"),
    ],
)
def test_what_is_no_template(template: str, said: str) -> None:
    with pytest.raises(PatternError) as error:
        filled(template)
    assert said in str(error.value)

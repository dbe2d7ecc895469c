"""Output of ``get_channels`` that is taken, and the sentences on all other output."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import MalformedAnswerError
from agent.instruments.external.answers import read_answer
from tests.instruments.external.programs import LAB
from tests.properties import examples


@examples()
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    check_reading(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["index", "state", "channels"]), inner),
    max_leaves=6,
)


@examples(60)
@given(st.lists(st.dictionaries(st.sampled_from([*LAB, "mode", "tripped", "x"]), _json)) | _json)
def test_any_json_is_read_or_refused(data: object) -> None:
    check_reading(json.dumps(data))


def check_reading(text: str) -> None:
    refusal = ""
    try:
        channels = read_answer(text).channels
    except MalformedAnswerError as error:
        refusal = str(error)
    if refusal:
        assert refusal.isprintable()
        assert len(refusal) < 400
    else:
        assert channels
        assert all(0 <= channel.index < 1000 for channel in channels)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"index": 1, "state": 1, "voltage": NaN}]', "no JSON"),
        ('[{"index": 1, "state": 1, "voltage": 1e999}]', "channels[0].voltage that is wrong"),
        ('[{"index": 1, "state": "on"}]', "takes true or false, or 1 or 0, not 'on'"),
        ('[{"index": 1000, "state": 1}]', "channels[0].index that is wrong"),
        ('[{"index": true, "state": 1}]', "channels[0].index that is wrong"),
        ('[{"index": 1, "state": 1, "name": "a/b"}]', "channels[0].name that is wrong"),
        ('[{"index": 1, "state": 1, "name": "2"}]', "channels[0].name that is wrong"),
        ('[{"index": 1, "state": 1}, {"index": 1, "state": 0}]', "two channels that are called 1"),
        (
            '[{"index": 1, "state": 1, "name": "a"}, {"index": 2, "state": 0, "name": "a"}]',
            "two channels that are called 'a'",
        ),
        ('[{"index": 1, "state": 1, "voltage_range": [5, 1]}]', "takes the least before the most"),
        ('{"index": 1, "state": 1}', "no channels"),
        ("3", "no list of channels: '3'"),
        ("[" * 100_000, "no JSON"),
        ('[{"index": 1, "state": 1, "voltage": 4,99}]', "no JSON: 4,99 has a decimal comma; write 4.99"),
        (
            '[{"index": 1, "state": 1, "voltage": "4,99"}]',
            "voltage that is wrong: takes a number (write 4.99), not '4,99'",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(MalformedAnswerError) as error:
        read_answer(text)
    assert reason in str(error.value)


def test_psudaemons_list_is_read() -> None:
    answer = read_answer('[{"index": 0, "name": "CH0", "voltage": 5, "current": 0, "state": true, "psu_name": "x"}]')
    reading = answer.channels[0].reading()
    assert (reading.voltage, reading.state, reading.mode, reading.voltage_limit) == (5.0, True, None, None)

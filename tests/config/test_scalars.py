"""Plain scalars by YAML 1.2's core schema."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.scalars import WrittenFloat, WrittenInt, as_text, plain, resolve
from tests.properties import examples


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("0123", 123),
        ("0o17", 15),
        ("0xFf", 255),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.INF", -math.inf),
        # Words, though YAML 1.1 takes them for something else.
        ("yes", "yes"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("2026-11-23", "2026-11-23"),
        ("nULL", "nULL"),
        ("1" * 401, "1" * 401),
    ],
)
def test_what_a_plain_scalar_is(text: str, value: object) -> None:
    found = plain(resolve(text))
    assert (found, type(found)) == (value, type(value))


def test_nan_is_a_number() -> None:
    assert math.isnan(plain(resolve(".nan")))


@examples()
@given(st.one_of(st.integers(-(10**99), 10**99).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr)))
def test_a_number_remembers_how_it_was_written(text: str) -> None:
    number = resolve(text)
    assert isinstance(number, WrittenInt | WrittenFloat)
    assert as_text(number) == text
    assert plain({"a": [number]}) == {"a": [float(text) if isinstance(number, float) else int(text)]}


@examples()
@given(st.text(max_size=20))
def test_any_text_is_something(text: str) -> None:
    value = resolve(text)
    assert as_text(value) == text or value is None or isinstance(value, bool)

"""Plain scalars of YAML as values, by YAML 1.2's core schema, and numbers that remember how they were written.

The core schema and not YAML 1.1: `off` and `no` are words, `1e3` is a number, `12:30` is no base-60 integer and `0123` is
not octal.
"""

from __future__ import annotations

import re
from typing import Any

_INTEGER = re.compile(r"[-+]?[0-9]{1,100}|0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN = (".nan", ".NaN", ".NAN")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = ("", "~", "null", "Null", "NULL")


class WrittenInt(int):
    """An integer that remembers how it was written, for fields that are text: a serial number, a password."""

    written: str


class WrittenFloat(float):
    """A number that remembers how it was written."""

    written: str


def resolve(text: str) -> object:
    """The value of a plain scalar: None, a boolean, a number, or the text itself.

    YAML 1.2, https://yaml.org/spec/1.2.2/#103-core-schema
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        integer = WrittenInt(int(text[2:] if base != 10 else text, base))
        integer.written = text
        return integer
    number: WrittenFloat
    if _FLOAT.fullmatch(text) and len(text) <= 400:
        number = WrittenFloat(text)
    elif infinite := _INFINITE.fullmatch(text):
        number = WrittenFloat(infinite[1] + "inf")
    elif text in _NAN:
        number = WrittenFloat("nan")
    else:
        return text
    number.written = text
    return number


def as_text(value: object) -> object:
    """A number where text is wanted means its digits as they were written: a serial number, a password."""
    return value.written if isinstance(value, WrittenInt | WrittenFloat) else value


def plain(value: Any) -> Any:
    """The same data with ordinary numbers, which do not remember how they were written."""
    if isinstance(value, WrittenInt):
        return int(value)
    if isinstance(value, WrittenFloat):
        return float(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value

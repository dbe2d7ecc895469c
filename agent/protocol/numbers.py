"""Texts that people write for numbers and that are none, and what to write instead."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[+-]?\d*\.?\d*", re.ASCII)
_WITH_COMMA = re.compile(r"[+-]?\d{0,30},\d{1,30}(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:([.,' ])\d{3})*(?:[.,]\d{1,30})?", re.ASCII)
_WITH_UNIT = re.compile(
    r"(?P<number>[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30}))\s*(?P<prefix>[mkuµ]?)(?P<unit>[VvAaWw]|[Vv]olts?|[Aa]mps?|Hz|s|sec)",
    re.ASCII,
)
_BEFORE_COMMA = re.compile(r":\s*([+-]?\d{1,30}),$", re.ASCII)
_DIGITS = re.compile(r"\d{1,30}", re.ASCII)
_SCALE = {"": 0, "k": 3, "m": -3, "u": -6, "µ": -6}


def instead(text: str) -> str | None:
    """What to write instead of a text that somebody wrote for a number, such as ``write 5.5`` for ``5,5``; None if nobody knows.

    Nothing is guessed from it: it is for the sentence of a refusal.
    """
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return None
    if _WITH_COMMA.fullmatch(text):
        if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text, re.ASCII):
            return "write a point before decimals, and nothing between thousands"
        return f"write {text.replace(',', '.')}"
    if found := _WITH_UNIT.fullmatch(text):
        return f"write {_scaled(found['number'], _SCALE[found['prefix']])}, the number alone"
    if _WITH_THOUSANDS.fullmatch(text):
        return "write a point before decimals, and nothing between thousands"
    return None


def decimal_comma(error: json.JSONDecodeError) -> str | None:
    """The sentence on a number with a decimal comma, where that is what JSON can't be read for; None where it is not."""
    before = _BEFORE_COMMA.search(error.doc[max(0, error.pos - 40) : error.pos])
    after = _DIGITS.match(error.doc[error.pos : error.pos + 40])
    if before is None or after is None:
        return None
    return f"{before[1]},{after[0]} has a decimal comma; write {before[1]}.{after[0]}"


def _scaled(number: str, exponent: int) -> str:
    return number if not exponent else f"{float(number) * 10.0**exponent:.9g}"

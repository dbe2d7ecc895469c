"""Texts that people write for numbers and that are none, and what to write instead."""

from __future__ import annotations

import json
import re
from decimal import Decimal

_PLAIN = re.compile(r"[+-]?\d*\.?\d*", re.ASCII)
_NUMBER = r"[+-]?(?:\d{1,30}[.,]?\d{0,30}|[.,]\d{1,30})"
_WITH_COMMA = re.compile(r"(?P<number>[+-]?\d{0,30},\d{1,30})(?P<exponent>[eE][+-]?\d{1,4})?", re.ASCII)
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:([.,' ])\d{3})*(?:[.,]\d{1,30})?", re.ASCII)
#: A comma that may as well stand between thousands.
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_WITH_UNIT = re.compile(
    rf"(?P<number>{_NUMBER})\s*(?P<prefix>[mkuµμ]?)(?P<unit>[VvAaWw]|[Vv]olts?|[Aa]mps?|Hz|s|sec)", re.ASCII
)
_BEFORE_COMMA = re.compile(r":\s*([+-]?\d{1,30}),$", re.ASCII)
_DIGITS = re.compile(r"\d{1,30}", re.ASCII)
#: The second one is the Greek letter.
_SCALE = {"": 0, "k": 3, "m": -3, "u": -6, "µ": -6, "μ": -6}
_POINT_ALONE = "write a point before decimals, and nothing between thousands"


def instead(text: str) -> str | None:
    """What to write instead of a text that somebody wrote for a number, such as ``write 5.5`` for ``5,5``; None if nobody knows.

    Nothing is guessed from it: it is for the sentence of a refusal.
    """
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return None
    if found := _WITH_COMMA.fullmatch(text):
        return (
            _POINT_ALONE if _AMBIGUOUS.fullmatch(text) else f"write {_plain(found['number'])}{found['exponent'] or ''}"
        )
    if found := _WITH_UNIT.fullmatch(text):
        if _AMBIGUOUS.fullmatch(found["number"]):
            return f"{_POINT_ALONE}, and the number alone"
        return f"write {_plain(found['number'], _SCALE[found['prefix']])}, the number alone"
    return _POINT_ALONE if _WITH_THOUSANDS.fullmatch(text) else None


def decimal_comma(error: json.JSONDecodeError) -> str | None:
    """The sentence on a number with a decimal comma, where that is what JSON can't be read for; None where it is not."""
    before = _BEFORE_COMMA.search(error.doc[max(0, error.pos - 40) : error.pos])
    after = _DIGITS.match(error.doc[error.pos : error.pos + 40])
    if before is None or after is None:
        return None
    return f"{before[1]},{after[0]} has a decimal comma; write {before[1]}.{after[0]}"


def _plain(number: str, exponent: int = 0) -> str:
    """The number as JSON, YAML and the command line take it, times a power of ten."""
    value = Decimal(number.replace(",", "."))
    return format(value.scaleb(exponent).normalize() if exponent else value, "f")

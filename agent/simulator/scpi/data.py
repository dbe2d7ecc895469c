"""One parameter as it was sent: numbers, words, strings (IEEE 488.2 7.7) and channel lists (SCPI-1999 volume 1, 8.3.2)."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple

from agent.simulator.scpi.errors import ScpiError

MAX_MNEMONIC: Final = 12
"""Characters of the longest mnemonic or word (IEEE 488.2 7.6.1.4.1)."""

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:\s*[eE]\s*([+-]?\d+))?\s*([A-Za-z/][A-Za-z0-9/.-]*)?", re.ASCII)
_NON_DECIMAL = re.compile(r"#(?:[hH]([0-9A-Fa-f]+)|[qQ]([0-7]+)|[bB]([01]+))", re.ASCII)
_WORD = re.compile(r"[A-Za-z]\w*", re.ASCII)
_CHANNEL_ENTRY = re.compile(r"\s*(\d{1,4})\s*(?::\s*(\d{1,4})\s*)?", re.ASCII)
_MAX_CHANNELS = 100

Kind = Literal["number", "word", "string", "expression"]


class Datum(NamedTuple):
    """One parameter as it was sent. ``value`` is a float, an upper-case word, a string or a tuple of channels."""

    kind: Kind
    value: Any
    suffix: str = ""


def parse_datum(text: str) -> Datum:
    """One parameter, read: a number, a word, a string or a channel list.

    :param text: without white space around it, and not empty
    :raises ScpiError: -1xx, it is none of them
    """
    first = text[0]
    if first in "'\"":
        return Datum("string", _parse_string(text))
    if first == "(":
        return Datum("expression", parse_channel_list(text))
    if first == "#":
        match = _NON_DECIMAL.fullmatch(text)
        if match is None:
            raise ScpiError(-168 if text[1:2].isdigit() else -121)
        hexadecimal, octal, binary = match.groups()
        return Datum("number", float(int(hexadecimal or octal or binary, 16 if hexadecimal else 8 if octal else 2)))
    if first.isalpha():
        if _WORD.fullmatch(text) is None:
            raise ScpiError(-141)
        if len(text) > MAX_MNEMONIC:
            raise ScpiError(-144)
        return Datum("word", text.upper())
    if first.isdigit() or first in "+-.":
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ScpiError(-121)
        mantissa, exponent, suffix = match.groups()
        if exponent is not None and abs(int(exponent[:8])) > 32000:  # IEEE 488.2 7.7.2.4.1
            raise ScpiError(-123)
        if len(mantissa) > 255:
            raise ScpiError(-124)
        return Datum("number", float(f"{mantissa}e{exponent or 0}"), (suffix or "").upper())
    raise ScpiError(-101)


def _parse_string(text: str) -> str:
    quote, inside = text[0], text[1:-1]
    if len(text) < 2 or text[-1] != quote or inside.replace(quote * 2, "").count(quote):
        raise ScpiError(-151)
    return inside.replace(quote * 2, quote)


def parse_channel_list(text: str) -> tuple[int, ...]:
    """The channel numbers of ``(@1,3)`` or ``(@1:3)``, in the order given.

    :raises ScpiError: -171, it is no channel list; -223, it names more than 100 channels
    """
    if not text.startswith("(@") or not text.endswith(")"):
        raise ScpiError(-171)
    channels: list[int] = []
    for entry in text[2:-1].split(","):
        match = _CHANNEL_ENTRY.fullmatch(entry)
        if match is None:
            raise ScpiError(-171)
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        channels.extend(range(first, last + 1) if first <= last else range(first, last - 1, -1))
        if len(channels) > _MAX_CHANNELS:
            raise ScpiError(-223)
    return tuple(channels)


def forms(mnemonic: str) -> tuple[str, str]:
    """The short and the long form of a mnemonic: ``("VOLT", "VOLTAGE")`` of ``VOLTage``."""
    return "".join(c for c in mnemonic if not c.islower()), mnemonic.upper()

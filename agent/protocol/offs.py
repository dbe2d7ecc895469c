"""The forms of an off: payloads that can mean nothing else than "turn the output off", also where other parts are wrong.

An off is always carried out, so it is looked for with less strictness than any other command. Two forms are understood: a bare
``off``, ``false`` or ``0``; and text that says off for ``state``, and never anything else for it: JSON with faults in other
fields, JSON that was cut short or has text behind it, the notations of Python and JavaScript. Case, blanks, quotes, NULs and
byte order marks do not count. A ``state`` that says anything but off, wherever it stands, makes it no off.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field

#: bytes without blanks around them. A larger payload is no off: to look through a megabyte would hold up all other commands.
LARGEST_OFF = 16 * 1024

_WORDS = frozenset({"off", "false"})
_ON = frozenset({"on", "true", "1"})
_ZERO = re.compile(r"[+-]?(?:0{1,30}\.?0{0,30}|\.0{1,30})(?:e[+-]?\d{1,4})?", re.ASCII)
#: A string, also one without its end; a sign; anything else up to the next of them.
_TOKEN = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|["'].*\Z|[{}\[\]:=,]|[^\s{}\[\]:=,"']+""", re.DOTALL)
_BLANK = b" \t\r\n\v\f\0"
_WANTED = frozenset({"state", "id", "expires_at"})


@dataclass(slots=True)
class Off:
    """An off that was found in a payload with faults, and the values that stand there for ``id`` and ``expires_at``."""

    ids: list[str] = field(default_factory=list)
    expiries: list[str] = field(default_factory=list)


def off_text(payload: bytes) -> str | None:
    """The payload as text without blanks, NULs and byte order marks, and without quotes if it is one JSON string.

    Bytes that are no UTF-8 are replaced. None if it is too large for an off.
    """
    if not payload.startswith((b"\xff\xfe", b"\xfe\xff")):
        payload = payload.strip(_BLANK)
    if len(payload) > LARGEST_OFF:
        return None
    encoding = "utf-16" if payload.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    text = _plain(payload.decode(encoding, errors="replace"))
    return _plain(_unquoted(text)) if _TOKEN.fullmatch(text) else text


def is_off(value: object) -> bool:
    """True for the values that say off: false, zero, and ``off``, ``false`` or a zero as text."""
    if isinstance(value, str):
        text = _plain(value).casefold()
        return text in _WORDS or _ZERO.fullmatch(text) is not None
    return isinstance(value, int | float) and value == 0


def find_off(text: str) -> Off | None:
    """The off that a text says for ``state``; None if it says none, or says anything else for ``state`` as well."""
    if (
        "state" not in text.casefold() and "\\u" not in text
    ):  # spares most payloads that are no command the milliseconds below
        return None
    tokens = _TOKEN.findall(text)
    found, is_said = Off(), False
    opened: list[str] = []
    for position, (part, following) in enumerate(zip(tokens, [*tokens[1:], " "], strict=True)):
        if part in "{[":  # none is empty, or both
            opened.append(part)
        elif part in "}]":
            del opened[-1:]
        elif following in ":=":
            name = _word(part)
            if name not in _WANTED:
                continue
            value = _value(tokens[position + 2 : position + 4])
            is_outermost = opened in ([], ["{"])
            if name == "state":
                if value is None or not is_off(value):
                    return None
                is_said = is_said or is_outermost
            elif value is not None and is_outermost:
                (found.ids if name == "id" else found.expiries).append(value)
        elif not opened and _word(part) in _ON:  # before or behind the object
            return None
    return found if is_said else None


def _value(tokens: list[str]) -> str | None:
    """The first of two tokens, unquoted; None where it is no single value."""
    if not tokens or tokens[0] in tuple("{}[]:=,"):
        return None
    is_alone = len(tokens) == 1 or tokens[1] in tuple("{}[],") or tokens[1][0] in "\"'"
    return _unquoted(tokens[0]) if is_alone else None


@functools.lru_cache(maxsize=256)  # a long payload has the same few again and again
def _word(token: str) -> str:
    return _plain(_unquoted(token)).casefold()


def _plain(text: str) -> str:
    return text.replace("\0", "").replace("\ufeff", "").strip()


def _unquoted(token: str) -> str:
    """The content of a quoted token, with the escapes of JSON where it is JSON; any other token as it is."""
    if token[:1] not in ("'", '"') or len(token) < 2 or token[-1] != token[0]:
        return token
    if token[0] == '"':
        try:
            return str(json.loads(token, strict=False))
        except ValueError:
            pass
    return token[1:-1]

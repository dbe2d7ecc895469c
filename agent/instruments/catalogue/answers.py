"""Answers of instruments as patterns: literal text with named fields, such as ``{voltage}V`` or ``0x{status:hex}``.

A field is ``{name}``, ``{name:type}``, or ``{name.2:type}`` for output 2 in an answer on several outputs; ``{_}`` is text
that nobody needs. The types:

========== ==================================================================================================
number     a decimal number, with an exponent or not; 9.9E37 and 9.91E37 mean none (SCPI-99, volume 1, 7.2.1.4). The unit
           of the quantity may stand behind it: V behind a voltage, A behind a current, W behind a power
int, hex   a whole number, decimal or hexadecimal
bit        0 or 1, or OFF or ON (SCPI-99, volume 1, 7.3): false or true
d4, d4/100 exactly four digits, and divided by 100; ``d`` and ``d/100`` for any count of digits
c3         exactly three characters
byte       one character as its number, 0 to 255
word       text without a comma, semicolon or blank
text       any text, as little as there may be
mode       a word: one of the modes that there are, in capitals; None for any other
(a table)  one of the words of a table that the series file names, as the value beside it. A table of switches with ON,
           OFF, YES, NO, 1 or 0 in it takes all of these, as firmware of one series may answer either
========== ==================================================================================================

A blank in the literal text stands for any number of blanks, none included; blanks may stand around a comma, and blanks and
line ends around an answer do not count. Case does not matter. An answer of more than 2,000 characters has no form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

from agent.protocol.messages import Mode

Value = float | int | bool | str | None
#: A table of words, by the word in capitals.
Words = Mapping[str, Value]

#: Words for switches that units use, by SCPI or not.
_SWITCH: Words = {"ON": True, "OFF": False, "YES": True, "NO": False, "1": True, "0": False}
_MODES = frozenset(get_args(Mode))
#: Units that may stand behind a number, by the beginning of the field's name. Any other one makes it another answer.
_UNITS = {"voltage": "(?: *V)?", "current": "(?: *A)?", "power": "(?: *W)?"}
_AROUND = " \r\n"
_LONGEST = 2000
#: SCPI-99, volume 1, 7.2.1.4 and .5: 9.9E37 stands for infinity, 9.91E37 for "not a number".
_NOT_A_VALUE = 9.9e37
_FIELD = re.compile(r"\{(?P<name>[A-Za-z_]\w*)(?:\.(?P<channel>\d{1,2}))?(?::(?P<type>[^{}]+))?\}")
_DIGITS = re.compile(r"d(?P<count>\d{0,2})(?:/(?P<divisor>\d+))?")
_SCALED = re.compile(r"(?P<kind>number|int)/(?P<divisor>\d+)")
_CHARACTERS = re.compile(r"c(?P<count>\d{1,3})")


class PatternError(ValueError):
    """The text is no pattern of an answer; the message says why and what would be right."""


class Field(NamedTuple):
    """A field of a pattern. ``channel``: the output that it belongs to, None for those that were asked for."""

    name: str
    channel: int | None
    kind: str


@dataclass(frozen=True, slots=True)
class _Type:
    expression: str
    convert: Callable[[str], Value]


def _number(text: str) -> float | None:
    value = float(text)
    return value if -_NOT_A_VALUE < value < _NOT_A_VALUE else None


def _scaled(text: str, divisor: int) -> float | None:
    value = _number(text)
    return None if value is None else value / divisor


def _whole(text: str, divisor: int = 1) -> float | int:
    return int(text) if divisor == 1 else int(text) / divisor


_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ANY_TEXT = r".*?"
_TYPES: dict[str, _Type] = {
    "number": _Type(_NUMBER, _number),
    "int": _Type(r"\+?\d+", int),
    "hex": _Type(r"[0-9A-Fa-f]+", lambda text: int(text, 16)),
    "bit": _Type(r"\+?[01]|ON|OFF", lambda text: text.upper() in ("1", "+1", "ON")),
    "byte": _Type(r"[\x00-\xff]", ord),
    "word": _Type(r"[^,; ]+", str),
    "text": _Type(_ANY_TEXT, str),
    "mode": _Type(r"[A-Z]+", lambda text: text.upper() if text.upper() in _MODES else None),
}


class AnswerPattern:
    """A compiled pattern.

    ``fields``: those with a name, in the order of the values that `read` returns. ``text``: the pattern as it was written.
    """

    __slots__ = ("_convert", "_expression", "_read", "fields", "text")

    def __init__(self, text: str, words: Mapping[str, Words], default: Callable[[str], str]) -> None:
        """
        :param words: the tables of words, by their names
        :param default: the type of a field without one, by its name
        :raises PatternError: it is none
        """
        self.text = text
        expression, at = "", 0
        fields: list[Field] = []
        converters: list[Callable[[str], Value]] = []
        for found in _FIELD.finditer(text):
            expression += _literal(text[at : found.start()], text)
            at = found.end()
            name = found["name"]
            kind = found["type"] or ("text" if name == "_" else default(name))
            form = _type(kind, words, text)
            if name == "_":
                expression += f"(?:{form.expression})"
                continue
            channel = int(found["channel"]) if found["channel"] else None
            if (name, channel) in [(field.name, field.channel) for field in fields]:
                raise PatternError(
                    f"{text!r} holds {found[0]} twice; fields of several outputs are {{{name}.1}}, {{{name}.2}}; text that "
                    "nobody needs is {_}"
                )
            expression += f"({form.expression})"
            if kind.partition("/")[0] == "number":
                expression += _UNITS.get(name.partition("_")[0], "")
            fields.append(Field(name, channel, kind))
            converters.append(form.convert)
        expression += _literal(text[at:], text)
        self.fields = tuple(fields)
        self._expression = expression
        self._convert = tuple(converters)
        self._read = self.repeated(1)

    def read(self, answer: str) -> tuple[Value, ...] | None:
        """The values of the fields in an answer; None if it does not have this form."""
        return self._read(answer)

    def repeated(self, count: int) -> Callable[[str], tuple[Value, ...] | None]:
        """A function as `read`, for answers that have this form so many times, with commas between.

        One expression for all of them: polls are read by it, and it takes a third of the time of one for each.
        """
        expression = self._expression if count == 1 else self._expression.replace(_ANY_TEXT, "[^,]*?")
        fullmatch = re.compile(" *, *".join([expression] * count), re.DOTALL | re.ASCII | re.IGNORECASE).fullmatch
        converters, longest = self._convert * count, _LONGEST * count
        if len(set(converters)) == 1:
            convert = converters[0]

            def read_alike(answer: str) -> tuple[Value, ...] | None:
                match = None if len(answer) > longest else fullmatch(answer) or fullmatch(answer.strip(_AROUND))
                return None if match is None else tuple(map(convert, match.groups()))

            return read_alike

        def read(answer: str) -> tuple[Value, ...] | None:
            match = None if len(answer) > longest else fullmatch(answer) or fullmatch(answer.strip(_AROUND))
            if match is None:
                return None
            return tuple(convert(text) for convert, text in zip(converters, match.groups(), strict=True))

        return read

    def __repr__(self) -> str:
        return f"AnswerPattern({self.text!r})"


def _literal(text: str, whole: str) -> str:
    if "{" in text or "}" in text:
        raise PatternError(
            f"{whole!r}: a field is {{name}}, {{name:type}} or {{name.2:type}}, with {{_}} for what is not needed"
        )
    parts = re.findall(r" *, *| +|[^ ,]+", text)
    return "".join(" *, *" if "," in part else " *" if part.isspace() else re.escape(part) for part in parts)


def plain(word: str) -> str:
    """A word of an answer as words are compared: in capitals, without quotes and plus sign, and ON and OFF as 1 and 0."""
    word = word.strip(_AROUND).strip('"').upper()
    return {"ON": "1", "OFF": "0"}.get(word, word.removeprefix("+"))


def _type(kind: str, words: Mapping[str, Words], whole: str) -> _Type:
    if kind in words:
        table = words[kind]
        known = [_SWITCH[word] is value for word, value in table.items() if word in _SWITCH]
        if known and all(known) and all(isinstance(value, bool) for value in table.values()):
            table = {**_SWITCH, **table}
        longest_first = sorted(table, key=len, reverse=True)
        return _Type("|".join(re.escape(word) for word in longest_first), lambda text: table[text.upper()])
    if kind in _TYPES:
        return _TYPES[kind]
    if (digits := _DIGITS.fullmatch(kind)) is not None:
        count, divisor = digits["count"], int(digits["divisor"] or 1)
        if divisor and count != "0":
            return _Type(rf"\d{{{count}}}" if count else r"\d+", partial(_whole, divisor=divisor))
    if (scaled := _SCALED.fullmatch(kind)) is not None and int(scaled["divisor"]):
        return _Type(_TYPES[scaled["kind"]].expression, partial(_scaled, divisor=int(scaled["divisor"])))
    if (characters := _CHARACTERS.fullmatch(kind)) is not None and int(characters["count"]):
        return _Type(f".{{{characters['count']}}}", str)
    tables = f", or a table of `words`: {', '.join(words)}" if words else ", or a table that `words` holds"
    raise PatternError(
        f"{whole!r}: {kind!r} is no type of a field; right would be number, int, hex, bit, byte, word, text, d4, d4/100, c3"
        f"{tables}"
    )

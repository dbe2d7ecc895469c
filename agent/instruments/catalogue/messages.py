"""Messages to instruments as templates: text with places such as ``{ch}`` and ``{value:.3f}``.

========== =====================================================================================================
{ch}       the number of the output in this language
{name}     the name of the output in this language
{list}     the channel list of the outputs, ``(@1,2)`` (SCPI-99, volume 1, 8.3.2)
{address}  the address of the unit on its bus
{value}    a setting: a number as a plain decimal of up to six places, a switch as 1 or 0
{value:.3f}    with exactly so many places; ``06.3f`` with leading zeros
{value:d4*100} times 100, rounded to a whole number of four digits
{value:on_off} a switch as the word of a table of ``words`` that has this value
========== =====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from agent.instruments.catalogue.answers import PatternError, Words

_PLACE = re.compile(r"\{(?P<name>[A-Za-z]\w*)(?::(?P<form>[^{}]+))?\}")
_FIXED = re.compile(r"(?:0(?P<width>\d{1,2}))?\.(?P<places>\d)f")
_DIGITS = re.compile(r"d(?P<count>\d{1,2})\*(?P<factor>\d+)")


class Template:
    """A message with places. ``places``: their names. ``text``: as it was written."""

    __slots__ = ("_form", "_parts", "_word", "places", "text")

    def __init__(self, text: str, words: Mapping[str, Words], allowed: frozenset[str]) -> None:
        """
        :param allowed: the places that mean something here
        :raises PatternError: it holds another place, or a form that there is none of
        """
        self.text = text
        self._parts: list[str] = []
        self._form: str | None = None
        self._word: dict[bool, str] = {}
        at = 0
        for found in _PLACE.finditer(text):
            self._parts += [_plain(text[at : found.start()], text), found["name"]]
            at = found.end()
            if found["name"] not in allowed:
                raise PatternError(
                    f"{text!r}: {{{found['name']}}} stands for nothing here; known are {_listed(allowed)}"
                )
            if (form := found["form"]) is None:
                continue
            if found["name"] != "value" or not (form in words or _FIXED.fullmatch(form) or _DIGITS.fullmatch(form)):
                raise PatternError(
                    f"{text!r}: {form!r} is no form of {{{found['name']}}}; right would be {{value:.3f}}, {{value:d4*100}} or "
                    f"{{value:table}} with a table of `words`"
                )
            self._form = form
            for word, value in words.get(form, {}).items():
                if isinstance(value, bool):
                    self._word.setdefault(value, word)  # the first of several words is the one that is sent
            if form in words and set(self._word) != {False, True}:
                raise PatternError(f"{text!r}: the table {form!r} has no word for true or none for false")
        self._parts.append(_plain(text[at:], text))
        self.places = frozenset(self._parts[1::2])

    def filled(self, places: Mapping[str, str], value: float | bool | None = None) -> str:
        """The message, with these texts in its places, and the value in its form.

        :raises ValueError: the value does not fit into its digits
        """
        parts = list(self._parts)
        for index in range(1, len(parts), 2):
            name = parts[index]
            parts[index] = self._formed(value) if name == "value" and value is not None else places[name]
        return "".join(parts)

    def _formed(self, value: float | bool) -> str:
        if self._word:
            return self._word[bool(value)]
        if isinstance(value, bool):
            return "1" if value else "0"
        number, form = Decimal(repr(float(value))), self._form
        if form is not None and (digits := _DIGITS.fullmatch(form)) is not None:
            count = int(digits["count"])
            whole = int((number * int(digits["factor"])).to_integral_value(ROUND_HALF_EVEN))
            if whole < 0 or len(str(whole)) > count:
                raise ValueError(f"{value:g} does not fit into {count} digits of {self.text!r}")
            return f"{whole:0{count}d}"
        fixed = _FIXED.fullmatch(form) if form is not None else None
        places = int(fixed["places"]) if fixed is not None else 6
        text = f"{number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN) + 0:f}"
        if fixed is None:
            text = text.rstrip("0").rstrip(".")
        elif fixed["width"]:
            text = text.zfill(int(fixed["width"]))
        return "0" if text in ("-0", "") else text


def _plain(text: str, whole: str) -> str:
    if "{" in text or "}" in text:
        raise PatternError(f"{whole!r}: a place is {{name}} or {{value:form}}")
    return text


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))

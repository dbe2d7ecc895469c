"""The types of a command's parameters. Each checks a parameter as it was sent, and gives the handler its value."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from agent.simulator.scpi.data import Datum, forms
from agent.simulator.scpi.errors import ScpiError

_MULTIPLIERS = {
    "EX": 1e18, "PE": 1e15, "T": 1e12, "G": 1e9, "MA": 1e6, "K": 1e3, "": 1.0,
    "M": 1e-3, "U": 1e-6, "N": 1e-9, "P": 1e-12, "F": 1e-15, "A": 1e-18,
}  # fmt: skip


class Parameter(ABC):
    """The type of one parameter of a command."""

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = optional

    @abstractmethod
    def accept(self, datum: Datum) -> Any:
        """The argument that the handler gets.

        :raises ScpiError: the datum is of the wrong type (-1xx) or has a wrong value (-2xx)
        """


class Choice(Parameter):
    """One of the manual's words; the handler gets its short form."""

    def __init__(self, *words: str, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._words = {form: forms(word)[0] for word in words for form in forms(word)}

    def accept(self, datum: Datum) -> str:
        """The word in its short form."""
        if datum.kind == "number":
            raise ScpiError(-128)
        if datum.kind == "string":
            raise ScpiError(-158)
        if datum.kind == "expression":
            raise ScpiError(-178)
        try:
            return self._words[datum.value]
        except KeyError:
            raise ScpiError(-224) from None


class Numeric(Parameter):
    """A number with an optional unit, or one of the words; the handler gets a float or the word's short form."""

    def __init__(self, unit: str = "", words: Iterable[str] = (), *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._choice = Choice(*words)
        self._unit = unit.upper()

    def accept(self, datum: Datum) -> float | str:
        """The number in the unit's base, or the word in its short form."""
        if datum.kind == "word":
            return self._choice.accept(datum)
        if datum.kind != "number":
            raise ScpiError(-104)
        value: float = datum.value
        if datum.suffix:
            if not self._unit:
                raise ScpiError(-138)
            if not datum.suffix.endswith(self._unit):
                raise ScpiError(-131)
            try:
                value *= _MULTIPLIERS[datum.suffix.removesuffix(self._unit)]
            except KeyError:
                raise ScpiError(-131) from None
        if not math.isfinite(value):
            raise ScpiError(-222)
        return value


class Integer(Parameter):
    """A whole number between two bounds; fractions are rounded (IEEE 488.2 5.3)."""

    def __init__(self, low: int, high: int, *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._low, self._high = low, high

    def accept(self, datum: Datum) -> int:
        """The number, rounded."""
        if datum.kind != "number":
            raise ScpiError(-148 if datum.kind == "word" else -104)
        if datum.suffix:
            raise ScpiError(-138)
        if not self._low <= datum.value <= self._high:
            raise ScpiError(-222)
        return int(datum.value + 0.5) if datum.value >= 0 else -int(0.5 - datum.value)


class Boolean(Parameter):
    """ON, OFF or a number, where everything that rounds to something else than 0 is on (SCPI-1999 volume 1, 7.3)."""

    def accept(self, datum: Datum) -> bool:
        """True for ON."""
        if datum.kind == "word":
            if datum.value not in ("ON", "OFF"):
                raise ScpiError(-224)
            return bool(datum.value == "ON")
        if datum.kind != "number":
            raise ScpiError(-104)
        if datum.suffix:
            raise ScpiError(-138)
        return bool(abs(datum.value) >= 0.5)


class Text(Parameter):
    """A quoted string of limited length."""

    def __init__(self, longest: int = 255, *, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self._longest = longest

    def accept(self, datum: Datum) -> str:
        """The text between the quotes."""
        if datum.kind != "string":
            raise ScpiError({"number": -128, "word": -148}.get(datum.kind, -104))
        if len(datum.value) > self._longest:
            raise ScpiError(-223)
        return str(datum.value)

"""Instruments whose language is a list of words: each message is one of some forms, and there is no grammar above them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from agent.simulator.base import Instrument

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
"""The form of a number in a message."""


class Form(NamedTuple):
    """One line of the manual: the form of a message (case does not matter), and what is done and answered."""

    pattern: re.Pattern[str]
    handler: Callable[[Any, re.Match[str]], str | None]


def form(pattern: str, handler: Callable[[Any, re.Match[str]], str | None]) -> Form:
    """A form by its regular expression. The handler gets the instrument and the match."""
    return Form(re.compile(pattern, re.IGNORECASE | re.ASCII), handler)


class WordInstrument(Instrument):
    """An instrument that knows the messages of its ``forms`` and no others."""

    forms: ClassVar[tuple[Form, ...]] = ()

    def respond(self, message: str) -> str | None:
        """Carry out one message."""
        text = message.strip()
        for pattern, handler in self.forms:
            match = pattern.fullmatch(text)
            if match is not None:
                return handler(self, match)
        self.misunderstood(text)
        return None

    def misunderstood(self, text: str) -> None:
        """Note a message of no known form, which is not answered."""

"""A limit for lines of the log that come again and again, such as one for each command that somebody sends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import get_args

from agent.protocol.errors import ErrorCode
from agent.protocol.words import counted

#: Lines of one kind within one period (s); of the rest the log has the number and the last.
MOST_ALIKE, PERIOD = 30, 60.0
#: Kinds that are counted apart. A kind has a name in it that may come from outside.
MOST_KINDS = 2000

_CODES = frozenset(get_args(ErrorCode))


class _Kind:
    """The lines of one kind within a period."""

    __slots__ = ("began", "count", "last", "left_out")

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = self.left_out = 0
        self.last: logging.LogRecord | None = None


class Floods:
    """Tells which records are one too many. Two are of one kind if they come from the same line of code and have the same first
    argument (the unit, in most) and the same error code, if any.
    """

    def __init__(self, begins: Callable[[], None] = lambda: None) -> None:
        """``begins`` is called when a first line is left out: from then on `summaries` is to be called."""
        self._kinds: dict[Hashable, _Kind] = {}
        self._flooding = 0  # kinds of which lines were left out
        self._begins = begins

    def admits(self, record: logging.LogRecord, now: float) -> bool:
        """True if it is to be logged now, `time.monotonic`. Debugging lines and what ends the agent are never left out."""
        if record.levelno < logging.INFO or record.levelno >= logging.CRITICAL:
            return True
        kind = self._kind(_key(record), now)
        if now - kind.began >= PERIOD and not kind.left_out:
            kind.began, kind.count = now, 0
        kind.count += 1
        if kind.count <= MOST_ALIKE:
            return True
        kind.left_out += 1
        kind.last = record
        if kind.left_out == 1:
            self._flooding += 1
            self._begins()
        return False

    def _kind(self, key: tuple[Hashable, ...], now: float) -> _Kind:
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) >= MOST_KINDS:
            self._kinds = {k: v for k, v in self._kinds.items() if v.left_out or now - v.began < PERIOD}
            if len(self._kinds) >= MOST_KINDS:  # all these first arguments are made up
                key = key[:2]
                kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(now)
        return kind

    def summaries(self, now: float) -> tuple[list[logging.LogRecord], float | None]:
        """A record for each kind of which lines were left out in a period that is over; and the s until the next one is due.

        None: no line is left out at present.
        """
        told: list[logging.LogRecord] = []
        due: float | None = None
        if not self._flooding:
            return told, due
        for key, kind in list(self._kinds.items()):
            left = kind.began + PERIOD - now
            if kind.last is None:
                continue
            if left > 0:
                due = left if due is None else min(due, left)
            else:
                del self._kinds[key]
                self._flooding -= 1
                told.append(_summary(kind.last, kind.left_out, now - kind.began))
        return told, due


def _key(record: logging.LogRecord) -> tuple[Hashable, ...]:
    first: Hashable = None
    code: Hashable = None
    if isinstance(record.args, tuple) and record.args:
        first = str(record.args[0])[:80]
        code = next((value for value in record.args[1:] if isinstance(value, str) and value in _CODES), None)
    return record.name, record.lineno, first, code


def _summary(last: logging.LogRecord, left_out: int, seconds: float) -> logging.LogRecord:
    return logging.LogRecord(
        last.name,
        last.levelno,
        last.pathname,
        last.lineno,
        "%s like this in %.0f s: %s",
        (counted(left_out, "more line"), seconds, last.getMessage()),
        None,
    )

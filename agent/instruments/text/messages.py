"""SCPI as text: the messages for settings and channel lists, and the parsing of answers to ``*IDN?`` and error queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from agent.instruments.driver import Identity, IdentityError, MalformedAnswerError, Write

#: A queue entry ahead of other answers. Its text may have a semicolon in it.
_ERROR_AHEAD = re.compile(r'([^,;"]{1,20},\s*(?:"(?:[^"]|"")*"|[^";]*)\s*);')


@lru_cache(maxsize=256)
def channel_list(indices: tuple[int, ...]) -> str:
    """SCPI's channel list, ``(@1,2,3)`` (SCPI-99, volume 1, 8.3.2)."""
    return f"(@{','.join(map(str, indices))})"


def setting_messages(template: str, write: Write) -> list[str]:
    """The messages that carry a setting out: one with a channel list, or one for every channel where it takes a single number."""
    if "{channel}" in template:
        return [template.format(value=write.text, channel=index) for index in write.channels]
    return [template.format(value=write.text, list=channel_list(write.channels))]


def parse_identity(answer: str) -> Identity:
    """Parse an answer to ``*IDN?``.

    :raises IdentityError: it does not have four fields of printable characters
    """
    fields = [field.strip() for field in answer.split(",", 3)]
    if len(fields) != 4 or not all(fields[:2]) or not answer.isprintable() or len(answer) > 200:
        raise IdentityError(f"{ascii(answer)[:120]} is no answer to *IDN?")
    return Identity(*fields)


def parse_error(answer: str) -> tuple[int, str]:
    """Parse an answer to ``SYST:ERR?``, such as ``-222,"Data out of range"``; unprintable characters are escaped.

    :raises MalformedAnswerError: it is no such answer
    """
    match = re.fullmatch(r'\s*([+-]?\d{1,6})\s*,\s*"?(.*?)"?\s*', answer, re.ASCII)
    if match is None:
        raise MalformedAnswerError(f"{shorten(answer)} is no answer to an error query")
    return int(match[1]), re.sub(r"[^ -~]", lambda odd: ascii(odd[0])[1:-1], match[2])


def combine(error_query: str, questions: Sequence[str], poll: str) -> str:
    """One message that asks for the oldest error, some questions of one value each, and a poll."""
    return ";:".join([error_query, *questions, poll])


def take_apart(answer: str, count: int) -> tuple[tuple[int, str], list[str], str]:
    """The answer to `combine`: the oldest entry of the error queue, the answers to ``count`` questions, that to the poll.

    :raises MalformedAnswerError: the answer has another form than the message asks for
    """
    match = _ERROR_AHEAD.match(answer)
    parts = answer[match.end() :].split(";", count) if match is not None else []
    if match is None or len(parts) != count + 1:
        raise MalformedAnswerError(f"{shorten(answer)} is no answer to an error query, {count} more and a poll")
    *answers, poll = parts
    return parse_error(match[1]), answers, poll


def shorten(text: str, limit: int = 120) -> str:
    """Text that an instrument sent, for a message to people: printable, and at most ``limit`` characters."""
    text = ascii(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

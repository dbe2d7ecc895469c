"""Messages and answers as text: the places of templates, the parsing of errors, and several questions in one message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from agent.instruments.catalogue import Model
from agent.instruments.driver import MalformedAnswerError

#: A queue entry ahead of other answers. In quotes, its text may have a semicolon in it. Some units have a blank for the comma.
_ERROR_AHEAD = re.compile(r'([^,;"]{1,100}(?:,\s*(?:"(?:[^"]|"")*"|[^";]*)\s*)?);')


@lru_cache(maxsize=256)
def channel_list(indices: tuple[int, ...]) -> str:
    """SCPI's channel list, ``(@1,2,3)`` (SCPI-99, volume 1, 8.3.2)."""
    return f"(@{','.join(map(str, indices))})"


def place_texts(model: Model, channels: Sequence[int], address: int | None = None) -> dict[str, str]:
    """The texts for the places of a template that is for these outputs: one, or several in a list."""
    numbers = {channel.index: channel.index if channel.number is None else channel.number for channel in model.channels}
    names = {channel.index: channel.label for channel in model.channels}
    first = channels[0]
    return {
        "ch": str(numbers.get(first, first)),
        "name": names.get(first, ""),
        "list": channel_list(tuple(numbers.get(index, index) for index in channels)),
        "address": "" if address is None else str(address),
    }


def joined(separator: str, *parts: str) -> str:
    """Several commands or questions as one message.

    A part that begins with a colon or a star begins at the root by itself; a colon before it would be a syntax error.
    """
    message, *others = parts
    for part in others:
        message += (separator.rstrip(":") if part.startswith((":", "*")) else separator) + part
    return message


def combine(error_query: str, questions: Sequence[str], poll: str, separator: str = ";:") -> str:
    """One message that asks for the oldest error, some questions of one value each, and a poll."""
    return joined(separator, error_query, *questions, poll)


def take_apart(answer: str, count: int) -> tuple[str, list[str], str]:
    """The answer to `combine`: that to the error query, those to ``count`` questions, that to the poll.

    :raises MalformedAnswerError: the answer has another form than the message asks for
    """
    match = _ERROR_AHEAD.match(answer)
    parts = answer[match.end() :].split(";", count) if match is not None else []
    if match is None or len(parts) != count + 1:
        raise MalformedAnswerError(f"{shorten(answer)} is no answer to an error query, {count} more and a poll")
    *answers, poll = parts
    return match[1], answers, poll


def shorten(text: str, limit: int = 120) -> str:
    """Text that an instrument sent, for a message to people: printable, and at most ``limit`` characters."""
    text = ascii(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

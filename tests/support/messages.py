"""The messages that a unit was sent, taken apart."""

from __future__ import annotations

from collections.abc import Iterable


def writes_in(messages: Iterable[str]) -> list[str]:
    """The settings in these messages, in their order: their parts without a question. A setting may have a question behind it."""
    return [part for message in messages for part in message.split(";:") if "?" not in part]

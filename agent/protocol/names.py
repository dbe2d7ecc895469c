"""The rules for names that stand in topics: of agents, units and channels."""

from __future__ import annotations

import re

#: Units can't have these names, which have a meaning in topics.
RESERVED_UNITS = frozenset({"all", "agents", "groups", "response"})
#: Channels can't have these names, which have a meaning in topics.
RESERVED_CHANNELS = frozenset(
    {"set", "get", "state", "status", "info", "event", "response", "backlog", "metrics", "config", "lease"}
)


def check_agent_name(value: str) -> str:
    """The name, if it is one for an agent.

    :raises ValueError: it is none; the text goes on where the value ends: ``'x y' is no agent name; give …``
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("is no agent name; give up to 64 letters, digits, `_`, `.` or `-`")
    return value


def check_unit_name(value: str) -> str:
    """The name, if it is one for a unit.

    :raises ValueError: it is none; the text goes on where the value ends
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ValueError("is no unit name; give up to 64 letters, digits, `_` or `-`")
    if value.casefold() in RESERVED_UNITS:
        raise ValueError("is reserved, it has a meaning in topics; give another name")
    return value


def check_channel_name(value: str) -> str:
    """The name, if it is one for a channel.

    :raises ValueError: it is none; the text goes on where the value ends
    """
    if not value.isprintable():
        raise ValueError("holds control characters; take them out")
    if value != value.strip():
        raise ValueError("begins or ends with a space; take it out")
    if not value:
        raise ValueError("is empty; give it a value or take the key out")
    if len(value) > 64:
        raise ValueError(f"is {len(value)} characters long; give up to 64")
    if found := next((character for character in "/+#" if character in value), None):
        raise ValueError(f"holds `{found}`, which has a meaning in topics; give a name without `/`, `+` and `#`")
    if value.isdigit():
        raise ValueError("is a number, which could be taken for another channel; give a name with a letter in it")
    if value.casefold() in RESERVED_CHANNELS:
        raise ValueError("is reserved, it has a meaning in topics; give another name")
    return value

"""Warnings and errors that agents publish of themselves, as lines for the screen's end. Pure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.cli.terminal import clean

#: Warnings that are kept.
_KEPT = 20
#: Characters of a text.
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class AgentWarning:
    """A warning or an error of an agent, as one line. ``is_error``: it is shown in red."""

    text: str
    is_error: bool


class Warnings:
    """The last warnings of all agents, in the order in which they came.

    :param unit: only those of this unit, and those of an agent as a whole; None for all
    """

    def __init__(self, unit: str | None = None) -> None:
        self._unit = unit
        self._kept: deque[AgentWarning] = deque(maxlen=_KEPT)

    def take(self, agent: str, payload: bytes) -> AgentWarning | None:
        """Take in one message. Returns it as a line; None if it is not understood, or is about another unit."""
        told = _parsed(payload)
        text = None if told is None else told.get("text")
        if told is None or not isinstance(text, str) or not text.strip():
            return None
        unit, level = told.get("unit"), told.get("level")
        if self._unit is not None and isinstance(unit, str) and unit != self._unit:
            return None
        level = level.lower() if isinstance(level, str) else "warning"
        time = _clock(told.get("time"))
        place = agent if not isinstance(unit, str) or text.startswith(f"{unit}:") else f"{agent} {unit}"
        line = clean(f"{time}{level[:10]} {place}: {' '.join(text[:_LONGEST].split())}")
        warning = AgentWarning(line, is_error=level in ("error", "critical", "fatal"))
        self._kept.append(warning)
        return warning

    def latest(self) -> Sequence[AgentWarning]:
        """The last ones, the newest last."""
        return list(self._kept)


def _parsed(payload: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError):
        return None  # another program's message
    return told if isinstance(told, dict) else None


def _clock(time: object) -> str:
    """The time of day on this host, as text with a space; nothing where there is no such time."""
    if not isinstance(time, str):
        return ""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%H:%M:%S} "
    except (ValueError, OverflowError, OSError):
        return ""

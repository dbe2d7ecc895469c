"""The signs that a terminal can show, and the sparkline drawn with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.cli.watching.seen import Trend


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Signs for one kind of terminal. ``levels``: the steps of a sparkline, from the lowest to the highest."""

    ellipsis: str
    up: str
    down: str
    arrows: str
    levels: str


UNICODE = Glyphs(ellipsis="…", up="▲", down="▼", arrows="↑↓", levels="▁▂▃▄▅▆▇█")
ASCII = Glyphs(ellipsis="~", up="^", down="v", arrows="Up/Down", levels="_.-=+*#")


def glyphs_for(encoding: str | None) -> Glyphs:
    """The signs for a terminal whose standard output has this encoding."""
    return UNICODE if (encoding or "").lower().replace("-", "").replace("_", "") == "utf8" else ASCII


def sparkline(trend: Trend, glyphs: Glyphs) -> str:
    """A trend as one sign for each of its cells, a space where nothing was seen."""
    return "".join(" " if height is None else _level(height, glyphs.levels) for height in trend.heights)


def _level(height: float, levels: Sequence[str]) -> str:
    return levels[min(len(levels) - 1, max(0, int(height * len(levels))))]

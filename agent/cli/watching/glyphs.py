"""The signs that a terminal can show, and the sparkline drawn with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.cli.watching.seen import Trend


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Signs for one kind of terminal. ``steps``: the signs of a sparkline, from the lowest to the highest."""

    ellipsis: str
    up: str
    down: str
    arrows: str
    steps: str


UNICODE = Glyphs(ellipsis="…", up="▲", down="▼", arrows="↑↓", steps="▁▂▃▄▅▆▇█")
ASCII = Glyphs(ellipsis="~", up="^", down="v", arrows="Up/Down", steps="_.-=+*#")


def glyphs_for(encoding: str | None) -> Glyphs:
    """The signs for a terminal whose standard output has this encoding."""
    return UNICODE if (encoding or "").lower().replace("-", "").replace("_", "") == "utf8" else ASCII


def sparkline(trend: Trend, glyphs: Glyphs) -> str:
    """A trend as one sign for each of its cells, a space where nothing was seen."""
    return "".join(" " if height is None else _step(height, glyphs.steps) for height in trend.heights)


def _step(height: float, steps: Sequence[str]) -> str:
    return steps[min(len(steps) - 1, max(0, int(height * len(steps))))]

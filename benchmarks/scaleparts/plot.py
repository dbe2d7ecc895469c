"""Small line plots over a logarithmic axis, as one SVG: text that shows the same everywhere, without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _GAP = 280, 200, 70
_TOP, _LEFT, _BOTTOM = 40, 50, 60
_COLOURS = ("#d62728", "#1f77b4", "#7f7f7f")


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: its title, and the values of each line; None where there is none."""

    title: str
    lines: Mapping[str, Sequence[float | None]]


def drawn(xs: Sequence[float], panels: Sequence[Panel], axis: str) -> str:
    """All panels beside each other, over the same values of x; ``axis``: what those are."""
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(xs, panel, _LEFT + number * (_WIDTH + _GAP))
    parts += [f'<text x="{width / 2:.0f}" y="{height - 10}" text-anchor="middle">{escape(axis)}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def _panel(xs: Sequence[float], panel: Panel, left: int) -> list[str]:
    low, high = math.log10(min(xs)), math.log10(max(xs))
    top = _round_up(max(value for line in panel.lines.values() for value in line if value is not None))

    def place(x: float, y: float) -> tuple[float, float]:
        part = (math.log10(x) - low) / ((high - low) or 1)
        return left + part * _WIDTH, _TOP + _HEIGHT - y / top * _HEIGHT

    parts = [f'<text x="{left}" y="{_TOP - 16}" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(5):
        value = top * step / 4
        _, y = place(xs[0], value)
        parts += [
            f'<line x1="{left}" y1="{y:.1f}" x2="{left + _WIDTH}" y2="{y:.1f}" stroke="#dddddd"/>',
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    for x in xs:
        at, _ = place(x, 0)
        parts.append(f'<text x="{at:.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{x:,g}</text>')
    for (name, values), colour in zip(panel.lines.items(), _COLOURS, strict=False):
        points = [place(x, value) for x, value in zip(xs, values, strict=True) if value is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        if len(panel.lines) > 1:
            _, y = points[-1]
            parts.append(
                f'<text x="{left + _WIDTH - 4}" y="{y - 7:.1f}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
            )
    return parts


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 with any number of zeros."""
    unit = 10 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(unit * factor for factor in (1, 2, 4, 8, 10) if unit * factor >= value)

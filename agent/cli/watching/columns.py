"""The columns of the table: which there is room for, how wide they are, and the cells of a row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from agent.cli.terminal import clean
from agent.cli.watching.glyphs import Glyphs, sparkline
from agent.cli.watching.rows import Level, Row
from agent.cli.watching.seen import Channel, Trend
from agent.cli.watching.text import (
    BOLD,
    BOLD_GREEN,
    BOLD_RED,
    BOLD_YELLOW,
    CYAN,
    DIM,
    GREEN,
    ON_RED,
    ON_YELLOW,
    PLAIN,
    RED,
    YELLOW,
    Line,
    Span,
    cut,
    pad,
    span,
)
from agent.protocol.messages import ChannelState

#: Cells of the sparkline with the symbol of its unit before it.
_SHORTEST_SPARK = 8
_LONGEST_SPARK = 32
_SPARK_LABEL = 2
_WIDEST_UNIT = 24
_WIDEST_NAME = 16
_NARROWEST_NAME = 4
#: The columns that are left out first where there is no room; the name is cut last.
_LEFT_OUT = ("agent", "reserved", "power", "spark", "current_limit", "voltage_limit", "current", "out", "voltage")
_HEADINGS = {
    "channel": "CHANNEL",
    "name": "NAME",
    "out": "OUT",
    "voltage": "V",
    "current": "A",
    "power": "W",
    "voltage_limit": "V set",
    "current_limit": "A set",
    "mode": "MODE",
    "spark": "LAST MINUTE",
    "reserved": "RESERVED",
    "agent": "AGENT",
}
_DIGITS = {"voltage": 4, "current": 4, "power": 3, "voltage_limit": 3, "current_limit": 3}
_LEAST = {"out": 3, "voltage": 8, "current": 7, "power": 7, "voltage_limit": 6, "current_limit": 5, "mode": 8}
#: A larger figure, or none at all (NaN), is written short: it would take the room of the other columns.
_LARGEST = 1e5
_RIGHT = frozenset(_DIGITS)
_TEXT_STYLES = {Level.AWAY: RED, Level.REFUSED: YELLOW, Level.UNKNOWN: YELLOW, Level.OFF: DIM}
_MODE_STYLES = {"CV": GREEN, "CC": YELLOW, "CP": YELLOW, "UR": ON_RED, "OFF": DIM}

#: Gives the trend of a channel for a number of cells.
Trends = Callable[[Channel, int], Trend | None]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that there is room for, in their order, and the width of each (cells)."""

    widths: dict[str, int]
    glyphs: Glyphs

    def heading(self) -> Line:
        """The line above the rows."""
        cells = (self._cell(name, _HEADINGS[name]) for name in self.widths)
        return (Span(" ".join(cells).rstrip(), BOLD),)

    def row(self, row: Row, trends: Trends) -> Line:
        """One row. A sentence takes the place of the columns; the caller cuts it to the screen."""
        if row.state is None:
            return (span(row.text or "", _TEXT_STYLES.get(row.level, PLAIN)),)
        line: list[Span] = []
        for name in self.widths:
            if line:
                line.append(Span(" "))
            if name == "spark":
                line.append(self._spark(row, trends))
            else:
                text, style = _content(name, row, row.state)
                line.append(Span(self._cell(name, text), style))
        return tuple(line)

    def _cell(self, name: str, text: str) -> str:
        width = self.widths[name]
        if name == "channel" and cell_len(text) > width:  # the number is worth more than the unit's last characters
            unit, slash, index = text.rpartition("/")
            text = cut(unit, width - cell_len(slash + index), self.glyphs.ellipsis) + slash + index
        return pad(cut(text, width, self.glyphs.ellipsis), width, right=name in _RIGHT)

    def _spark(self, row: Row, trends: Trends) -> Span:
        width = self.widths["spark"]
        trend = trends(row.channels[0], width - _SPARK_LABEL)
        if trend is None:
            return Span(" " * width)
        return Span(
            pad(f"{trend.symbol} {sparkline(trend, self.glyphs)}", width), DIM if row.level >= Level.OFF else CYAN
        )


def columns_for(rows: Sequence[Row], width: int, glyphs: Glyphs) -> Columns:
    """The columns of these rows on a screen of so many cells."""
    with_state = [(row, row.state) for row in rows if row.state is not None]
    wanted = {name: max(_LEAST.get(name, 0), len(_HEADINGS[name])) for name in _HEADINGS if name != "spark"}
    for row, state in with_state:
        for name in wanted:
            wanted[name] = max(wanted[name], cell_len(_content(name, row, state)[0]))
    wanted["channel"] = min(wanted["channel"], _WIDEST_UNIT)
    for name in ("name", "agent", "reserved"):
        wanted[name] = min(wanted[name], _WIDEST_NAME)
    if len({state.agent for _, state in with_state}) < 2:
        del wanted["agent"]
    if not any(row.reserved for row, _ in with_state):
        del wanted["reserved"]
    widths = {
        name: _SHORTEST_SPARK if name == "spark" else wanted[name] for name in _HEADINGS if name in (*wanted, "spark")
    }
    for name in _LEFT_OUT:
        if _total(widths) <= width:
            break
        widths.pop(name, None)
    for name, least in (("name", _NARROWEST_NAME), ("channel", _NARROWEST_NAME), ("mode", 1)):
        widths[name] = max(least, widths[name] - max(0, _total(widths) - width))
    if "spark" in widths:
        widths["spark"] = min(_LONGEST_SPARK, _SHORTEST_SPARK + width - _total(widths))
    return Columns(widths, glyphs)


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(widths) - 1


def _content(name: str, row: Row, state: ChannelState) -> tuple[str, str]:
    if name in _DIGITS:
        return _number(getattr(state, name), _DIGITS[name], state)
    match name:
        case "channel":
            return clean(row.name), BOLD if row.is_trouble else PLAIN
        case "name":
            return clean(state.name), PLAIN
        case "out":
            if not state.online or state.state is None:
                return "-", DIM
            return ("ON", BOLD_GREEN) if state.state else ("off", DIM)
        case "mode":
            return _mode(row, state)
        case "reserved":
            return clean(row.reserved or ""), YELLOW
    return clean(state.agent), PLAIN


def _number(value: float | None, digits: int, state: ChannelState) -> tuple[str, str]:
    if value is None:
        return "-", DIM
    if not abs(value) < _LARGEST:
        return f"{value:.2g}", PLAIN
    # Adding 0.0 makes 0.0 of -0.0: the noise of an output that is off is no "-0.0000".
    return f"{round(value, digits) + 0.0:.{digits}f}", DIM if state.state is False else PLAIN


def _mode(row: Row, state: ChannelState) -> tuple[str, str]:
    if row.age is not None:
        return f"old {age_text(row.age)}", BOLD_RED
    if row.level is Level.UNKNOWN:
        return "unknown", BOLD_YELLOW
    if not state.online:
        return "offline", BOLD_RED
    if state.tripped is not None:
        return f"{state.tripped} trip", ON_RED
    style = (
        ON_YELLOW if row.level is Level.LIMITED and state.mode != "UR" else _MODE_STYLES.get(state.mode or "", PLAIN)
    )
    return state.mode or "-", style


def age_text(seconds: float) -> str:
    """An age in the largest unit that fits: 12s, 5m, 3h, 4d."""
    for symbol, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{symbol}"
    return f"{max(0.0, seconds):.0f}s"

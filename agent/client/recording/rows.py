"""The columns of a recording, and its rows as lines of CSV: UTF-8, a comma between cells, a point in numbers, one line a row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from agent.protocol.messages import ChannelState, Event, format_time
from agent.protocol.quantities import REPORTED

ColumnKind = Literal["time", "integer", "number", "switch", "text"]

#: The columns that tell a sample from every other one. They are always there, in this order.
IDENTITY = ("time", "psu", "index", "seq")
#: The columns without `--fields`. New ones are added at the end only.
DEFAULT = (
    *("time", "psu", "index", "name", "seq", "state", "voltage", "current", "power", "voltage_limit", "current_limit"),
    *("mode", "tripped", "online", "energy", "charge", "agent", "late"),
)
#: Every column that there is.
ALL = (
    *("time", "psu", "index", "name", "seq", "online"),
    *REPORTED,
    *("agent", "model", "late"),
)
EVENT_COLUMNS = ("time", "psu", "index", "name", "field", "from", "to", "by", "id", "text", "agent")

_KINDS: dict[str, ColumnKind] = {
    "time": "time",
    "index": "integer",
    "seq": "integer",
    "online": "switch",
    "late": "switch",
    "state": "switch",
    "current_protection": "switch",
    "voltage_protection_state": "switch",
    **dict.fromkeys(("psu", "name", "agent", "model", "mode", "tripped"), "text"),
}
#: A spreadsheet takes a cell that begins so for a formula, which may fetch or run something.
_FORMULA = ("=", "+", "-", "@", "'")
_QUOTED = frozenset(',"')


@dataclass(frozen=True, slots=True)
class Key:
    """What a row that stands in a file tells of its sample. ``time`` in ms; ``agent`` is empty where no column has it."""

    psu: str
    index: int
    agent: str
    seq: int
    time: int


def kind_of(column: str) -> ColumnKind:
    """What the cells of a column are."""
    return _KINDS.get(column, "number")


def choose(fields: Iterable[str]) -> tuple[str, ...]:
    """The columns for a choice of fields: `IDENTITY` first, then the others in their order.

    :raises ValueError: there is no such field; the text says which there are
    """
    wanted = [field for field in fields if field]
    unknown = [field for field in wanted if field not in ALL]
    if unknown:
        raise ValueError(f"there is no field {', '.join(unknown)}; there are {', '.join(ALL)}")
    return (*IDENTITY, *dict.fromkeys(field for field in wanted if field not in IDENTITY))


def text_cell(text: str) -> str:
    """A text as one cell that no spreadsheet takes for a formula: see docs/log.md."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    if text.startswith(_FORMULA):
        text = f"'{text}"
    if not _QUOTED.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def cell_text(cell: str) -> str:
    """The text that a cell holds, without the mark that `text_cell` adds."""
    return cell.removeprefix("'")


def _cell(value: str | float | bool | datetime | None) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return text_cell(value)
        case datetime():
            return format_time(value)
    return repr(value)


class Format:
    """The rows of a choice of columns."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.header = ",".join(self.columns)

    def line(self, state: ChannelState, *, late: bool) -> str:
        """The row of a sample, without its end of line."""
        values = state.__dict__
        cells = [
            ("true" if late else "false") if column == "late" else _cell(values[column]) for column in self.columns
        ]
        return ",".join(cells)


def event_line(event: Event) -> str:
    """The row of an event, without its end of line."""
    return ",".join(_cell(getattr(event, "from_" if name == "from" else name)) for name in EVENT_COLUMNS)


def event_key(cells: Sequence[str]) -> tuple[str, ...]:
    """What tells an event from every other one, of a row's cells: an event comes at least once."""
    return tuple(cells[:9])


def split(line: str) -> list[str]:
    """The cells of a line."""
    return next(csv.reader([line]), [])


def parse_time(cell: str) -> int:
    """The time of a cell in ms since 1970.

    :raises ValueError: it is no time
    """
    time = datetime.fromisoformat(cell)
    return round((time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp() * 1000)


def keys(lines: Iterable[str], columns: Sequence[str]) -> list[Key]:
    """The samples that these rows are; lines that are no rows are left out."""
    places = {column: place for place, column in enumerate(columns)}
    time, psu, index, seq = (places[column] for column in IDENTITY)
    agent = places.get("agent")
    found = []
    for cells in csv.reader(lines):
        if len(cells) != len(columns):
            continue
        try:
            name = "" if agent is None else cell_text(cells[agent])
            found.append(Key(cell_text(cells[psu]), int(cells[index]), name, int(cells[seq]), parse_time(cells[time])))
        except ValueError:
            continue
    return found

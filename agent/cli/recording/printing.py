"""What `log` tells people on stderr: a line while it records, and the summary at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from agent.cli.terminal import clean
from agent.client.recording.merging import by_name
from agent.client.recording.recorder import Counts
from agent.client.recording.runs import Missing
from agent.client.recording.statistics import Extent, Statistics
from agent.protocol.messages import format_time

#: s between two drawings of the line.
_FRAME = 0.5
#: Characters of a channel's name in the tables, so that they fit 80 columns.
_TITLE = 14
#: Gaps of a channel that are told one by one.
_MOST_GAPS = 5

Key = tuple[str, int]


class StatusLine:
    """One line that tells how far a recording is, drawn again and again; nothing where stderr is no terminal."""

    def __init__(self, where: str, *, is_shown: bool) -> None:
        """``where``: the file that is written. ``is_shown``: false where nobody should be disturbed."""
        self._where = where
        self._is_shown = is_shown and sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = 0.0
        self._drawn = 0

    def __call__(self, counts: Counts) -> None:
        """Draw it, if it is time to."""
        now = time.monotonic()
        if not self._is_shown or now < self._next:
            return
        self._next = now + _FRAME
        parts = [
            clock(now - self._began),
            counted(counts.channels, "channel"),
            counted(counts.samples, "sample"),
        ]
        if counts.held:
            parts.append(f"{counts.held:,} wait for earlier ones")
        if counts.late:
            parts.append(f"{counts.late:,} late")
        if counts.lost is not None:
            parts.append(f"no broker: {counts.lost}")
        text = f"{clean(self._where)}  {', '.join(parts)}"
        columns = _columns()
        if len(text) > columns - 1:
            text = f"{', '.join(parts)}"[: columns - 1]
        self._write(text)

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._drawn)}")
        self._drawn = len(text)
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away, so that another one can be printed."""
        if self._drawn:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()
            self._drawn = 0
            self._next = 0.0


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def clock(seconds: float) -> str:
    """A duration as ``00:03:12``, with days in front where there are any."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {text}" if days else text


def counted(number: int, word: str) -> str:
    """``1 sample``, ``2,000 samples``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def summary_json(
    statistics: Mapping[Key, Statistics], missing: Mapping[Key, Sequence[Missing]], events: int | None
) -> str:
    """The summary as one JSON object. Energy in Wh, charge in Ah, times in s."""
    channels = []
    for psu, index in sorted(statistics.keys() | missing.keys(), key=by_name):
        figures = statistics.get((psu, index), Statistics())
        gaps = missing.get((psu, index), ())
        channels.append(
            {
                "psu": psu,
                "index": index,
                "name": figures.name,
                "first": _time(figures.first),
                "last": _time(figures.last),
                **figures.as_json(),
                "missing": sum(gap.count for gap in gaps),
                "gaps": [
                    {
                        "first_seq": gap.first,
                        "last_seq": gap.last,
                        "after": _time(gap.after),
                        "before": _time(gap.before),
                    }
                    for gap in gaps
                ],
            }
        )
    totals = {
        "samples": sum(figures.samples for figures in statistics.values()),
        "missing": sum(gap.count for gaps in missing.values() for gap in gaps),
        "events": events,
    }
    return json.dumps(totals | {"channels": channels}, ensure_ascii=False)


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else format_time(datetime.fromtimestamp(milliseconds / 1000, UTC))


def summary(
    statistics: Mapping[Key, Statistics], missing: Mapping[Key, Sequence[Missing]], events: int | None
) -> list[str]:
    """The summary as lines of 80 columns at most, for names of ordinary length."""
    lines = []
    if statistics:
        titles = {key: _title(key, figures) for key, figures in statistics.items()}
        lines += _first_table(titles, statistics, missing)
        lines += ["", *_second_table(titles, statistics)]
        lines += ["", "Wh, Ah: from the samples recorded here, without gaps; agent: by the agent's own", "counters."]
    if events is not None:
        lines.append(f"{counted(events, 'event')} of these channels.")
    late = sum(figures.late for figures in statistics.values())
    if late:
        lines.append(f"{counted(late, 'sample')} came late, out of the order of time (column late).")
    for key, gaps in missing.items():
        lines += _gap_lines(key, gaps)
    return lines


def _title(key: Key, figures: Statistics) -> str:
    title = f"{key[0]}/{key[1]} {clean(figures.name)}"
    return title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}…"


def _first_table(
    titles: Mapping[Key, str], statistics: Mapping[Key, Statistics], missing: Mapping[Key, Sequence[Missing]]
) -> list[str]:
    rows = [("", "time", "samples", "missing", "Wh", "Ah", "agent Wh", "agent Ah")]
    rows += [
        (
            titles[key],
            clock(figures.duration),
            str(figures.samples),
            str(sum(gap.count for gap in missing.get(key, ()))),
            _total(figures.energy if figures.extents[2].count else None),
            _total(figures.charge if figures.extents[1].count else None),
            _total(figures.counted_energy),
            _total(figures.counted_charge),
        )
        for key, figures in statistics.items()
    ]
    return _table(rows)


def _second_table(titles: Mapping[Key, str], statistics: Mapping[Key, Statistics]) -> list[str]:
    rows = [("", *(f"{word} {unit}".strip() for unit in "VAW" for word in ("min", "mean", "peak")))]
    rows += [
        (titles[key], *(cell for extent in figures.extents for cell in _cells(extent)))
        for key, figures in statistics.items()
    ]
    return _table(rows)


def _cells(extent: Extent) -> tuple[str, str, str]:
    return _figure(extent.minimum), _figure(extent.mean), _figure(extent.maximum)


def _figure(value: float | None) -> str:
    """Six characters for what a bench supply delivers, seven below zero."""
    if value is None:
        return "-"
    size = abs(value)
    digits = 4 if size < 10 else 3 if size < 100 else 1 if size < 1000 else 0
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.0000


def _total(value: float | None) -> str:
    """An energy (Wh) or a charge (Ah), to the micro where it is small, as the agent counts it."""
    return "-" if value is None else f"{value:.6f}" if abs(value) < 10 else _figure(value)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        " ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _gap_lines(key: Key, gaps: Sequence[Missing]) -> list[str]:
    shown = []
    for gap in gaps[:_MOST_GAPS]:
        seq = str(gap.first) if gap.count == 1 else f"{gap.first} to {gap.last}"
        when = " ".join(
            f"{word} {text[11:23]}"
            for word, text in (("after", _time(gap.after)), ("before", _time(gap.before)))
            if text is not None
        )
        shown.append(f"  seq {seq} ({when} UTC)" if when else f"  seq {seq}")
    total = sum(gap.count for gap in gaps)
    if len(gaps) > _MOST_GAPS:
        shown.append(f"  and {counted(len(gaps) - _MOST_GAPS, 'more gap')}")
    return [f"{key[0]}/{key[1]}: {counted(total, 'sample')} missing:", *shown]

"""Tables of figures in Markdown, and the machine that they were measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: the name of the figure, its value, its target, and whether that was reached (None: no target)."""

    what: str
    value: str
    target: str = ""
    reached: bool | None = None


def table(figures: Sequence[Figure]) -> str:
    """The figures in Markdown."""
    rows = [("figure", "measured", "target", "")]
    rows += [(f.what, f.value, f.target, {True: "reached", False: "**missed**", None: ""}[f.reached]) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine() -> str:
    """The machine that this runs on, in a line."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1] if found else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores ({name}), {platform.system()} {platform.release()}, Python {platform.python_version()}"

"""The exit codes of all commands, in one table: the help, the manual page and the documentation have it from here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import MappingProxyType

#: Done. Also where the reader of the output has gone, as in ``psu-agent models | head -1``.
DONE = 0
#: EX_SOFTWARE and EX_IOERR of sysexits.h.
INTERNAL_ERROR, OUTPUT_ERROR = 70, 74
#: 128 and the number of SIGINT, as shells have it.
INTERRUPTED = 130

#: The meaning of each code, and the commands that can end with it where that is not every one.
EXIT_CODES: Mapping[int, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        DONE: ("Done. Also where the reader of the output has gone, as in `psu-agent models | head -1`.", ()),
        1: (
            "Refused; or nothing was found, or not all is well: a sentence says which.",
            (
                "get",
                "set",
                "watch",
                "lease",
                "takeover",
                "log",
                "save",
                "restore",
                "check",
                "scan",
                "verify",
                "series try",
            ),
        ),
        2: ("Wrong usage or configuration; the broker or the unit can't be reached; nobody answered.", ()),
        3: ("An output may still be on.", ("verify",)),
        INTERNAL_ERROR: ("An error inside psu-agent; please report it.", ()),
        OUTPUT_ERROR: ("The output could not be written: the disk is full, for example.", ()),
        INTERRUPTED: ("Ended by Ctrl-C. `run`, `demo`, `simulate`, `watch` and `log` end with 0 then.", ()),
    }
)
#: Characters of a line of the help, which every terminal has.
_WIDTH = 76
_BAR = r"\|"


def as_lines() -> list[str]:
    """The table for the help."""
    return [
        line
        for code, (text, _) in EXIT_CODES.items()
        for line in textwrap.wrap(f"{code:<4} {text}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 7)
    ]


def as_markdown() -> str:
    """The table for the documentation."""
    # A bar within a cell would end it, in code as well.
    rows = [f"| {code} | {with_commands(code).replace('|', _BAR)} |" for code in EXIT_CODES]
    return "\n".join(["| exit code | |", "|---|---|", *rows, ""])


def with_commands(code: int) -> str:
    """The meaning of a code, with the commands that can end with it where that is not every one."""
    text, commands = EXIT_CODES[code]
    return f"{text.rstrip('.')} ({', '.join(f'`{name}`' for name in commands)})." if commands else text

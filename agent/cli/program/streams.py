"""The standard streams of the program: they are there, they take any text, and stderr is never a reason to fail."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def prepare() -> None:
    """Have standard streams that take any text, whatever the terminal's encoding, and that are there.

    A closed one would leave its number to the first file or socket that is opened, which would then be written to.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # for as long as the process lives
    # One that a test has put there stays.
    if type(sys.stderr) is io.TextIOWrapper and sys.stderr.fileno() == 2:
        sys.stderr = io.TextIOWrapper(_Stderr(), sys.stderr.encoding, line_buffering=True, write_through=True)
    for stream, handling in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=handling)


class _Stderr(io.BufferedIOBase):
    """Writes to stderr what it takes. Where its disk is full, or its reader gone, the exit code is all that is left to tell."""

    def write(self, data: ReadableBuffer) -> int:
        """All of the data, as far as it can be written."""
        left = memoryview(data).cast("B")
        count = len(left)
        try:
            while left:
                left = left[os.write(2, left) :]
        except OSError:
            pass
        return count

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)

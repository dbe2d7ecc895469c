"""What the scripts of the stack have in common."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Fault(Exception):
    """Something the user can put right; its text says how. ``code`` is the exit code."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


def told(error: OSError) -> str:
    """What the system refused, with the file if there is one."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One of the scripts at a time in a project's folder: two rotations would leave passwords that fit nowhere, and a second
    backup would start a service whose files the first one copies.

    :raises Fault: another one is at work
    """
    # The folder itself is locked, so that no file is left, and none stands in secrets/ before a restore.
    here = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Fault(
                "Another make secrets, rotate, backup or restore is at work here: wait for its end, then try again"
            ) from None
        except OSError:  # a file system that has no locks
            pass
        yield
    finally:
        os.close(here)

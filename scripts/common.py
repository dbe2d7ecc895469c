"""Faults, exit codes and the lock of the stack's scripts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent


class Fault(Exception):
    """Something the user can put right; its text says how. ``code`` is the exit code."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


def told(error: OSError) -> str:
    """The reason of an error of the system, with the file if there is one."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line, at once. Where nobody reads any more, as after a terminal was closed, the rest is printed nowhere:
    an error would keep services stopped that are about to be started.
    """
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def finished(work: Callable[[], int | None], *, then: str = "", code: int = 2) -> int:
    """The exit code of a script that does this work. A fault, an error of the system and Ctrl-C are told in one line.

    :param then: said after an error of the system and Ctrl-C: what to do
    :param code: of an error of the system
    """
    try:
        return work() or 0
    except Fault as fault:
        print(fault, file=sys.stderr)
        return fault.code
    except OSError as error:
        reason = told(error)
    except KeyboardInterrupt:
        reason, code = "Interrupted", 1
    print(f"{reason}. {then}" if then else reason, file=sys.stderr)
    return code


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
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

"""Child processes that end with this one, even if it is killed."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


def start(
    command: Sequence[str | Path],
    log: IO[bytes],
    *,
    pipe: bool = False,
    pipe_in: bool = False,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A running command.

    It gets a session of its own, so that a terminal's Ctrl-C reaches this process alone, which then ends it. On Linux it is
    killed when the thread that started it ends: start it from a thread that lives as long as it is needed.

    :param log: takes its stderr, and its stdout unless ``pipe`` gives that to this process
    :param pipe_in: this process writes its stdin, which otherwise is empty
    :param folder: where it runs; None: where this process does
    :param environment: more variables than this process has
    """
    parent = os.getpid()
    libc = _libc()

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

    return subprocess.Popen(  # noqa: S603  # our own commands
        command,
        cwd=folder,
        stdin=subprocess.PIPE if pipe_in else subprocess.DEVNULL,
        stdout=subprocess.PIPE if pipe else log,
        stderr=log,
        env=None if environment is None else {**os.environ, **environment},
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # it takes no lock that another thread could hold
    )


def end(process: subprocess.Popen[bytes], timeout: float = 5.0) -> None:
    """End a process by SIGTERM, or by SIGKILL after the timeout (s). May be called twice."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process by SIGKILL, and close its pipes. May be called twice."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # something was written that it never read
                pipe.close()


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None

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
from typing import IO

_PR_SET_PDEATHSIG = 1


def start(
    command: Sequence[str], log: IO[bytes], *, pipe: bool = False, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command with its output in `log`, or its stdout in a pipe.

    It stands in a session of its own, so that a terminal's Ctrl-C reaches this process alone, which then ends it.
    """
    parent = os.getpid()
    libc = _libc()

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return subprocess.Popen(  # noqa: S603  # our own commands
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if pipe else log,
        stderr=log,
        env=None if environment is None else {**os.environ, **environment},
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # it calls nothing that a thread could hold
    )


def end(process: subprocess.Popen[bytes], timeout: float = 5.0) -> None:
    """SIGTERM, and SIGKILL if it is still there after the timeout (s). May be called twice."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None

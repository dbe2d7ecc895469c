"""A command on a pseudo-terminal, and the screen that a user sees there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from typing import Any, Self

import pyte

from tests.commandline import COMMAND, environment
from tests.support.processes import ROOT
from tests.support.waiting import PATIENCE, wait_until

# ECMA-48, SGR.
_DIM = 2
_GREY = 90


class Terminal:
    """A command that runs on a terminal of its own, as a context manager.

    ``screen``: what the user sees; ``written``: all bytes that the command wrote. ``mode``: the terminal's settings at the begin.

    :param shell: a script of bash that runs it, as ``"$@"``
    :param is_typed_on: False: standard input is no terminal
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        lines: int = 24,
        is_typed_on: bool = True,
        shell: str | None = None,
        **variables: str,
    ) -> None:
        self._master, slave = pty.openpty()
        self.screen = _Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.resize(columns, lines)
        self.mode = termios.tcgetattr(self._master)
        env = environment(**{"TERM": "xterm-256color", **variables})
        for name in {"COLUMNS", "LINES", "NO_COLOR"} - variables.keys():
            env.pop(name, None)
        # Its own session, whose terminal this is: Ctrl-C and Ctrl-Z come from the terminal.
        self.process = subprocess.Popen(
            [*([] if shell is None else ["bash", "-c", shell, "bash"]), *COMMAND, *arguments],
            stdin=slave if is_typed_on else subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=env,
            preexec_fn=_own_terminal,  # noqa: PLW1509  # system calls, and no lock
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without blanks at their ends."""
        return [line.rstrip() for line in self.screen.display]

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def read(self, wait: float = 0.05) -> bool:
        """Take in what was written. False if nothing was within `wait` s, or nothing will be any more."""
        ready, _, _ = select.select([self._master], [], [], wait)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # all that had the terminal open have closed it
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def wait_for(self, text: str, *, is_gone: bool = False) -> str:
        """The first line of the screen that holds a text; with `is_gone` wait until none does.

        The rest of the screen may still be as it was: a drawing comes in several pieces on a busy machine.
        """

        def found() -> Any:
            line = next((line for line in self.lines if text in line), None)
            return line is None if is_gone else line

        return str(self.wait_until(found, text))

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value of a condition, which is asked after each piece that was written."""
        try:
            return wait_until(lambda: (self.read(), condition())[1], what)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.lines])) from None

    def end(self) -> int:
        """Wait for the command's end: its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, "\n".join(self.lines)
        while self.read():
            pass
        return self.process.returncode

    def is_as_before(self) -> bool:
        """True if the terminal has its settings, its screen and its cursor again."""
        last = self.written.rfind(b"\x1b[?1049")
        left = self.written[last:].startswith(b"\x1b[?1049l") and b"\x1b[?25h" in self.written[:last][-40:]
        return left and termios.tcgetattr(self._master)[:4] == self.mode[:4]


class _Screen(pyte.Screen):
    """Shows dim text, which pyte has no sign for, in grey."""

    def select_graphic_rendition(self, *attributes: int, **options: Any) -> None:
        grey = [_GREY] if _DIM in attributes else []
        super().select_graphic_rendition(*attributes, *grey, **options)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)

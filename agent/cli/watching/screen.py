"""The terminal: the alternate screen, keys as they are typed, and the terminal as it was at every end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Self

from agent.cli.watching.keys import Keys
from agent.cli.watching.text import Line, Span

# xterm's private modes: 1049 the alternate screen, 25 the cursor, 7 lines that go on in the next one.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[0m\x1b[2J"
_HOME = "\x1b[H"
#: s without another byte after which ESC is the escape key.
_ESCAPE_DELAY = 0.05
_ENDING = (signal.SIGTERM, signal.SIGHUP)
#: Where a terminal does not tell its size.
_USUAL_SIZE = (80, 24)


def can_show() -> bool:
    """True if standard output is a terminal that can be drawn on. Elsewhere lines are printed.

    With ``TERM=dumb``, and without TERM, no control code is written.
    """
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


class Screen:
    """The terminal as a context manager. SIGTERM and SIGHUP raise KeyboardInterrupt in it, unless somebody handles them.

    ``has_keys``: standard input is a terminal.
    """

    def __init__(self) -> None:
        self.has_keys = sys.stdin.isatty()
        self._keys = Keys()
        self._before: list[Any] | None = None
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._is_spoilt = True  # every line has to be written
        self._handlers: dict[signal.Signals, Any] = {}
        self._is_open = False

    def __enter__(self) -> Self:
        try:
            for number in _ENDING:
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, _interrupt)
            for number, handler in ((signal.SIGTSTP, self._suspend), (signal.SIGCONT, self._resume)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, handler)
            self._open()
        except BaseException:  # a signal: the terminal is changed already, maybe
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with _undisturbed():
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            self._close()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        self._handlers.clear()

    def _open(self) -> None:
        self._is_open = True
        if self.has_keys:
            with contextlib.suppress(termios.error, OSError):
                before = termios.tcgetattr(0)
                self._before = self._before or before
                mode = termios.tcgetattr(0)
                mode[0] &= ~(termios.IXON | termios.ICRNL)  # Ctrl-S would stop the screen, and an off with it
                mode[3] &= ~(termios.ICANON | termios.ECHO)
                mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
                termios.tcsetattr(0, termios.TCSADRAIN, mode)
        self._is_spoilt = True
        _put(_ENTER)

    def _close(self) -> None:
        """Leave the terminal as it was. Does not fail where it is gone."""
        if not self._is_open:
            return
        self._is_open = False
        with contextlib.suppress(OSError, ValueError):
            _put(_LEAVE)
        if self._before is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def _suspend(self, *_: int | FrameType | None) -> None:
        """Ctrl-Z: give the terminal back, and stop as any program does; `fg` goes on here."""
        self._close()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread, so that it stops here and nowhere else. Without a shell that could continue it nothing stops.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)
        self._open()

    def _resume(self, *_: int | FrameType | None) -> None:
        """SIGCONT, after SIGSTOP as well: the terminal may look as it likes."""
        self._open()

    def size(self) -> tuple[int, int]:
        """Columns and lines as they are now."""
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            columns = lines = 0
        return columns or _USUAL_SIZE[0], lines or _USUAL_SIZE[1]

    def draw(self, lines: Sequence[Line], size: tuple[int, int]) -> None:
        """Show these lines, which fit a screen of this size. Only those that have changed are written."""
        is_anew = self._is_spoilt or size != self._size
        self._is_spoilt = False  # before it is written: a signal may spoil it meanwhile
        # Never more lines than there are: the screen would scroll.
        wanted = [_written(line) for line in lines[: size[1]]]
        wanted += [""] * (size[1] - len(wanted))
        drawn = [""] * len(wanted) if is_anew else self._drawn
        # The line is cleared first: behind a full one that would take its last character. Line ends lead past those that stay.
        changed = ["" if new == old else f"\x1b[0m\x1b[K{new}" for new, old in zip(wanted, drawn, strict=True)]
        if is_anew or any(changed):
            sys.stdout.write((_CLEAR if is_anew else "") + _HOME + "\r\n".join(changed))
            sys.stdout.flush()
        self._drawn, self._size = wanted, size

    def forget(self) -> None:
        """Write every line at the next drawing: another program may have written on the terminal."""
        self._is_spoilt = True

    def keys(self, wait: float) -> list[str]:
        """The keys that were pressed, as soon as there is one; none after `wait` s."""
        try:
            ready, _, _ = select.select([0] if self.has_keys else [], [], [], wait)
            data = os.read(0, 4096) if ready else b""
        except OSError:  # the terminal is gone
            ready, data = [0], b""
        if ready and not data:
            self.has_keys = False
            return []
        keys = self._keys.feed(data)
        if self._keys.is_waiting:
            ready, _, _ = select.select([0], [], [], _ESCAPE_DELAY)
            keys += self._keys.feed(os.read(0, 4096)) if ready else self._keys.flush()
        return keys


def _put(text: str) -> None:
    """Write at once. By the descriptor: a signal's handler must not use the stream, which may be in the middle of a write."""
    os.write(1, text.encode("ascii"))


def _written(line: Line) -> str:
    return "".join(_styled(piece) for piece in line)


def _styled(piece: Span) -> str:
    style = _without_colour(piece.style) if os.environ.get("NO_COLOR") else piece.style
    return f"\x1b[0;{style}m{piece.text}" if style else f"\x1b[0m{piece.text}"


def _without_colour(style: str) -> str:
    """As https://no-color.org asks for: bold, dim and reversed alone, and reversed for each coloured background."""
    parts = style.split(";")
    kept = [part for part in parts if len(part) == 1]
    return ";".join(dict.fromkeys([*kept, *("7" for part in parts if part.startswith("4"))]))


def _interrupt(*_: int | FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No signal that ends the program, or Ctrl-C, interrupts what is done in it."""
    numbers = (signal.SIGINT, *_ENDING)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

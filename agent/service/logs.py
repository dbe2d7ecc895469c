"""Logging to stderr, for people or as one JSON object a line. No thread but the log's own ever waits for stderr."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from agent.protocol.messages import format_time
from agent.protocol.words import counted
from agent.service.floods import Floods
from agent.service.logwriter import LineWriter

#: s that the end of the process waits for lines that nobody reads: what a stop may take in all is 5 s.
FLUSH_TIMEOUT = 0.2
#: File descriptor of the standard error.
STDERR = 2

log = logging.getLogger(__name__)
_handler: _Handler | None = None


def set_up(level: str, form: Literal["text", "json"]) -> None:
    """Send everything of `level` (``debug`` … ``error``) and above to stderr, warnings and tracebacks of Python included.

    From now on `sys.stderr` never blocks: its lines queue with those of the log.
    """
    global _handler
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    _handler = handler = _Handler(_JsonFormatter() if form == "json" else _TextFormatter(), encoding)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # pyvisa-py logs a traceback for every link that can't be opened; the agent says so in a sentence.
    for name in ("pyvisa", "pyvisa_py"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.stderr = _Stream(handler.say)
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable


def dropped() -> int:
    """The number of lines that could not be written since the start. Those that were left out as too many alike do not count."""
    return 0 if _handler is None else _handler.dropped


class _Handler(logging.Handler):
    """Gives records to the thread that writes them, as far as there are not too many alike."""

    def __init__(self, formatter: logging.Formatter, encoding: str) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer: LineWriter[logging.LogRecord | str] = LineWriter(
            STDERR, self._text, self._note, self._summaries, encoding
        )
        self._floods = Floods(self._writer.wake)

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. Its arguments may change afterwards, so the message is made here; a traceback is made later."""
        try:
            if not self._floods.admits(record, time.monotonic()):
                return
            record.msg, record.args = record.getMessage(), None
        except Exception as error:  # noqa: BLE001  # logging's own way to tell of it writes to stderr, and waits
            record.msg, record.args = f"{record.msg} (not complete: {error!r})", None
        self._writer.put(record)

    def say(self, text: str) -> None:
        """Queue a line of another part of the program."""
        self._writer.put(text)

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` (s) for all lines to be written; True if they are."""
        return self._writer.flush(timeout)

    def close(self) -> None:
        """Let the thread end."""
        self._writer.close()
        super().close()

    # The writer's thread.

    def _text(self, item: logging.LogRecord | str) -> str:
        if isinstance(item, str):
            if not isinstance(self.formatter, _JsonFormatter):
                return f"{item}\n"
            item = _record("stderr", item)
        return f"{self.format(item)}\n"

    def _note(self, count: int) -> str:
        text = "missing in the log here: %s; stderr was not read, or did not take them"
        return f"{self.format(_record(log.name, text, counted(count, 'line')))}\n"

    def _summaries(self, now: float) -> tuple[list[logging.LogRecord | str], float | None]:
        self.acquire()
        try:
            records, due = self._floods.summaries(now)
        finally:
            self.release()
        return [*records], due


def _record(name: str, text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, text, args, None)


class _Stream(io.TextIOBase):
    """In the place of `sys.stderr`: gives whole lines away, and never blocks."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Any text can be written."""
        return "utf-8"

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Give away the lines that are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the log's thread writes all lines as soon as it can."""


def finish() -> None:
    """Wait for the lines that are not written yet, no longer than `FLUSH_TIMEOUT`. To be called at the end of the process."""
    if _handler is not None:
        _handler.wait(FLUSH_TIMEOUT)


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "unknown"
    error = args.exc_value or args.exc_type()
    log.critical("the thread %s ended by an error inside psu-agent; please report it", name, exc_info=error)


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    log.error("%s in %r", args.err_msg or "an exception was ignored", args.object, exc_info=args.exc_value)


def _time(record: logging.LogRecord) -> str:
    return format_time(datetime.fromtimestamp(record.created, UTC))


def printable(text: str) -> str:
    """The text with control characters escaped, so that input can't begin a line of its own or write on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix("agent.")
        line = f"{_time(record)} {record.levelname:<7} {name}: {printable(record.getMessage())}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n  {printable(text)}" for text in lines)
        return line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)

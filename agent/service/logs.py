"""Logging to stderr, for people or as one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from agent.protocol.messages import format_time


def set_up(level: str, form: Literal["text", "json"]) -> None:
    """Send everything of `level` (``debug`` … ``error``) and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # pyvisa-py logs a traceback for every link that can't be opened; the agent says so in a sentence.
    for name in ("pyvisa", "pyvisa_py"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def _time(record: logging.LogRecord) -> str:
    return format_time(datetime.fromtimestamp(record.created, UTC))


def _printable(text: str) -> str:
    """The text with control characters escaped, so that input can't begin a line of its own or write on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix("agent.")
        line = f"{_time(record)} {record.levelname:<7} {name}: {_printable(record.getMessage())}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n  {_printable(text)}" for text in lines)
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

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from agent.service import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    log = logging.getLogger("agent.supply")
    log.debug("not this")
    log.warning("psu1\n2026 INFO forged: %s", "\x1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert line[24:] == " WARNING supply: psu1\\n2026 INFO forged: \\x1b[2J"
    assert line[:24].endswith("Z")


def test_text_with_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug", "text")
    try:
        raise ValueError("a\x07b")
    except ValueError:
        logging.getLogger("other").exception("oh")
    lines = capsys.readouterr().err.splitlines()
    assert "ERROR   other: oh" in lines[0]
    assert lines[-1] == "  ValueError: a\\x07b"
    assert all(line.startswith("  ") for line in lines[1:])


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("error", "json")
    logging.getLogger("agent.x").warning("not this")
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("agent.x").exception("two\nlines")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "agent.x", "two\nlines")
    assert entry["exception"].endswith("ValueError: x")

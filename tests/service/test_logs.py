from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from agent.service import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.stderr, threading.excepthook, sys.unraisablehook
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    sys.stderr, threading.excepthook, sys.unraisablehook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def written(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that the log's thread has written to the descriptor of stderr."""
    logs.finish()
    return capfd.readouterr().err.splitlines()


def test_text(capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    log = logging.getLogger("agent.supply")
    log.debug("not this")
    log.warning("psu1\n2026 INFO forged: %s", "\x1b[2J")
    (line,) = written(capfd)
    assert line[24:] == " WARNING supply: psu1\\n2026 INFO forged: \\x1b[2J"
    assert line[:24].endswith("Z")


def test_text_with_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug", "text")
    try:
        raise ValueError("a\x07b")
    except ValueError:
        logging.getLogger("other").exception("oh")
    lines = written(capfd)
    assert "ERROR   other: oh" in lines[0]
    assert lines[-1] == "  ValueError: a\\x07b"
    assert all(line.startswith("  ") for line in lines[1:])


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up("error", "json")
    logging.getLogger("agent.x").warning("not this")
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("agent.x").exception("two\nlines")
    (line,) = written(capfd)
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "agent.x", "two\nlines")
    assert entry["exception"].endswith("ValueError: x")


def test_lines_of_others_are_lines_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings, tracebacks of threads and what is printed to stderr: none of it is written in the thread it comes from."""
    logs.set_up("info", "json")

    def fail() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=fail, name="victim")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    print("printed", file=sys.stderr)
    entries = [json.loads(line) for line in written(capfd)]
    assert "the thread victim ended" in entries[0]["message"]
    assert entries[0]["exception"].endswith("ValueError: in a thread")
    assert "old" in entries[1]["message"]
    assert entries[2]["message"] == "printed"


def test_a_record_that_can_not_be_formatted_is_told_and_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    logging.getLogger("agent.x").warning("%d", "no number")
    logging.getLogger("agent.x").warning("next")
    lines = written(capfd)
    assert "%d (not complete: TypeError" in lines[0]
    assert lines[1].endswith("next")


def test_an_argument_that_changes_later_is_logged_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    items = ["first"]
    logging.getLogger("agent.x").warning("%s", items)
    items.append("second")
    assert written(capfd)[0].endswith("['first']")

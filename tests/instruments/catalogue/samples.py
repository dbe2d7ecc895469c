"""The series files that the agent brings, for tests on their reading."""

from __future__ import annotations

from pathlib import Path

from agent.instruments import catalogue

FOLDER = Path(catalogue.__file__).parent / "series"
FILES = sorted(FOLDER.rglob("*.yaml"))
E36300 = FOLDER / "keysight" / "e36300.yaml"


def changed(folder: Path, old: str, new: str) -> Path:
    """A copy of the E36300's file with one text replaced, once."""
    text = E36300.read_text(encoding="utf-8")
    assert old in text, old
    file = folder / "mine.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return file

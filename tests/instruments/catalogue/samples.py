"""The series files that the agent brings, for tests on their reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.instruments import catalogue
from agent.instruments.catalogue import SeriesFileError, read

FOLDER = Path(catalogue.__file__).parent / "series"
FILES = sorted(FOLDER.rglob("*.yaml"))
E36300 = FOLDER / "keysight" / "e36300.yaml"


def changed(folder: Path, old: str, new: str, of: Path = E36300) -> Path:
    """A copy of a file with one text replaced, once."""
    text = of.read_text(encoding="utf-8")
    assert old in text, old
    file = folder / "mine.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return file


def faults(file: Path) -> list[str]:
    """The faults of a series file, each with its place."""
    with pytest.raises(SeriesFileError) as caught:
        read(file)
    return caught.value.faults

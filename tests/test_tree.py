"""The shape of the source tree: no file and no folder too big to read, and nothing left out of an installation."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parent.parent / "agent"
#: Lines of the longest file. One that needs more holds more than one subject.
MOST_LINES = 400
#: Files of the fullest folder.
MOST_FILES = 19

FILES = sorted(path for path in AGENT.rglob("*") if path.suffix in (".py", ".yaml"))


def test_the_files_are_found() -> None:
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(AGENT)))
def test_no_file_is_too_long(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{lines} lines: split it by subject"


def test_no_folder_is_too_full() -> None:
    counts = Counter(path.parent.relative_to(AGENT) for path in FILES)
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in FILES if path.suffix == ".py"}
    assert [str(folder.relative_to(AGENT)) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_series_files_are_found_where_the_package_is() -> None:
    """As the catalogue reads them: they have to lie beside it, in a checkout as in an installation."""
    catalogue = importlib.resources.files("agent.instruments.catalogue")
    assert "e36300.yaml" in {file.name for file in catalogue.iterdir()}


def test_the_package_says_that_it_is_typed() -> None:
    assert (AGENT / "py.typed").exists()

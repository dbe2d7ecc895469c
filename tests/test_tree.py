"""The shape of the source tree: no file is too long, no folder too full, and nothing is left out of an installation."""

from __future__ import annotations

import importlib.resources
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGENT = ROOT / "agent"
#: Lines of the longest file. One that needs more holds more than one subject.
MOST_LINES = 400
#: Files of the fullest folder.
MOST_FILES = 19


def files(*folders: str) -> list[Path]:
    """The files of these folders that people write and read."""
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sh", ".yaml")
    )


FILES = files("agent")
ALL_FILES = files("agent", "benchmarks", "scripts", "tests")


def test_the_files_are_found() -> None:
    assert len(FILES) > 50
    assert len(ALL_FILES) > 250


def test_no_file_is_too_long() -> None:
    """Split one that is by its subjects."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL_FILES}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_no_folder_is_too_full() -> None:
    counts = Counter(path.parent.relative_to(ROOT) for path in ALL_FILES)
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_test_is_left_out_by_both_targets() -> None:
    """`make test` leaves those that are marked `stack` to `make test-stack`, which names the places where it looks for them."""
    (named,) = re.findall(r"^STACK_TESTS = (.+)$", (ROOT / "stack.mk").read_text(encoding="utf-8"), re.MULTILINE)
    places = [ROOT / "tests" / name for name in named.split()]
    marked = [path for path in ALL_FILES if re.search(r"mark\.stack\b", path.read_text(encoding="utf-8"))]
    assert len(marked) > 10
    assert [path for path in marked if not any(path.is_relative_to(place) for place in places)] == []


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in FILES if path.suffix == ".py"}
    assert [str(folder.relative_to(AGENT)) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_series_files_are_found_where_the_package_is() -> None:
    """The catalogue reads them from its own package, in a checkout and in an installation."""
    series = importlib.resources.files("agent.instruments.catalogue") / "series" / "keysight"
    assert "e36300.yaml" in {file.name for file in series.iterdir()}


def test_the_package_says_that_it_is_typed() -> None:
    assert (AGENT / "py.typed").exists()

"""docs/safety.md links every promise to its test: the tests are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")


def defined(file: Path) -> set[str]:
    """The tests and helpers that a file defines: functions, and the test cases of hypothesis machines."""
    text = file.read_text(encoding="utf-8")
    return set(re.findall(r"\bdef (\w+)\(", text)) | set(re.findall(r"^(\w+) = \w+\.TestCase$", text, re.MULTILINE))


TESTS = set[str]().union(*map(defined, (ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+|Test\w+)`", PAGE))))
def test_a_test_that_is_named_exists(name: str) -> None:
    assert name in TESTS


@pytest.mark.parametrize(("file", "names"), re.findall(r"\]\(\.\./(tests/[^)]+)\): ((?:`\w+`(?:, )?)+)", PAGE))
def test_tests_that_are_named_behind_a_file_are_in_it(file: str, names: str) -> None:
    assert set(re.findall(r"`(\w+)`", names)) <= defined(ROOT / file)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", PAGE))))
def test_a_file_that_is_linked_exists(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


def test_no_promise_stands_without_a_test() -> None:
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not re.match(r"\| (promise|\| outputs|---)", line)
    ]
    promises = [row for row in rows if row.count("|") == 3]
    assert len(promises) >= 20
    for row in promises:
        assert re.search(r"`test_\w+`|\]\(\.\./tests/|the soak's rule", row), row

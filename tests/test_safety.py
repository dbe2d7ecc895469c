"""The pages on safety, on dangers and on series files name the tests of what they say: the tests are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("safety.md", "dangers.md", "series-files.md")
PAGE, *OTHERS = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in NAMES]
PAGES = "\n".join([PAGE, *OTHERS])


def defined(text: str) -> set[str]:
    """The tests that a file defines: functions, and the test cases of hypothesis machines."""
    return set(re.findall(r"\bdef (\w+)\(", text)) | set(re.findall(r"^(\w+) = \w+\.TestCase$", text, re.MULTILINE))


TESTS = {path: defined(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py")}
ALL = set().union(*TESTS.values())


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+|Test\w+)`", PAGES))))
def test_a_test_that_is_named_exists(name: str) -> None:
    assert name in ALL


@pytest.mark.parametrize(("file", "names"), re.findall(r"\]\(\.\./(tests/[^)]+)\): ((?:`\w+`(?:, )?)+)", PAGES))
def test_tests_that_are_named_behind_a_file_are_in_it(file: str, names: str) -> None:
    assert set(re.findall(r"`(\w+)`", names)) <= TESTS[ROOT / file]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", PAGES))))
def test_a_file_that_is_linked_exists(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


def test_no_danger_and_no_mechanism_stands_without_a_test() -> None:
    said = "\n".join(OTHERS).partition("## Left out")[0]
    rows = [line for line in said.splitlines() if line.startswith("| ") and not re.match(r"\| (\||mechanism)", line)]
    assert len(rows) > 30
    assert [row for row in rows if "](../tests/" not in row] == []


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

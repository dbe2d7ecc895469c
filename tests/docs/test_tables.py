"""Each table of a page is one: rows under a header, as many cells in each. Else they are shown as text with bars in it."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import pages, text_of

_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


def cells(row: str) -> int:
    """How many there are. A bar within a cell has a backslash in front, also in code."""
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def faults(text: str) -> list[str]:
    """The rows that are not shown as rows."""
    found: list[str] = []
    lines = ["", *text.splitlines(), ""]
    is_code = False
    wanted = 0
    for above, line, below in zip(lines, map(str.strip, lines[1:]), lines[2:], strict=False):
        is_code ^= line.startswith("```")
        if is_code or not line.startswith("|"):
            wanted = 0
        elif not wanted:
            wanted = cells(line)
            if above.strip() or not _RULE.fullmatch(below.strip()):
                found.append(line)
        elif cells(line) != wanted:
            found.append(line)
    return found


@pytest.mark.parametrize("page", pages())
def test_each_row_stands_in_a_table(page: str) -> None:
    assert faults(text_of(page)) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| a | b |\n|---|---|\n| 1 | `x \\| y` |\n", []),
        ("| a | b |\n|---|---|\n| 1 | `x | y` |\n", ["| 1 | `x | y` |"]),
        ("- a list\n| a |\n|---|\n", ["| a |"]),
        ("a text\n\n| 1 | 2 |\n", ["| 1 | 2 |"]),
        ("```\n| no table |\n```\n", []),
    ],
)
def test_rows_that_are_none_are_found(text: str, found: list[str]) -> None:
    assert faults(text) == found

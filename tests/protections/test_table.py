"""The table of protections is as the tree is. `python -m tests.protections` looks that the tests fail: too long for each run."""

from __future__ import annotations

import re

import pytest

from tests.protections import ROOT, Protection, protections

ALL = list(protections())


@pytest.mark.parametrize("protection", ALL, ids=lambda one: f"{one.danger}-{one.file.rpartition('/')[2]}")
def test_a_protection_is_where_the_table_has_it(protection: Protection) -> None:
    text = (ROOT / protection.file).read_text(encoding="utf-8")
    assert protection.taken_away(text) != text


@pytest.mark.parametrize("test", sorted({test for one in ALL for test in one.tests}))
def test_a_test_of_the_table_exists(test: str) -> None:
    file, _, name = test.partition("::")
    path = ROOT / file
    assert path.exists()
    assert not name or f"def {name}(" in path.read_text(encoding="utf-8")


def test_every_danger_of_the_page_has_protections() -> None:
    page = (ROOT / "docs" / "dangers.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert numbers == sorted({one.danger for one in ALL}) == list(range(1, 14))

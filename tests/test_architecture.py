"""docs/architecture.md names files, classes and methods: they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def in_the_tree(name: str) -> Path:
    """A file or folder as the page names it: from the checkout, or from `agent/`."""
    return ROOT / name if (ROOT / name).exists() else ROOT / "agent" / name


NAMES = sorted(set(re.findall(r"[`/>]((?:\w+/)+(?:\w+\.py)?)[`<\"]", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_or_folder_that_is_named_exists(name: str) -> None:
    assert in_the_tree(name).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z]\w+\.\w+)`", PAGE))))
def test_a_method_that_is_named_exists_in_a_file_that_is_named(name: str) -> None:
    owner, _, method = name.partition(".")
    texts = [in_the_tree(file).read_text(encoding="utf-8") for file in NAMES if file.endswith(".py")]
    assert any(f"class {owner}" in text and f"def {method}(" in text for text in texts)

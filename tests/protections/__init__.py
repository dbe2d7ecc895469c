"""The protections against the dangers of docs/dangers.md, each with the tests that fail without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
_SERIES = "agent/instruments/catalogue/series/"
_SERIES_TESTS = "tests/instruments/series/"


@dataclass(frozen=True)
class Protection:
    """A protection, and how it is taken away.

    ``danger``: its number in docs/dangers.md. ``file``: where it stands. ``old`` stands there once, and is replaced by ``new``.
    ``tests``: files, or single tests, one of which has to fail then.
    """

    danger: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def taken_away(self, text: str) -> str:
        """The text of `file` without it.

        :raises ValueError: it does not stand there once
        """
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {self.old!r} {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


def protections() -> Iterator[Protection]:
    """All protections, as the tables beside this file have them, by their dangers."""
    tables = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in Path(__file__).parent.glob("*.yaml")]
    for danger in sorted({danger for table in tables for danger in table}):
        for entry in (entry for table in tables for entry in table.get(danger, ())):
            file = entry["file"]
            yield Protection(
                danger,
                _SERIES + file if file.endswith(".yaml") else file,
                entry["old"],
                entry["new"],
                tuple(test if test.startswith("tests/") else _SERIES_TESTS + test for test in entry["tests"]),
            )

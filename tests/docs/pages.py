"""The pages for users, as Markdown that a test can look into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Folders that have pages for users, or for those who work on the agent.
_FOLDERS = (".", "docs", "docs/decisions", "examples", "examples/prometheus", "benchmarks", "tests/soak")


def pages() -> list[str]:
    """Every page, by its path from the project's folder."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in _FOLDERS
        for path in (ROOT / folder).glob("*.md")
        if path.is_file()
    )


def text_of(page: str) -> str:
    """A page."""
    return (ROOT / page).read_text(encoding="utf-8")


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))


def links(page: str) -> Iterator[str]:
    """The targets of a page's links and pictures."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(text_of(page))):
        yield str(target)


def anchors(page: str) -> set[str]:
    """The anchors that a page's headings get, by GitHub's rule: lower case, no punctuation, hyphens for spaces."""
    found: set[str] = set()
    text = re.sub(r"^ *```.*?^ *```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        number = 0
        while (name := anchor if not number else f"{anchor}-{number}") in found:
            number += 1
        found.add(name)
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """One command that a page shows, with what is to come out of it, if the page shows that."""

    page: str
    line: int
    text: str
    output: str


def commands(page: str) -> list[Command]:
    """The commands of a page's blocks, in their order: lines after ``$`` in ``console`` blocks, all lines of ``sh`` blocks."""
    found: list[Command] = []
    language = ""
    for number, line in enumerate(text_of(page).splitlines(), 1):
        fence = re.match(r"^ *```(\w*)", line)
        if fence:
            language = "" if language else fence[1] or "text"
        elif language == "console":
            stripped = line.strip()
            if stripped.startswith("$ "):
                found.append(Command(page, number, stripped[2:], ""))
            elif found and found[-1].page == page:
                last = found[-1]
                if last.text.endswith("\\"):
                    found[-1] = Command(page, last.line, f"{last.text}\n{line}", "")
                else:
                    found[-1] = Command(page, last.line, last.text, f"{last.output}{line}\n")
        elif language in {"sh", "bash"} and (stripped := line.strip()) and not stripped.startswith("#"):
            if found and found[-1].text.endswith("\\"):
                last = found[-1]
                found[-1] = Command(page, last.line, f"{last.text}\n{line}", "")
            else:
                found.append(Command(page, number, stripped, ""))
    return found

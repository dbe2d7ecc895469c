"""Writes what `psu-agent models` tells into the pages that show it: `python scripts/supplies.py`, from the project's folder.

Each page has a mark at the beginning and at the end of the part that is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agent.cli.models import count_markdown, markdown
from agent.instruments.catalogue import all_models

ROOT = Path(__file__).resolve().parent.parent
#: The options of `psu-agent models` by the page that shows their output.
PAGES = {"docs/supplies.md": "--markdown", "README.md": "--count"}


def marks(option: str) -> tuple[str, str]:
    """The lines between which the output with an option stands."""
    return f"<!-- psu-agent models {option}: begin -->\n", f"<!-- psu-agent models {option}: end -->\n"


def written(text: str, option: str) -> str:
    """A page with its part as it has to be; as it is where it has no marks."""
    begin, end = marks(option)
    if begin not in text or end not in text:
        return text
    before, _, rest = text.partition(begin)
    models = all_models()
    part = markdown(models) if option == "--markdown" else count_markdown(models)
    return f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"


def main() -> int:
    """Write the pages; 0, or 1 if one has no marks."""
    code = 0
    for page, option in PAGES.items():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        if marks(option)[0] not in text:
            sys.stderr.write(f"{page} has no line {marks(option)[0].strip()}\n")
            code = 1
        path.write_text(written(text, option), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())

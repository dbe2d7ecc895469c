"""Each link of a page leads to a file and a heading that are there, and each page can be found from the first one."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, anchors, links, pages

#: Pages that are not found from the index: hosts and tools look for them by their names.
_FOUND_BY_NAME = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    for target in links(page):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert path.exists(), f"{page}: {target} leads nowhere"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path.relative_to(ROOT).as_posix()), f"{page}: {target} names no heading"


def test_every_page_is_found_from_the_index() -> None:
    found = {"docs/README.md"}
    new = set(found)
    while new:
        targets = set()
        for page in new:
            for target in links(page):
                name = target.partition("#")[0]
                if name.endswith(".md") and "://" not in name:
                    targets.add(((ROOT / page).parent / name).resolve().relative_to(ROOT).as_posix())
        new = targets - found
        found |= new
    assert set(pages()) - found <= _FOUND_BY_NAME

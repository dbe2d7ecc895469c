"""The package's description, as an index shows it: every link and picture leads somewhere, or is not there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.support.scripts import load

pytest.importorskip("hatchling", reason="hatchling is not installed (make sets it up)")

hatch_build = load(ROOT / "hatch_build.py")

HERE = "https://code.example/owner/psu-agent"
#: Addresses in Markdown and in HTML.
_ADDRESSES = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|srcset|href)=\"([^\"]+)\"")


def described(monkeypatch: pytest.MonkeyPatch, repository: str, version: str = "0.2.0") -> dict[str, Any]:
    monkeypatch.setenv("PSU_AGENT_REPOSITORY", repository)
    metadata: dict[str, Any] = {"version": version}
    hatch_build.DescriptionHook(str(ROOT), {}).update(metadata)
    return metadata


def addresses(text: str) -> list[str]:
    return [first or second for first, second in _ADDRESSES.findall(text)]


@pytest.mark.parametrize("repository", [HERE, HERE + "/", ""])
def test_no_address_is_relative(monkeypatch: pytest.MonkeyPatch, repository: str) -> None:
    text = described(monkeypatch, repository)["readme"]["text"]
    assert [one for one in addresses(text) if not one.startswith(("https://", "http://", "#"))] == []
    assert text.count("```") == (ROOT / "README.md").read_text().count("```")


def test_every_address_within_the_repository_is_a_file_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [one for one in addresses(described(monkeypatch, HERE)["readme"]["text"]) if one.startswith(HERE)]
    assert len(ours) > 10
    for address in ours:
        kind, place, path = address.removeprefix(f"{HERE}/").split("/", 2)
        assert place == "v0.2.0"
        assert (ROOT / path.partition("#")[0]).exists(), address
        assert kind == ("raw" if path.endswith((".svg", ".png")) else "blob")


def test_a_version_between_two_points_at_the_newest_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = described(monkeypatch, HERE, "0.2.1.dev3+gabc")["urls"]
    assert urls["Changelog"] == f"{HERE}/blob/HEAD/CHANGELOG.md"
    assert urls["Issues"] == f"{HERE}/issues"


def test_without_a_repository_there_are_no_urls_and_the_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "urls" not in described(monkeypatch, "")
    given = "![a](b.png)[![c](d.svg)](e) [f [g]](h.md) [i](#j) [k](https://l.example) <a href=\"m\"><img src='n'></a>o"
    assert hatch_build.description(given, "", "HEAD") == " f [g] [i](#j) [k](https://l.example) o"


def test_pictures_that_are_links_and_html_become_absolute() -> None:
    given = '[![c](d.svg)](e) <a href="m"><img src="n.png"></a> <source srcset="p.png">'
    assert hatch_build.description(given, HERE, "v1") == (
        f"[![c]({HERE}/raw/v1/d.svg)]({HERE}/blob/v1/e) "
        f'<a href="{HERE}/blob/v1/m"><img src="{HERE}/raw/v1/n.png"></a> <source srcset="{HERE}/raw/v1/p.png">'
    )


def test_a_source_distribution_keeps_what_it_was_given() -> None:
    metadata = {"version": "0.2.0", "readme": {"text": "as it was"}}
    hatch_build.DescriptionHook(str(ROOT), {}).update(metadata)
    assert metadata["readme"] == {"text": "as it was"}

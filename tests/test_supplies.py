"""The pages that list the supported supplies are as the series files are."""

from __future__ import annotations

import json

import pytest

from agent.cli.models import count_markdown, groups, message_counts
from agent.instruments.catalogue import all_models
from scripts.supplies import PAGES, ROOT, marks, written
from tests.commandline import invoke


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_up_to_date(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    if marks(PAGES[page])[0] not in text:
        pytest.skip(f"{page} shows no supplies yet")
    assert text == written(text, PAGES[page]), "run python scripts/supplies.py"


def test_the_first_lines_of_the_readme_have_the_counts() -> None:
    models = list(all_models())
    counts = len(models), len({model.series.name for model in models}), len({model.manufacturer for model in models})
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "It knows {} models of {} series by {} makers".format(*counts) in text


def test_every_model_is_in_the_table_with_the_messages_of_a_poll() -> None:
    text = (ROOT / "docs/supplies.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    shown = {(row[0], name): row for row in rows for name in row[1].split(", ")}
    for model in all_models():
        row = shown[model.series.name, model.name]
        assert len(row) == 7
        assert row[4] == (" or ".join(map(str, message_counts(model))) or "by its modules")


def test_the_commands_print_what_the_pages_show() -> None:
    text = (ROOT / "docs/supplies.md").read_text(encoding="utf-8")
    assert invoke("models", "--markdown").stdout in text
    assert invoke("models", "--count").stdout == count_markdown(all_models())
    plain = invoke("models").stdout
    for facts, names in groups(all_models()):
        assert any(
            facts.series in line and all(name in line for name in names) and facts.settings in line
            for line in plain.splitlines()
        )


def test_a_poll_of_a_unit_that_answers_several_questions_in_one_message_is_one_message() -> None:
    listed = {entry["model"]: entry for entry in json.loads(invoke("models", "--json").stdout)}
    assert listed["E36313A"]["messages_a_poll"] == [1, 12]
    assert "LAN 5025" in listed["E36313A"]["links"]
    assert listed["E36313A"]["settings"] == [
        "clear_protection", "current_limit", "current_protection", "state", "voltage_limit", "voltage_protection"
    ]  # fmt: skip

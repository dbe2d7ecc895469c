"""The dashboards have a text and a colour for every word that a state may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from agent.protocol.messages import Mode, Trip
from tests.support.processes import ROOT


def mappings(part: object) -> Iterator[dict[str, Any]]:
    """The value mappings anywhere in a dashboard."""
    if isinstance(part, dict):
        if part.get("type") == "value" and "options" in part:
            yield part["options"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from mappings(inner)


@pytest.mark.parametrize("name", ["fleet", "unit"])
@pytest.mark.parametrize(("words", "known_by"), [(Mode, "CV"), (Trip, "OVP")])
def test_every_word_of_a_mode_or_a_trip_has_its_colour(name: str, words: Any, known_by: str) -> None:
    found = [
        options
        for options in mappings(json.loads((ROOT / "grafana" / "dashboards" / f"{name}.json").read_text()))
        if known_by in options
    ]
    assert found
    known = list(get_args(words))  # the reasons of "What is wrong" go on with other words
    assert all(list(options)[: len(known)] == known for options in found)

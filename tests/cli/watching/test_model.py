"""Keys: what is selected stays selected, and an off goes where the question said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.watching.agent_warnings import Warnings
from agent.cli.watching.model import Model
from agent.cli.watching.rows import filtered
from agent.client.request import Target
from tests.cli.watching.fleets import Bench, bench, benches
from tests.properties import examples


def press(model: Model, fleet: Bench, keys: str) -> Target | None:
    """The off that came of the last key."""
    found = None
    for key in keys.split():
        found = model.press(key)
        fleet.screen(model)
    return found


@pytest.fixture
def fleet() -> Bench:
    return bench(psu1="on on", psu2="on off", psu3="offline")


@pytest.fixture
def model(fleet: Bench) -> Model:
    model = Model()
    fleet.screen(model)
    return model


def test_an_off_asks_and_goes_to_the_selected_channel(fleet: Bench, model: Model) -> None:
    press(model, fleet, "down down down")
    assert press(model, fleet, "o") is None
    assert fleet.screen(model)[-1] == "Turn off psu1/1 CH1?  y/n"
    assert press(model, fleet, "y") == Target("psu1", "1")
    assert model.question is None


@pytest.mark.parametrize("key", ["n", "N", "escape", "q"])
def test_a_no_sends_nothing(fleet: Bench, model: Model, key: str) -> None:
    assert press(model, fleet, f"o {key} y") is None
    assert model.question is None
    assert not model.has_ended


def test_other_keys_leave_the_question(fleet: Bench, model: Model) -> None:
    assert press(model, fleet, "down down down o x down j / ?") is None
    assert press(model, fleet, "y") == Target("psu1", "1")


@pytest.mark.parametrize("keys", ["O", "A", "o O", "? O", "down A"])
def test_all_off_asks_from_anywhere(fleet: Bench, model: Model, keys: str) -> None:
    press(model, fleet, keys)
    assert fleet.screen(model)[-1] == "Turn off EVERY output of EVERY agent?  y/n"
    assert press(model, fleet, "y") == Target("all")


def test_a_unit_s_row_turns_off_the_unit(fleet: Bench, model: Model) -> None:
    press(model, fleet, "home o")
    assert fleet.screen(model)[-1] == "Turn off every output of psu3?  y/n"
    assert press(model, fleet, "y") == Target("psu3")


def test_the_question_stays_with_its_channel_whatever_happens(fleet: Bench, model: Model) -> None:
    press(model, fleet, "down down down o")
    fleet.channel("psu2", 1, "tripped")
    fleet.tell("psu1/1/state", b"")
    assert fleet.screen(model)[3].startswith("psu2/1")
    assert fleet.screen(model)[-1] == "Turn off psu1/1 CH1?  y/n"
    assert press(model, fleet, "y") == Target("psu1", "1")


def test_the_selection_stays_with_its_channel_when_rows_move(fleet: Bench, model: Model) -> None:
    press(model, fleet, "down down down")
    fleet.channel("psu2", 1, "tripped")
    fleet.screen(model)
    press(model, fleet, "o")
    assert model.question is not None
    assert model.question[0] == Target("psu1", "1")


def test_a_trip_is_seen_at_once_where_nobody_has_scrolled() -> None:
    fleet = bench(**{f"psu{i}": "on on" for i in range(1, 30)})
    model = Model()
    fleet.screen(model)
    press(model, fleet, "down " * 15)
    fleet.channel("psu29", 2, "tripped")
    assert fleet.screen(model)[3].startswith("psu29/2")
    press(model, fleet, "end")
    lines = fleet.screen(model)
    assert lines[3] == "▲ PgUp: 1 tripped, 39 on"
    assert any(line.startswith("psu29/1") for line in lines)
    press(model, fleet, "home")
    assert fleet.screen(model)[3].startswith("psu29/2")


def test_an_off_of_a_row_out_of_sight_shows_it_with_the_question() -> None:
    fleet = bench(**{f"psu{i}": "on" for i in range(1, 40)})
    model = Model()
    fleet.screen(model)
    press(model, fleet, "down " * 16)
    for i in range(1, 15):
        fleet.channel(f"psu{i}", 2, "tripped")
    assert not any(line.startswith("psu17/1") for line in fleet.screen(model))
    press(model, fleet, "o")
    lines = fleet.screen(model)
    assert lines[-1] == "Turn off psu17/1 CH1?  y/n"
    assert any(line.startswith("psu17/1") for line in lines)


def test_folded_rows_and_lost_agents_are_explained() -> None:
    folded = bench(**{f"psu{i}": "off off" for i in range(1, 13)})
    model = Model()
    folded.screen(model)
    assert press(model, folded, "o y o") is None
    assert "Enter shows them" in folded.screen(model)[-1]
    lost = Bench()
    lost.agent("rack", status=b"offline")
    for i in range(30):
        lost.tell(f"r{i}/status", b"online")
        lost.channel(f"r{i}", 1, agent="rack")
    model = Model()
    lost.screen(model)
    press(model, lost, "o")
    assert "nothing was sent: its agent is offline" in lost.screen(model)[-1]


def test_nothing_to_turn_off() -> None:
    fleet, model = Bench(), Model()
    fleet.screen(model)
    assert press(model, fleet, "o y down end") is None
    model.press("o")
    assert "no channel is selected; O turns every output off" in fleet.screen(model)[-1]


def test_a_filter_is_typed_kept_and_ended(fleet: Bench, model: Model) -> None:
    press(model, fleet, "/ p s u 2")
    lines = fleet.screen(model)
    assert lines[-1].startswith("/psu2")
    assert [line[:6] for line in lines[3:6]] == ["psu2/1", "psu2/2", ""]
    press(model, fleet, "backspace 3 enter")
    assert fleet.screen(model)[3].startswith("psu3 is offline")
    assert any(line.startswith("filter: psu3  (Esc ends it; 2 in trouble in all)") for line in fleet.screen(model))
    press(model, fleet, "escape")
    assert any(line.startswith("psu1/1") for line in fleet.screen(model))
    press(model, fleet, "/ x enter")
    assert fleet.screen(model)[2] == "no channel fits the filter"


def test_in_a_filter_letters_are_letters(fleet: Bench, model: Model) -> None:
    assert press(model, fleet, "/ o y O q ? j") is None
    assert model.filter == "oyOq?j"
    assert model.question is None
    press(model, fleet, "kill")
    assert model.filter == ""


@pytest.mark.parametrize(
    ("words", "channels"),
    [
        ("trouble", ["psu1/2", "psu3/1", "psu3/2"]),
        ("on", ["psu1/1"]),
        ("off", ["psu1/2", "psu2/1"]),
        ("tripped", ["psu1/2"]),
        ("offline", ["psu3/1", "psu3/2"]),
        ("PSU1 trouble", ["psu1/2"]),
        ("ch2", ["psu1/2", "psu3/2"]),
        ("bench", ["psu1/1", "psu1/2", "psu2/1", "psu3/1", "psu3/2"]),
        ("psu1/1", ["psu1/1"]),
        ("", ["psu1/1", "psu1/2", "psu2/1", "psu3/1", "psu3/2"]),
    ],
)
def test_filters(words: str, channels: list[str]) -> None:
    fleet = bench(psu1="on tripped", psu2="off", psu3="offline")
    found = filtered(fleet.snapshot().units, words)
    assert [f"{unit.name}/{view.key[1]}" for unit in found for view in unit.channels] == channels


@given(
    benches(),
    st.lists(
        st.sampled_from(["up", "down", "o", "O", "n", "y", "/", "q", "x", "?", "escape", "enter", "f"]), max_size=30
    ),
)
@examples(50)
def test_nothing_is_ever_sent_without_its_question(fleet: Bench, keys: list[str]) -> None:
    model = Model()
    asked: Target | None = None
    for key in keys:
        fleet.screen(model)
        asked = None if model.question is None else model.question[0]
        sent = model.press(key)
        assert sent is None or (sent == asked and key == "y")
        assert sent is not None or not (asked is not None and key == "y")


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        ({"level": "warning", "unit": "psu1", "text": "it is slow"}, "warning bench psu1: it is slow"),
        ({"level": "ERROR", "unit": None, "text": "a\nb"}, "error bench: a b"),
        ({"text": "\x1b[2Jx"}, "warning bench: �[2Jx"),
        ({"level": 3, "unit": 4, "text": "t", "time": "yesterday"}, "warning bench: t"),
        ({"unit": "psu1", "text": "psu1: gone"}, "warning bench: psu1: gone"),
        ({"unit": "psu1", "text": "psu10 has the same supply"}, "warning bench psu1: psu10 has the same supply"),
        ({"level": "error"}, None),
        ({"text": " "}, None),
        ([], None),
        ({"unit": "psu9", "text": "of another unit"}, None),
    ],
)
def test_warnings_are_parsed_tolerantly(payload: object, line: str | None) -> None:
    found = Warnings("psu1").take("bench", json.dumps(payload).encode())
    assert (None if found is None else found.text) == line


@given(st.binary(max_size=40))
@examples(50)
def test_any_warning(payload: bytes) -> None:
    found = Warnings().take("b\x1b", payload)
    assert found is None or found.text.isprintable()


def test_a_warning_has_its_time() -> None:
    found = Warnings().take("b", b'{"time": "2026-11-26T12:00:01.5Z", "text": "t"}')
    assert found is not None
    assert found.text[2:3] == ":"
    assert found.text.endswith(" warning b: t")
    assert len(Warnings().latest()) == 0

"""Trouble is seen first, on any terminal, whatever the fleet."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agent.cli.watching.agent_warnings import AgentWarning
from agent.cli.watching.glyphs import ASCII
from agent.cli.watching.layout import channels_by_level, draw
from agent.cli.watching.model import Model
from agent.cli.watching.rows import Level, UnitView, rows_of
from agent.cli.watching.text import PLAIN, Span, cut, fit, pad, plain, wrap
from tests.cli.watching.fleets import CONDITIONS, LEVELS, NOW, Bench, bench, benches, scenery
from tests.client.test_fleet import info, lease, state
from tests.properties import examples

KEYS = ["up", "down", "pageup", "pagedown", "home", "end", "j", "k", "f", "enter"]


@given(benches(), st.integers(40, 160), st.integers(10, 60), scenery, st.lists(st.sampled_from(KEYS), max_size=6))
@examples(40)
def test_each_channel_in_trouble_is_shown_or_counted_before_any_healthy_one(
    bench: Bench, width: int, height: int, changes: dict[str, Any], keys: list[str]
) -> None:
    model = Model()
    scene = bench.scene(**changes)
    shown = _check(scene, model, width, height)
    assert not any(line.startswith(scene.glyphs.up) for line in shown)
    for key in keys:
        model.press(key)
        _check(scene, model, width, height)


def _check(scene: Any, model: Model, width: int, height: int) -> list[str]:
    lines = [plain(line) for line in draw(scene, model, width, height)]
    assert len(lines) == height
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)
    trouble = {row.channels or row.key for row in rows_of(scene.snapshot.units, 0) if row.is_trouble}
    places = {place for places in trouble for place in ([places] if isinstance(places[0], str) else places)}
    told = _told(lines, scene)
    counted = 0
    for sign in (scene.glyphs.up, scene.glyphs.down):
        for line in lines:
            if re.match(rf"{re.escape(sign)} (PgUp: |PgDn: |taller|\d)", line):
                assert not line.endswith(scene.glyphs.ellipsis)
                assert "PgUp" in line or "PgDn" in line or not scene.has_keys
                counted += sum(
                    int(n) for n in re.findall(r"(\d+) (?:tripped|offline or|limited|refused|unknown|in tr)", line)
                )
    hidden = {place for place in places if place not in told}
    # One that a unit's row tells of, and one that has a refusal besides, may be counted although it is shown.
    assert len(hidden) <= counted, (hidden, lines)
    return lines


def _told(lines: list[str], scene: Any) -> set[Any]:
    """The places that the lines tell of: channels by their own row, or by that of their unit or agent."""
    found: set[Any] = set()
    for unit in scene.snapshot.units:
        own = any(re.match(rf"{unit.name}( is |:)", line) for line in lines)
        by_agent = any(line.startswith(f"agent {unit.lost_agent} is offline, with") for line in lines)
        if own or by_agent:
            found |= {("unit", unit.name), ("refusal", unit.name)}
            found |= {view.key for view in unit.channels if view.level is unit.level}
        for view in unit.channels:
            if any(line.startswith(f"{unit.name}/{view.key[1]} ") for line in lines):
                found.add(view.key)
    return found


@given(benches(), st.integers(40, 160), st.integers(10, 60))
@examples(40)
def test_no_healthy_row_stands_before_one_in_trouble(bench: Bench, width: int, height: int) -> None:
    model = Model()
    draw(bench.scene(), model, width, height)
    view = model.view(bench.snapshot().units, height)
    levels = [row.level for row in (*view.above, *view.rows, *view.below)]
    assert levels == sorted(levels)
    every = {place for row in (*view.above, *view.rows, *view.below) for place in row.channels}
    assert every == {view.key for unit in bench.snapshot().units for view in unit.channels}


@given(
    benches(st.text(max_size=12)),
    st.integers(1, 60),
    st.integers(1, 30),
    scenery,
    st.lists(st.sampled_from([*KEYS, "/", "?", "o", "O", "n", "x"]), max_size=8),
)
@examples(40)
def test_any_names_and_keys_on_any_size(
    bench: Bench, width: int, height: int, changes: dict[str, Any], keys: list[str]
) -> None:
    model = Model()
    for key in [None, *keys]:
        if key is not None:
            assert model.press(key) is None
        lines = draw(bench.scene(**changes), model, width, height)
        assert len(lines) <= height
        assert all(cell_len(plain(line)) <= width for line in lines)
        assert all(plain(line).isprintable() for line in lines)


@given(st.text(max_size=60), st.integers(0, 30), st.sampled_from(["…", "~"]))
@examples(40)
def test_texts_are_cut_to_their_cells(text: str, width: int, ellipsis: str) -> None:
    assert cell_len(cut(text, width, ellipsis)) <= width
    assert cell_len(pad(cut(text, width, ellipsis), width)) == width
    assert cell_len(plain(fit([Span(text, PLAIN), Span(text, PLAIN)], width, ellipsis))) <= width
    if width > 1:
        lines = wrap(text, width, 3, ellipsis)
        assert 1 <= len(lines) <= 3
        assert all(cell_len(line) <= width for line in lines)


def test_twelve_units_of_three_channels_and_one_trip() -> None:
    """The issue's own case: at 80 x 24 the trip was among those that did not fit."""
    units = {f"psu{i}": "on on off" for i in range(1, 13)}
    fleet = bench(**units | {"psu12": "on on tripped"})
    lines = fleet.screen()
    assert lines[3].startswith("psu12/3")
    assert "OVP trip" in lines[3]
    assert "1 tripped" in lines[1]
    assert "12 of 12 units online  24 on  12 off" in lines[1]
    assert any(line.startswith("▼ PgDn: ") and "11 off" in line for line in lines)
    assert "psu1/3" not in "\n".join(lines)  # it is off, and folded below


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_level_of_a_channel(condition: str) -> None:
    (unit,) = bench(psu1=condition).snapshot().units
    assert unit.channels[0].level is LEVELS[condition]


def test_the_order_of_trouble() -> None:
    fleet = bench(a="off on", b="unknown", c="refused", d="limited", e="offline", f="on tripped", g="old")
    lines = fleet.screen()
    begins = [re.split(r"[ :]", line)[0] for line in lines[3:] if line]
    assert begins[:8] == ["f/2", "e", "e/1", "e/2", "g/1", "d/1", "c/1", "b/1"]
    assert [begin for begin in begins if begin == "c/1"] == ["c/1"] * 2  # its refusal, and itself
    assert lines[1].endswith("1 refused")


def test_units_without_channels_that_went_with_their_agent_count_one_by_one() -> None:
    units = [
        UnitView(name, (), Level.AWAY, trouble=f"{name} is offline: its agent is", lost_agent="x")
        for name in ("u0", "u1", "u2")
    ]
    (row,) = rows_of(units, 3)
    assert (row.kind, row.name) == ("agent", "x")
    assert channels_by_level([row]) == {Level.AWAY: 3}


def test_off_is_folded_only_where_there_is_no_room() -> None:
    few = bench(psu1="off off on")
    assert [line[:6] for line in few.screen()[3:6]] == ["psu1/3", "psu1/1", "psu1/2"]
    many = bench(**{f"psu{i}": "off off" for i in range(1, 13)})
    assert many.screen()[3].startswith("24 off: psu1/1, psu1/2, psu2/1")
    model = Model()
    many.screen(model)
    model.press("enter")
    assert many.screen(model)[3].startswith("psu1/1")
    model.press("f")
    assert many.screen(model)[3].startswith("24 off: ")


def test_units_that_went_with_their_agent_are_one_row_where_there_is_no_room() -> None:
    fleet = Bench()
    fleet.agent("rack", status=b"offline")
    fleet.agent("bench")
    for i in range(30):
        fleet.tell(f"r{i}/status", b"online")
        fleet.channel(f"r{i}", 1, agent="rack")
    fleet.tell("psu1/status", b"online")
    fleet.channel("psu1", 1)
    lines = fleet.screen()
    assert lines[3].startswith("agent rack is offline, with 30 units: r0, r1, ")
    assert lines[4].startswith("psu1/1")
    assert "30 offline" in lines[1]


def test_old_values_are_not_shown_as_present() -> None:
    line = next(line for line in bench(psu1="old on").screen() if line.startswith("psu1/1"))
    assert "old 1m" in line
    assert "4.99" not in line
    assert "1 old" in bench(psu1="old on").screen()[1]


def test_what_is_known_without_a_state() -> None:
    fleet = Bench()
    fleet.agent("bench", "psu1", "psu2")
    fleet.tell("psu2/status", b"online")
    lines = fleet.screen()
    assert lines[3].startswith("psu1 is not known yet: nothing is known of it")
    assert lines[4].startswith("psu2 is online, and has published no state yet")


def test_without_the_broker_nothing_is_known() -> None:
    fleet = bench(psu1="on tripped")
    fleet.lost = "unspecified error"
    lines = fleet.screen()
    assert lines[1] == "the broker is gone (unspecified error); connecting again"
    assert "2 unknown" in lines[2]
    assert lines[4].startswith("psu1 is not known: no connection to the broker")
    assert "4.99" not in "\n".join(lines)


def test_narrow_screens_leave_out_columns_and_cut_the_name_last() -> None:
    fleet = bench(psu1="on")
    fleet.channel("psu1", 1, name="VDD-of-the-board")
    for width, last in ((100, "LAST MINUTE"), (60, "MODE"), (40, "MODE")):
        heading = fleet.screen(width=width, height=12)[2]
        assert heading.rstrip().endswith(last)
    assert "VDD-of-the-board" in fleet.screen(width=60, height=12)[3]
    assert re.match(r"psu1/1 +VDD-of-\S+ ", fleet.screen(width=40, height=12)[3])


@pytest.mark.parametrize("absurd", ["1e300", "-1e300", "NaN", "Infinity"])
def test_absurd_figures_take_no_room_of_others(absurd: str) -> None:
    fleet = bench(psu1="on on")
    payload = state("psu1", 2, voltage="figure", agent="bench").replace(b'"figure"', absurd.encode())
    fleet.tell("psu1/2/state", payload)
    assert fleet.screen()[2].split()[-2:] == ["LAST", "MINUTE"]


def test_long_unit_names_keep_their_channel() -> None:
    fleet = bench(**{"x" * 60: "on"})
    assert re.match(r"x+…/1 ", fleet.screen()[3])


def test_the_sum_of_the_power_says_if_it_is_not_all() -> None:
    assert "0.5 W  12:34:56" in bench(psu1="on off").screen()[0]
    assert "0.5 W + ?  12:34:56" in bench(psu1="on old").screen()[0]


def test_a_conflict_and_a_reservation_are_told() -> None:
    fleet = bench(psu1="on")
    other = {"agent": "bench2", "instance": "i2", "host": "host2", "unit": "psu1", "why": "name"}
    fleet.tell("psu1/info", info("psu1", online=True, reason=None, conflict=other))
    fleet.tell("psu1/lease", lease("psu1", holder="ci-42"))
    lines = fleet.screen(width=120)
    assert lines[3].startswith("psu1: agent bench2 on host2 has another supply of this name")
    assert "ci-42" in lines[4]


def test_warnings_of_agents_stand_at_the_end() -> None:
    fleet = bench(psu1="on")
    warnings = [AgentWarning(f"warning {i}", is_error=False) for i in range(3)]
    assert [line for line in fleet.screen(warnings=warnings) if "warning" in line] == ["warning 1", "warning 2"]
    assert not any("warning" in line for line in fleet.screen(warnings=warnings, height=10))


def test_the_selected_row_s_sentence_is_told_to_its_end_where_there_is_room() -> None:
    fleet = bench(psu1="offline")
    fleet.tell("psu1/info", info("psu1", online=False, reason=f"{'no answer ' * 12}; is it switched on?"))
    lines = fleet.screen()
    assert not any("switched on" in line for line in lines[:6])
    assert any("; is it switched on?" in line for line in lines[-4:])
    assert len(lines) == 24


def test_instructions_stand_on_top_where_there_is_room() -> None:
    fleet = bench(psu1="on")
    assert fleet.screen(instructions=["Try this"])[2] == "Try this"
    assert "Try this" not in "\n".join(fleet.screen(instructions=["Try this"] * 8, height=14))


def test_a_terminal_without_unicode_gets_ascii() -> None:
    fleet = bench(**{f"psu{i}": "on tripped" for i in range(30)})
    assert "".join(fleet.screen(glyphs=ASCII)).isascii()


def test_the_lines_on_what_is_hidden_fit_forty_columns() -> None:
    fleet = bench(**{f"psu{i}": " ".join(CONDITIONS) for i in range(30)})
    model = Model()
    fleet.screen(model, 40, 10)
    model.press("pagedown")
    lines = fleet.screen(model, 40, 10)
    assert any(line.startswith("▲ PgUp: ") for line in lines)
    (below,) = [line for line in lines if line.startswith("▼ PgDn: ")]
    assert "in trouble" in below


def test_channels_are_counted_once() -> None:
    rows = rows_of(bench(psu1="offline", psu2="tripped").snapshot(NOW).units, 0)
    assert channels_by_level(rows) == {Level.TRIPPED: 1, Level.AWAY: 2}

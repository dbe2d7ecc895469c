"""Every query of the dashboards, put to the real InfluxDB over a lab where all is wrong that can be, and over an empty store.

The panels, by Grafana's own code, are in test_tables.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.grafana import ALL, DASHBOARDS, NOW, PANELS, Rows, fill_in
from tests.stack.publisher import milliseconds
from tests.stack.services import Store

from .points import sample, wrong

TARGETS = [
    pytest.param(target["query"], id=f"{board}-{panel['title']}-{target['refId']}")
    for (board, _), panel in PANELS.items()
    for target in panel["targets"]
    if "query" in target
]


@pytest.fixture(scope="module")
def lab(store: Store) -> Store:
    store.write(wrong())
    return store


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("empty")) as store:
        yield store


def query(board: str, title: str, ref: str = "A") -> str:
    (found,) = [
        target["query"]
        for panel in DASHBOARDS[board]["panels"]
        if panel["title"] == title
        for target in panel["targets"]
        if target["refId"] == ref
    ]
    return str(found)


def rows(store: Store, board: str, title: str, ref: str = "A", **variables: str) -> Rows:
    return store.rows(fill_in(query(board, title, ref), **ALL | variables))


@pytest.mark.parametrize("text", [one for one in TARGETS if "nothingheard" not in str(one.id)])
def test_every_query_has_an_answer(lab: Store, text: str) -> None:
    """But for the one that asks if no agent at all was heard of."""
    assert lab.rows(fill_in(text, **ALL)), text


@pytest.mark.parametrize("text", TARGETS)
def test_every_query_bears_an_empty_store(empty: Store, text: str) -> None:
    assert empty.rows(fill_in(text, **ALL)) == []


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("Units offline", {"sum": 3}),
        ("Agents gone", {"sum": 2}),
    ],
)
def test_figures_of_the_fleet(lab: Store, title: str, value: dict[str, int]) -> None:
    (row,) = rows(lab, "fleet", title)
    assert {key: row[key] for key in value} == value


@pytest.mark.parametrize(
    ("ref", "places"),
    [
        ("tripped", {("psu2", "1")}),
        ("trippedahead", {("early", "2")}),
        ("trippedseldom", {("rare", "1")}),
        ("trippedbefore", {("psu2", "1"), ("psu2", "2")}),
        ("limiting", {("psu3", "1"), ("psu3", "3"), ("psu3", "4")}),
        ("limitingseldom", {("seldom", "3")}),
        ("nearlimit", {("near", "1")}),
        ("nearlimitseldom", {("seldom", "1")}),
        ("nearovp", {("near", "2")}),
        ("nearovpseldom", {("seldom", "2")}),
    ],
)
def test_channels_that_are_wrong(lab: Store, ref: str, places: set[tuple[str, str]]) -> None:
    """A trip that was cleared a second ago is one before; CC that is meant to be is none."""
    found = [(row["psu"], row["channel"]) for row in rows(lab, "fleet", "What is wrong", ref)]
    assert len(found) == len(places)
    assert set(found) == places


def test_a_channel_in_cc_was_in_no_other_mode(lab: Store) -> None:
    """Neither is one that goes to and fro, nor one that is in it for half a minute."""
    for ref in ("limiting", "limitinglong"):
        places, others = (
            {(row["psu"], row["channel"]) for row in rows(lab, "fleet", "What is wrong", one)}
            for one in (ref, f"{ref}other")
        )
        assert places - others == {("psu3", "1")}


@pytest.mark.parametrize(
    ("ref", "since"),
    [
        ("offline", {"lost": 300, "put-away": 40 * 86400}),
        ("offlinealways", {"never": 600}),
        ("agentgone", {"bench5": 180}),
        ("agentgonealways", {"bench8": 7200}),
        ("waitingsince", {"bench3": 2, "bench4": 132, "bench5": 181, "cutoff": 290, "jumper": 640}),
        ("trippedsince", {"psu2": 20}),
        ("limitingsince", {"psu3": 600}),
        ("lost", {"bench4": 22, "cutoff": 300}),
    ],
)
def test_since_when_something_is_wrong(lab: Store, ref: str, since: dict[str, int]) -> None:
    """It is the beginning: not the latest of several messages, nor what was before it was well in between."""
    found = rows(lab, "fleet", "What is wrong", ref)
    if ref == "limitingsince":
        found = [row for row in found if row["channel"] == "1"]
    ages = {row.get("psu", row.get("agent")): round((milliseconds(NOW) - row["time"]) / 1000) for row in found}
    assert ages == since


def test_a_counter_that_began_anew_takes_nothing_away(lab: Store) -> None:
    """From 0 to 14 Wh, then from 0 to 2: 16 Wh, where last less first is 2 and the largest less the smallest 14."""
    found = rows(lab, "unit", "Energy and charge", "energy", psu="meter")
    assert [row["energy"] for row in found] == [pytest.approx(16.0)]


def test_channels_of_one_name_are_apart(lab: Store) -> None:
    """Two agents with a unit psu1 and a channel CH1: 5 V and 12 V, and never 8.5."""
    for title in ("Voltage", "Current", "Output", "Mode", "Power"):
        text = query("unit", title)
        series = lab.query(fill_in(text, **ALL | {"psu": "psu1", "channel": "1"}))
        assert {one["tags"]["agent"] for one in series} == {"bench3", "bench4"}, title
        if title == "Voltage":
            column = series[0]["columns"].index("measured")
            assert {one["tags"]["agent"]: one["values"][0][column] for one in series} == {"bench3": 5.0, "bench4": 12.0}
    assert {row["agent"] for row in rows(lab, "unit", "Energy and charge", "energy", psu="psu1", channel="1")} == {
        "bench3",
        "bench4",
    }


def test_the_unit_dashboard_shows_the_chosen_channel_alone(lab: Store) -> None:
    chosen = {"agent": "bench3", "psu": "psu2", "channel": "1"}
    for panel in DASHBOARDS["unit"]["panels"]:
        for target in panel["targets"]:
            for row in lab.rows(fill_in(target["query"], **chosen)):
                assert {key: row[key] for key in chosen if key in row}.items() <= chosen.items(), target["refId"]


def test_the_unit_dashboard_opens_on_one_unit() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARDS["unit"]["templating"]["list"]}
    for name in ("agent", "psu"):
        assert variables[name]["current"] == {}, "Grafana takes the first then"
        assert not variables[name]["includeAll"]


def test_variables_offer_what_is_there(lab: Store) -> None:
    offered = {}
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"]:
            found = lab.rows(fill_in(variable["query"], agent="bench4", psu="psu1"))
            offered[board["uid"], variable["name"]] = {row["value"] for row in found}
    agents = {"bench3", "bench4", "bench5", "bench6", "jumper", "renamed", "retired"}
    assert offered == {
        ("psu-unit", "agent"): agents,
        ("psu-unit", "psu"): {"psu1", "moved"},
        ("psu-unit", "channel"): {"1"},
        ("psu-agents", "agent"): agents | {"bench8", "cutoff"},
    }


def test_the_power_of_a_unit_has_all_its_channels_at_each_point(tmp_path: Path) -> None:
    """Channels that are polled every 10 s, each at a second of its own: none is missing from a point, whose sum would be less."""
    (interval,) = [panel["interval"] for panel in DASHBOARDS["fleet"]["panels"] if panel["title"] == "Power by unit"]
    with Store(tmp_path) as store:
        store.write(
            sample(f"bench3/psu1/{channel}", ago + channel) for channel in (1, 2, 3) for ago in range(0, 300, 10)
        )
        found = rows(store, "fleet", "Power by unit", __interval=interval)
    minutes: dict[int, list[float]] = {}
    for row in found:
        minutes.setdefault(row["time"], []).append(round(row["power"], 6))
    assert len(minutes) >= 5
    assert [minutes[minute] for minute in sorted(minutes)[1:-1]] == [[2.5] * 3] * (len(minutes) - 2)


def test_what_happened_has_no_change_of_mode_and_mode_changes_are_counted(lab: Store) -> None:
    assert {row["text"].split()[0] for row in rows(lab, "fleet", "What happened")} == {
        "voltage_limit",
        "state",
        "tripped",
    }
    counted = {(row["psu"], row["channel"]): row["number"] for row in rows(lab, "fleet", "Mode changes", "number")}
    assert counted == {("psu3", "1"): 1, ("psu3", "3"): 60}


def test_commands_and_trips_are_annotations(lab: Store) -> None:
    def marks(annotation: dict[str, Any]) -> set[tuple[Any, ...]]:
        target = annotation["target"]
        columns = (target["textColumn"], *target["tagsColumn"].split(","))
        return {tuple(row[column] for column in columns) for row in lab.rows(fill_in(target["query"], **ALL))}

    trips, settings = DASHBOARDS["unit"]["annotations"]["list"]
    assert marks(trips) == {("tripped none → OVP by the unit itself", "unit", "tripped")}
    assert marks(settings) == {
        ("voltage_limit 5 V → 3.3 V by command 42", "command", "voltage_limit"),
        ("state on → off at the unit", "panel", "state"),
    }

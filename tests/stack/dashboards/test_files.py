"""The provisioned dashboards as files: what Grafana's schema knows, and what they refer to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from agent.protocol.messages import By
from tests.stack.grafana import DASHBOARDS, GRAFANA, leaves
from tests.support.processes import ROOT

#: The rows of another panel, in place of a query.
OTHER_PANEL = "-- Dashboard --"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_hold_nothing_that_grafanas_schema_does_not_know(name: str) -> None:
    """Read into the classes that Grafana generates from its schema, and written again: what is unknown gets lost."""
    sdk = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    plugins.register_default_plugins()
    again = json.loads(json.dumps(sdk.Dashboard.from_json(DASHBOARDS[name]), cls=JSONEncoder))
    lost = {path: value for path, value in leaves(DASHBOARDS[name]).items() if leaves(again).get(path) != value}
    # The schema knows only Grafana's own annotations there, not a data source's (test_queries.py has them), and not that a
    # state timeline may bridge gaps of some length ("Connect null values").
    beyond = r"\.annotations\.list\[\d\]\.target\.|.*\.custom\.spanNulls$"
    assert {path for path in lost if not re.match(beyond, path)} == set()


def test_everything_refers_to_something_that_is_there() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "influxdb.yaml").read_text())["datasources"]
    uids = {board["uid"] for board in DASHBOARDS.values()}
    for board in DASHBOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for path, value in leaves(board).items():
            if path.endswith("datasource.uid"):
                assert value in (source["uid"], OTHER_PANEL), path
            if path.endswith(".panelId"):
                assert value in ids, path
            if isinstance(value, str) and value.startswith("/d/"):
                assert re.match(r"/d/([\w-]+)", value)[1] in uids, path  # type: ignore[index]
        cells = [
            (x, y)
            for panel in board["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(set(cells)) == len(cells), "panels overlap"
        assert max(x for x, _ in cells) < 24
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "psu.yaml").read_text())["providers"]
    grafana = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    targets = {volume["target"]: volume["source"] for volume in grafana["volumes"] if isinstance(volume, dict)}
    assert targets[provider["options"]["path"]] == "./grafana/dashboards"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (GRAFANA / "dashboards" / home.name).exists()


def overrides(column: str, setting: str) -> list[tuple[str, Any]]:
    """Where a column has this setting, and what it is."""
    return [
        (f"{board['uid']} {panel['title']}", entry["value"])
        for board in DASHBOARDS.values()
        for panel in board["panels"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == column
        for entry in override["properties"]
        if entry["id"] == setting
    ]


def test_every_author_of_an_event_has_a_colour() -> None:
    found = overrides("by", "mappings")
    assert [set(mappings[0]["options"]) for _, mappings in found] == [set(get_args(By))] * 2


@pytest.mark.parametrize("column", ["state", "mode", "tripped", "voltage_protection_state", "current_protection", "by"])
def test_an_empty_cell_is_not_painted(column: str) -> None:
    """Grafana paints a null in the colour that a mapping of true has."""
    found = overrides(column, "mappings")
    assert found
    for place, mappings in found:
        null = [mapping["options"]["result"] for mapping in mappings if mapping["options"].get("match") == "null"]
        assert [result["color"] for result in null] == ["transparent"], place


def tables() -> list[Any]:
    return [
        pytest.param(panel, id=f"{name}-{panel['title']}")
        for name, board in DASHBOARDS.items()
        for panel in board["panels"]
        if panel["type"] == "table"
    ]


@pytest.mark.parametrize("panel", tables())
def test_a_tables_columns_have_places_widths_and_empty_cells(panel: dict[str, Any]) -> None:
    """Tag columns come in changing order (grafana/grafana #71260). The text for no data stands in every empty cell, unless the
    columns have their own. Widths: for a window of 1,600 pixels
    of which the menu takes 300, the margins 32, and each panel's frame and scroll bar 28."""
    order = panel["transformations"][-1]
    assert order["id"] == "organize"
    places = order["options"]["indexByName"]
    assert sorted(places.values()) == list(range(len(places)))
    every, *columns = panel["fieldConfig"]["overrides"]
    assert every == {"matcher": {"id": "byRegexp", "options": "/.*/"}, "properties": [{"id": "noValue", "value": " "}]}
    assert panel["fieldConfig"]["defaults"]["noValue"].strip()
    widths = {
        column["matcher"]["options"]: entry["value"]
        for column in columns
        for entry in column["properties"]
        if entry["id"] == "custom.width"
    }
    flexible = set(places) - set(widths)
    assert set(widths) <= set(places)
    assert len(flexible) <= 1, "one column may take the rest"
    assert min(widths.values()) >= 50, "Grafana makes no column narrower, but reckons with what stands there"
    assert sum(widths.values()) + 100 * len(flexible) <= (1268 + 8) * panel["gridPos"]["w"] / 24 - 8 - 28


def test_a_curve_has_as_many_points_as_it_has_place_for() -> None:
    """Whatever the range: a point a minute is a quarter of a million in six months."""
    for board in DASHBOARDS.values():
        for panel in board["panels"]:
            if panel["type"] in ("timeseries", "state-timeline"):
                for target in panel["targets"]:
                    assert re.findall(r"GROUP BY time\((.*?)\)", target["query"])[-1] == "$__interval", panel["title"]


def test_a_curve_bears_all_that_tells_it_from_others() -> None:
    """Its name has the tags that its query groups by, but for the agent where one is chosen, and the number beside the name."""
    for name, board in DASHBOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"] if panel["type"] in ("timeseries", "state-timeline") else ():
                tags = set(re.findall(r'"(\w+)"', target["query"].rpartition("GROUP BY")[2]))
                left_out = {"agent", "channel"} if name == "unit" else set()
                if panel["title"] == "Power by unit":  # whose curves of one name are added up
                    left_out = {"channel"}
                assert tags - left_out <= set(re.findall(r"\$tag_(\w+)", target["alias"])), panel["title"]


def test_of_many_events_the_newest_are_shown() -> None:
    for name, board in DASHBOARDS.items():
        annotations = [annotation["target"] for annotation in board["annotations"]["list"]]
        for target in [*annotations, *(target for panel in board["panels"] for target in panel["targets"])]:
            if re.search(r"psu_event.*LIMIT", target.get("query", "")):
                assert "ORDER BY time DESC LIMIT" in target["query"], name


@pytest.mark.parametrize(
    ("title", "refs"),
    [
        ("Channels tripped", ("tripped", "trippedahead", "trippedseldom")),
        ("In current limit", ("limiting", "limitinglong", "limitingseldom")),
    ],
)
def test_a_figure_counts_the_lines_of_what_is_wrong_that_it_names(title: str, refs: tuple[str, ...]) -> None:
    """Among lines of all kinds, which are told apart by a number that the query writes."""
    panels = {panel["title"]: panel for panel in DASHBOARDS["fleet"]["panels"]}
    figure, table = panels[title], panels["What is wrong"]
    (target,) = figure["targets"]
    assert (target["panelId"], target["withTransforms"]) == (table["id"], True)
    (only,) = figure["transformations"]
    (line,) = only["options"]["filters"]
    queries = {target["refId"]: target["query"] for target in table["targets"]}
    kinds = {int(re.findall(r'(\d+) AS "(?:what|trip)"', queries[ref])[0]) for ref in refs}
    assert (line["fieldName"], {line["config"]["options"]["value"]}) == ("what", kinds)

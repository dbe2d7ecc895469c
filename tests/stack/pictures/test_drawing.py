"""Drawing does with a dashboard what Grafana's data source and panels do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pictures.drawing import Drawing
from tests.stack.services import BUCKET, Store

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
PLACE = {"x": 0, "y": 0, "w": 24, "h": 8}
#: On for bench1/psu1, unknown for bench2/psu.x; the name of the second is one that a regular expression would take apart.
POINTS = (
    "psu_channel,agent=bench1,psu=psu1,channel=1 voltage=5.0,state=true {0}",
    "psu_channel,agent=bench1,psu=psu1,channel=1 voltage=5.5,state=true {1}",
    "psu_channel,agent=bench2,psu=psu.x,channel=1 voltage=12.25 {1}",
)


@pytest.fixture(scope="module")
def drawing(drawable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    with Store(tmp_path_factory.mktemp("store")) as store:
        now = int(time.time())
        store.write((point.format(now - 60, now - 30) for point in POINTS), precision="s")
        reader = {"url": store.url, "token": store.token("grafana"), "database": BUCKET}
        with Drawing(reader) as made:
            yield made


def board(panel: dict[str, Any], *variables: dict[str, Any]) -> dict[str, Any]:
    whole = {"id": 1, "title": "P", "gridPos": PLACE} | panel
    return {"title": "Board", "templating": {"list": list(variables)}, "panels": [whole]}


def target(query: str, **more: Any) -> dict[str, Any]:
    return {"refId": "A", "query": query, "resultFormat": "table"} | more


LAST = (
    'SELECT last("voltage") AS "V", last("state") AS "on" FROM "psu_channel" WHERE $timeFilter GROUP BY "psu", "agent"'
)


def test_a_table_has_the_time_then_the_tags_then_the_columns(drawing: Drawing) -> None:
    """As text with unit and decimals, and the colours of mappings: that of null for what is not known."""
    mapping = {"true": {"text": "ON", "color": "green"}, "false": {"text": "off", "color": "text"}}
    unknown = {"type": "special", "options": {"match": "null", "result": {"text": "", "color": "transparent"}}}
    config = {
        "defaults": {"unit": "volt", "decimals": 2},
        "overrides": [
            {
                "matcher": {"id": "byName", "options": "on"},
                "properties": [
                    {"id": "mappings", "value": [{"type": "value", "options": mapping}, unknown]},
                    {"id": "custom.cellOptions", "value": {"type": "color-background"}},
                ],
            }
        ],
    }
    told = drawing.draw(board({"type": "table", "targets": [target(LAST)], "fieldConfig": config}))
    (table,) = told["panels"][0]["tables"]
    assert table["columns"][0] == "Time"
    assert sorted(table["columns"][1:3]) == ["agent", "psu"]
    assert table["columns"][3:] == ["V", "on"]
    rows = [[cell["text"] for cell in row] for row in table["rows"]]
    assert sorted(row[3:] for row in rows) == [["12.25 V", ""], ["5.50 V", "ON"]]
    painted = {row[4]["text"]: row[4]["painted"] for row in table["rows"]}
    assert painted["ON"] != painted[""]
    assert painted[""].endswith("00")  # transparent


def test_tags_can_be_shuffled(drawing: Drawing) -> None:
    """So that a test of a dashboard sees whether it depends on their order."""
    panel = {"type": "table", "targets": [target(LAST)]}
    orders = {
        tuple(drawing.draw(board(panel), shuffled=True)["panels"][0]["tables"][0]["columns"][1:3]) for _ in range(12)
    }
    assert orders == {("agent", "psu"), ("psu", "agent")}


def test_transformations_are_grafanas_own(drawing: Drawing) -> None:
    organize = {"excludeByName": {"Time": True, "agent": True, "on": True}, "indexByName": {"V": 0, "psu": 1}}
    steps = [
        {"id": "sortBy", "options": {"sort": [{"field": "V", "desc": True}]}},
        {"id": "organize", "options": organize | {"renameByName": {"V": "Volt"}}},
    ]
    told = drawing.draw(board({"type": "table", "targets": [target(LAST)], "transformations": steps}), shuffled=True)
    (table,) = told["panels"][0]["tables"]
    assert table["columns"] == ["Volt", "psu"]
    assert [[cell["text"] for cell in row] for row in table["rows"]] == [["12.3", "psu.x"], ["5.50", "psu1"]]


def test_a_transformation_that_cannot_be_drawn_is_told(drawing: Drawing) -> None:
    steps = [{"id": "partitionByValues", "options": {}}]
    told = drawing.draw(board({"type": "table", "targets": [target(LAST)], "transformations": steps}))
    assert "partitionByValues" in told["panels"][0]["error"]


def test_curves_have_the_names_of_their_alias(drawing: Drawing) -> None:
    """And a query's interval is at least the panel's, and at least that of the provisioned source."""
    query = 'SELECT mean("voltage") AS "mean" FROM "psu_channel" WHERE $timeFilter GROUP BY time($__interval), "psu" fill(none)'
    curve = target(query, resultFormat="time_series", alias="$tag_psu $col [[m]]")
    told = drawing.draw(board({"type": "timeseries", "targets": [curve], "interval": "20s"}), start="now-5m")
    assert sorted(curve["name"] for curve in told["panels"][0]["curves"]) == [
        "psu.x mean psu_channel",
        "psu1 mean psu_channel",
    ]
    assert "GROUP BY time(20s)" in told["queries"][-1]["query"]
    told = drawing.draw(board({"type": "timeseries", "targets": [curve]}), start="now-5m")
    assert "GROUP BY time(1s)" in told["queries"][-1]["query"]


def test_variables_are_read_from_the_store(drawing: Drawing) -> None:
    """The first choice where none is chosen; all of them, each escaped, for All."""
    names = {
        "name": "psu",
        "type": "query",
        "query": 'SHOW TAG VALUES FROM "psu_channel" WITH KEY = "psu"',
        "sort": 1,
        "includeAll": True,
        "current": {},
    }
    query = 'SELECT last("voltage") AS "V" FROM "psu_channel" WHERE "psu" =~ /^$psu$/ AND $timeFilter GROUP BY "psu"'
    panel = {"type": "table", "title": "of $psu", "targets": [target(query)]}
    told = drawing.draw(board(panel, names))
    assert told["panels"][0]["title"] == "of psu.x"
    assert "=~ /^psu\\.x$/" in told["queries"][-1]["query"]
    told = drawing.draw(board(panel, names), variables={"psu": ["$__all"]})
    assert "=~ /^(psu\\.x|psu1)$/" in told["queries"][-1]["query"]
    assert len(told["panels"][0]["tables"][0]["rows"]) == 2


def test_what_is_cut_off_is_told(drawing: Drawing) -> None:
    wide = {"defaults": {"custom": {"width": 900}}, "overrides": []}
    told = drawing.draw(board({"type": "table", "targets": [target(LAST)], "fieldConfig": wide}))
    assert any("pixels wider than its panel" in text for text in told["panels"][0]["cut"])
    narrow = {"defaults": {"custom": {"width": 40}}, "overrides": []}
    told = drawing.draw(board({"type": "table", "targets": [target(LAST)], "fieldConfig": narrow}))
    assert "bench1" in told["panels"][0]["cut"]


def test_a_store_that_is_not_there_is_told_in_the_panel(drawable: None) -> None:
    with Drawing({"url": "http://127.0.0.1:9", "token": "x", "database": BUCKET}) as drawing:
        told = drawing.draw(board({"type": "table", "targets": [target(LAST)]}))
    assert "the store does not answer" in told["panels"][0]["error"]

"""The provisioned dashboards: checked against Grafana's schema, and every query against real samples.

Grafana itself is not to be had here. What it would do with a query is done by hand: its macros are filled in, and the
query is put to the real InfluxDB, over samples that the real Telegraf wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from agent.protocol.messages import By
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .grafana import ALL, DASHBOARDS, GRAFANA, PANELS, Rows, fill_in, leaves
from .publisher import START, Channel, Publisher, metrics
from .services import Broker, Store, Telegraf


@pytest.fixture(scope="module")
def lab(broker: Broker, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Agents bench3 and bench4, and bench5, which is gone. psu1: one channel on, one off. psu2: one in CC, one meant to
    be, one tripped at the end. psu3: lost after 50 s. psu5: near its limits."""
    telegraf = Telegraf(tmp_path_factory.mktemp("telegraf"), broker, store.url)
    telegraf.start()
    off = {"state": False, "mode": "OFF", "voltage": 0.0, "current": 0.0, "power": 0.0}
    limited = {"mode": "CC", "voltage": 3.1, "current": 1.0, "power": 3.1}
    near = {"voltage": 26.7, "current": 0.95, "power": 25.365, "voltage_limit": 26.7}
    with Publisher(broker) as publisher:
        for seq in range(60):
            publisher.state(Channel(psu="psu1", index=1).state(seq))
            publisher.state(Channel(psu="psu1", index=2).state(seq, **off))
            publisher.state(Channel("bench4", "psu2", 1).state(seq, **limited, name="MOTOR"))
            publisher.state(Channel("bench4", "psu2", 2).state(seq, **limited, name="LED CC"))
            tripped = off | {"tripped": "OVP"} if seq > 55 else {}
            publisher.state(Channel("bench4", "psu2", 3).state(seq, **tripped))
            publisher.state(Channel("bench4", "psu5", 1).state(seq, **near))
        for seq in range(50):
            publisher.state(Channel(psu="psu3").state(seq))
        publisher.state(Channel(psu="psu3").offline(50))
        for number in range(6):
            time = START + timedelta(seconds=10 * number)
            publisher.send("agents/bench3/metrics", metrics("bench3", time, units_online=1, poll_rate=2.0))
            trouble = {
                "backlog": 100 * number,
                "late_polls": 6 * number,
                "dropped_samples": number // 5,
                "errors": number,
            }
            publisher.send("agents/bench4/metrics", metrics("bench4", time, **trouble, memory=10**8, poll_rate=10.0))
        for psu, status in (("psu1", "online"), ("psu2", "online"), ("psu3", "offline"), ("psu5", "online")):
            publisher.send(f"{psu}/status", status, retain=True)
        for agent, status in (("bench3", "online"), ("bench4", "online"), ("bench5", "offline")):
            publisher.send(f"agents/{agent}/status", status, retain=True)
        publisher.send("psu1/1/event", Channel().event(30, "voltage_limit", "voltage_limit 5 V → 3.3 V by command 42"))
        publisher.send("psu2/3/event", Channel("bench4", "psu2", 3).event(56, "tripped", "OVP has tripped", by="unit"))
        publisher.settle()
    for number, query in (
        (6 * 60 + 51, "SELECT seq FROM psu_channel"),
        (3, "SELECT last(offline) FROM psu_agent GROUP BY agent"),
        (4, "SELECT last(offline) FROM psu_unit GROUP BY psu"),
        (12, "SELECT uptime FROM psu_agent"),
        (2, "SELECT text FROM psu_event"),
    ):
        wait_until(lambda n=number, q=query: len(store.rows(q)) == n, query)  # type: ignore[misc]
    yield store
    telegraf.stop()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("empty"))
    store.start()
    yield store
    store.stop()


def one(**expected: Any) -> Callable[[Rows], None]:
    """One row with these values."""

    def check(rows: Rows) -> None:
        assert len(rows) == 1, rows
        assert {key: rows[0][key] for key in expected} == pytest.approx(expected)

    return check


def by(*tags: str, **expected: Any) -> Callable[[Rows], None]:
    """Series by these tags; for each named one (`psu2_1` is psu2, 1) what `column=value` its last row has."""

    def check(rows: Rows) -> None:
        last = {"_".join(row[tag] for tag in tags): row for row in rows}
        for name, values in expected.items():
            row = last[name.replace("__", " ")]
            assert {key: row[key] for key in values} == {
                key: pytest.approx(value) if isinstance(value, float) else value for key, value in values.items()
            }, name

    return check


def names(*tags: str, are: set[str]) -> Callable[[Rows], None]:
    def check(rows: Rows) -> None:
        assert {"_".join(str(row[tag]) for tag in tags) for row in rows} == are

    return check


def channels(rows: Rows) -> None:
    assert len(rows) == 7
    by("psu", "channel",
       psu1_1={"online": True, "state": True, "mode": "CV", "tripped": None, "voltage": 5.0, "voltage_limit": 5.0},
       psu1_2={"state": False, "mode": "OFF", "power": 0.0},
       psu2_1={"mode": "CC", "name": "MOTOR", "agent": "bench4"},
       psu2_3={"state": False, "tripped": "OVP"},
       psu3_1={"online": False, "state": None, "mode": None, "voltage": None, "current_limit": None})(rows)  # fmt: skip


def agents(rows: Rows) -> None:
    assert len(rows) == 3
    by("agent",
       bench3={"status": "online", "version": "0.1.0", "units": 2, "units_online": 1, "backlog": 0},
       bench4={"status": "online", "backlog": 500, "late_polls": 30, "memory": 10**8, "dropped_samples": 1},
       bench5={"status": "offline", "version": None})(rows)  # fmt: skip


#: What each panel has to show of the lab above, one check for each of its queries.
EXPECTED: dict[tuple[str, str], list[Callable[[Rows], None]]] = {
    ("fleet", "Units offline"): [one(sum=1)],
    ("fleet", "Agents gone"): [one(sum=1)],
    ("fleet", "Channels tripped"): [one(count=1)],
    ("fleet", "Channels in CC"): [one(count=2)],
    ("fleet", "Outputs on"): [one(count=5)],
    # psu1/1 at its last sample, psu2's two in CC, psu5, and psu3 at its last sample that had a value.
    ("fleet", "Power"): [one(sum=Channel().state(59)["power"] + 2 * 3.1 + 25.365 + Channel().state(49)["power"])],
    ("fleet", "Channels"): [channels],
    ("fleet", "Power by unit"): [names("psu", are={"psu1", "psu2", "psu3", "psu5"})],
    ("fleet", "What happened"): [
        by(
            "psu",
            psu1={"text": "voltage_limit 5 V → 3.3 V by command 42", "by": "command", "channel": "1"},
            psu2={"text": "OVP has tripped", "by": "unit", "channel": "3"},
        ),
    ],
    ("unit", "Now"): [channels],
    ("unit", "Voltage"): [by("channel", "name", **{"1_MOTOR": {"measured": 3.1, "set": 5.0, "OVP": 27.5}})],
    ("unit", "Current"): [by("channel", "name", **{"1_MOTOR": {"mean": 1.0, "peak": 1.0, "limit": 1.0}})],
    ("unit", "Output"): [by("channel", "name", **{"1_MOTOR": {"last": True}, "2_CH2": {"last": False}})],
    ("unit", "Mode"): [by("channel", "name", **{"1_MOTOR": {"last": "CC"}, "2_CH2": {"last": "OFF"}})],
    ("unit", "Trips"): [names("channel", "last", are={"3_OVP"})],
    ("unit", "Power"): [by("channel", "name", **{"1_MOTOR": {"mean": 3.1}, "2_CH2": {"mean": 0.0}})],
    ("unit", "Energy"): [by("channel", "name", **{"1_MOTOR": {"last": Channel().state(59)["energy"]}})],
    ("unit", "Energy in this range"): [by("channel", "name", **{"1_MOTOR": {"spread": Channel().state(59)["energy"]}})],
    ("unit", "Charge in this range"): [by("channel", "name", **{"1_MOTOR": {"spread": Channel().state(59)["charge"]}})],
    ("unit", "Events"): [names("psu", "id", are={"psu1_42", "psu2_None"})],
    ("agents", "Agents"): [agents],
    ("agents", "Polls"): [by("agent", bench3={"poll_rate": 2.0}, bench4={"poll_rate": 10.0})],
    ("agents", "Late polls"): [by("agent", bench3={"late_polls": 0.0}, bench4={"late_polls": 36.0})],
    ("agents", "Errors and reconnections"): [
        by("agent", bench3={"errors": 0.0}, bench4={"errors": 6.0}),
        by("agent", bench4={"reconnects": 0.0}),
        by("agent", bench4={"broker_reconnects": 0.0}),
    ],
    ("agents", "Backlog"): [
        by("agent", bench3={"backlog": 0}, bench4={"backlog": 500}),
        by("agent", bench3={"dropped_samples": 0}, bench4={"dropped_samples": 1}),
    ],
    ("agents", "Memory"): [by("agent", bench3={"memory": 48_000_000}, bench4={"memory": 10**8})],
    ("agents", "Commands"): [by("agent", bench3={"commands": 0.0}), by("agent", bench4={"refusals": 0.0})],
    ("agents", "Units"): [by("agent", bench3={"units": 2}), by("agent", bench3={"units_online": 1})],
    ("agents", "Samples stored"): [names("agent", are={"bench3", "bench4"})],
}
TARGETS = [
    pytest.param(panel, index, id=f"{board}-{panel['title']}-{index}")
    for (board, _), panel in PANELS.items()
    for index in range(len(panel["targets"]))
]
BOARD_OF = {id(panel): board for (board, _), panel in PANELS.items()}


def test_there_is_an_expectation_for_every_query() -> None:
    counted = {(board, panel["title"]): len(panel["targets"]) for (board, _), panel in PANELS.items()}
    assert {key: len(checks) for key, checks in EXPECTED.items()} == counted


@pytest.mark.parametrize(("panel", "index"), TARGETS)
def test_every_panel_shows_what_is_in_the_store(lab: Store, panel: dict[str, Any], index: int) -> None:
    check = EXPECTED[BOARD_OF[id(panel)], panel["title"]][index]
    check(lab.rows(fill_in(panel["targets"][index]["query"], **ALL)))


@pytest.mark.parametrize(("panel", "index"), TARGETS)
def test_every_panel_bears_an_empty_store(empty: Store, panel: dict[str, Any], index: int) -> None:
    assert empty.rows(fill_in(panel["targets"][index]["query"], **ALL)) == []
    assert panel["fieldConfig"]["defaults"]["noValue"] != ""


@pytest.mark.parametrize("name", ["fleet", "unit"])
def test_every_author_of_an_event_has_a_colour(name: str) -> None:
    overrides = [
        override
        for panel in DASHBOARDS[name]["panels"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == "by"
    ]
    mappings = [p["value"][0] for o in overrides for p in o["properties"] if p["id"] == "mappings"]
    assert [set(mapping["options"]) for mapping in mappings] == [set(get_args(By))]


def test_the_unit_dashboard_shows_the_chosen_channel_alone(lab: Store) -> None:
    for panel in DASHBOARDS["unit"]["panels"]:
        query = panel["targets"][0]["query"]
        rows = lab.rows(fill_in(query, agent="(bench3|bench4)", psu="psu2", channel="1"))
        assert {row.get("channel") for row in rows} <= {"1"}, panel["title"]
        assert rows or panel["title"] in ("Trips", "Events")


def test_variables_offer_what_is_there(lab: Store) -> None:
    offered = {}
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"]:
            rows = lab.rows(fill_in(variable["query"], agent="(bench3)", psu="psu1"))
            offered[board["uid"], variable["name"]] = {row["value"] for row in rows}
    assert offered == {
        ("psu-unit", "agent"): {"bench3", "bench4"},
        ("psu-unit", "psu"): {"psu1", "psu3"},
        ("psu-unit", "channel"): {"1", "2"},
        ("psu-agents", "agent"): {"bench3", "bench4", "bench5"},
    }


def test_events_are_annotations(lab: Store) -> None:
    (annotation,) = DASHBOARDS["unit"]["annotations"]["list"]
    target = annotation["target"]
    (row,) = lab.rows(fill_in(target["query"], agent=".*", psu="psu1", channel=".*"))
    assert row[target["textColumn"]] == "voltage_limit 5 V → 3.3 V by command 42"
    assert [row[column] for column in target["tagsColumn"].split(",")] == ["command", "voltage_limit"]


# The files themselves. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_hold_nothing_that_grafanas_schema_does_not_know(name: str) -> None:
    """Read into the classes that Grafana generates from its schema, and written again: what is unknown gets lost."""
    sdk = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    plugins.register_default_plugins()
    again = json.loads(json.dumps(sdk.Dashboard.from_json(DASHBOARDS[name]), cls=JSONEncoder))
    lost = {path: value for path, value in leaves(DASHBOARDS[name]).items() if leaves(again).get(path) != value}
    # The schema knows only Grafana's own annotations there, not a data source's; test_events_are_annotations has it.
    assert {path for path in lost if not re.match(r"\.annotations\.list\[0\]\.target\.", path)} == set()


def test_everything_refers_to_something_that_is_there() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "influxdb.yaml").read_text())["datasources"]
    uids = {board["uid"] for board in DASHBOARDS.values()}
    for board in DASHBOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for path, value in leaves(board).items():
            if path.endswith("datasource.uid"):
                assert value == source["uid"], path
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

"""The tables as a user reads them: each query's answer, through Grafana's own transformations and display processors.

One lab where all is wrong that can be, and one that is well, with the tag columns in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.pictures.drawing import Drawing, is_fetched
from tests.stack.grafana import DASHBOARDS, NOW
from tests.stack.publisher import stamp
from tests.stack.services import BUCKET, Store

from .points import Lines, well, wrong

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
GONE = "ended, or lost by the broker: nobody watches its units"
SILENT = "no samples, though it is online: see its agent's log, and its clock"
Row = dict[str, dict[str, str]]


def drawn(folder: Path, lines: Lines) -> Iterator[Drawing]:
    if not is_fetched():
        pytest.skip("Grafana's display components are not here: `make pictures` fetches them (620 MB)")
    with Store(folder) as store:
        store.write(lines)
        with Drawing({"url": store.url, "token": store.token("grafana"), "database": BUCKET}) as drawing:
            yield drawing


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    yield from drawn(tmp_path_factory.mktemp("bad"), wrong())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    yield from drawn(tmp_path_factory.mktemp("good"), well())


def panels(drawing: Drawing, board: str, end: datetime = NOW, **variables: str) -> dict[str, Any]:
    """The content of each panel up to then, by its title."""
    told = drawing.draw(
        DASHBOARDS[board],
        start=stamp(end - timedelta(minutes=15)),
        end=stamp(end),
        variables={name: [value] for name, value in variables.items()},
        shuffled=True,
    )
    assert {panel["title"]: panel["error"] for panel in told["panels"] if "error" in panel} == {}
    return {panel["title"]: panel for panel in told["panels"]}


def rows(panel: dict[str, Any]) -> list[Row]:
    (table,) = panel["tables"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def texts(row: Row, *columns: str) -> tuple[str, ...]:
    return tuple(row[column]["text"].strip() for column in columns)


@pytest.fixture(scope="module")
def fleet(bad: Drawing) -> dict[str, Any]:
    return panels(bad, "fleet")


def test_what_is_wrong(fleet: dict[str, Any]) -> None:
    found = [texts(row, "What", "Unit", "Ch", "Name", "Agent", "Reason") for row in rows(fleet["What is wrong"])]
    assert found == [
        ("Tripped", "psu2", "1", "CH1", "bench3", "over-voltage protection"),
        ("Tripped", "early", "2", "CH2", "bench6", "over-voltage protection"),
        ("Tripped", "rare", "1", "CH1", "bench3", "over-voltage protection"),
        ("Agent is gone", "", "", "", "bench5", GONE),
        ("Agent is gone", "", "", "", "bench8", GONE),
        ("Unit is offline", "lost", "", "", "bench3", "Connection refused"),
        ("Unit is offline", "never", "", "", "bench3", "no such host"),
        ("Unit is offline", "put-away", "", "", "bench3", "no answer within 2 s"),
        ("Nothing is heard", "quiet", "", "", "bench3", SILENT),
        ("In current limit", "psu3", "1", "CH1", "bench3", "in CC without a break"),
        ("In current limit", "seldom", "3", "CH3", "bench3", ""),
        ("Near over-voltage", "near", "2", "CH2", "bench3", ""),
        ("Near over-voltage", "seldom", "2", "CH2", "bench3", ""),
        ("Near current limit", "near", "1", "CH1", "bench3", ""),
        ("Near current limit", "seldom", "1", "CH1", "bench3", ""),
        ("Clock is ahead", "", "", "", "bench3", ""),
        ("Clock is ahead", "", "", "", "bench6", ""),
        ("Clock is ahead", "", "", "", "jumper", ""),
        ("Two agents claim it", "psu2", "", "", "bench3", "bench9"),
        ("Samples were lost", "", "", "", "bench4", ""),
        ("Samples were lost", "", "", "", "cutoff", ""),
        ("Samples wait", "", "", "", "bench4", ""),
        ("Tripped, cleared", "psu2", "2", "CH2", "bench3", "over-voltage protection"),
    ]
    for title, number in (("Wrong", len(found)), ("Channels tripped", 3), ("In current limit", 2)):
        assert fleet[title]["values"][0]["text"] == str(number), title


def test_nothing_is_wrong(good: Drawing) -> None:
    """The figure beside the table is green then, and says so."""
    told = panels(good, "fleet")
    assert [row for table in told["What is wrong"]["tables"] for row in table["rows"]] == []
    (value,) = told["Wrong"]["values"]
    assert value["text"] == "all is well"
    green = {
        value["color"]
        for title in ("Units offline", "Agents gone", "Channels tripped", "In current limit")
        for value in told[title]["values"]
    }
    assert green == {value["color"]}


def test_a_store_that_has_nothing_is_not_well(tmp_path: Path) -> None:
    """Nor is one that does not answer, which is no data, too."""
    for drawing in drawn(tmp_path, iter(())):
        told = panels(drawing, "fleet")
    shown = {
        title: told[title]["values"][0]
        for title in ("Wrong", "Units offline", "Agents gone", "Channels tripped", "In current limit", "Outputs on")
    }
    assert {value["text"] for value in shown.values()} == {"no data"}
    assert not {"#73BF69"} & {value["color"] for value in shown.values()}


#: unit/channel: what the dashboard says of it, and when it was heard of.
STATUS = {
    ("bench3", "psu2", "1"): ("online", "now"),
    ("bench6", "early", "1"): ("clock ahead", "ahead"),
    ("bench3", "lost", "1"): ("OFFLINE", "5 minutes"),
    ("bench3", "never", "1"): ("OFFLINE", "10 minutes"),
    ("bench5", "psu5", "1"): ("agent gone", "3 minutes"),
    ("bench3", "quiet", "1"): ("silent", "6 minutes"),
    ("bench3", "edge-in", "1"): ("online", "now"),
    ("bench3", "edge-out", "1"): ("silent", "1 minute"),
    ("bench3", "slow-in", "1"): ("online", "1 minute"),
    ("bench3", "seldom", "1"): ("online", "5 minutes"),
    ("bench3", "rare", "1"): ("online", "3 hours"),
    ("bench3", "slow-out", "1"): ("silent", "1 minute"),
    ("bench3", "psu4", "1"): ("online", "now"),
    ("bench3", "psu1", "1"): ("online", "now"),
    ("bench4", "psu1", "1"): ("online", "now"),
}
VALUES = ("Output", "Mode", "Trip", "Voltage", "set", "Current", "limit", "Power")


def test_every_channel_and_how_old_it_is(fleet: dict[str, Any]) -> None:
    """A minute or three polls; a unit that was taken out is not there."""
    found = rows(fleet["Channels"])
    status = {texts(row, "Agent", "Unit", "Ch"): texts(row, "Unit is", "Heard") for row in found}
    assert {key: status[key] for key in STATUS} == STATUS
    assert "out" not in {texts(row, "Unit")[0] for row in found}
    for row in found:
        if texts(row, "Unit is")[0] in ("silent", "agent gone", "OFFLINE"):
            assert set(texts(row, *VALUES)) == {""}, "a last value is not passed off as a present one"
            assert row["Output"]["painted"] == row["Mode"]["painted"] == "#00000000"


def test_an_older_name_of_a_channel_is_no_row(fleet: dict[str, Any]) -> None:
    assert [texts(row, "Name", "Output") for row in rows(fleet["Channels"]) if texts(row, "Unit") == ("psu4",)] == [
        ("NEW", "ON")
    ]


def test_a_clock_that_was_set_right_hides_nothing(fleet: dict[str, Any]) -> None:
    """A sample an hour ahead stays for an hour; the present one is there beside it."""
    mended = [texts(row, "Unit is", "Voltage") for row in rows(fleet["Channels"]) if texts(row, "Unit") == ("mended",)]
    assert mended == [("clock ahead", "1.000 V"), ("online", "5.000 V")]


def test_the_wrong_ones_come_first_then_unit_agent_and_channel(fleet: dict[str, Any]) -> None:
    order = [texts(row, "Unit", "Ch") for row in rows(fleet["Channels"])]
    assert order[:3] == [("early", "2"), ("psu2", "1"), ("rare", "1")], "those that tripped"
    assert order[3:6] == [("early", "1"), ("jumped", "1"), ("mended", "1")]
    assert order[6:8] == [("lost", "1"), ("never", "1")]
    assert order[8:11] == [("put-away", ""), ("psu3", "1"), ("psu5", "1")]
    assert sorted(order[11:14]) == [("edge-out", "1"), ("quiet", "1"), ("slow-out", "1")]
    well = [texts(row, "Unit", "Agent", "Ch") for row in rows(fleet["Channels"])][14:]
    assert well == sorted(well)


def test_a_unit_has_rows_of_those_who_serve_it_now(fleet: dict[str, Any]) -> None:
    """After a takeover, an agent's new name, and an agent's end; a clock that jumped ahead leaves no row of before."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in rows(fleet["Channels"]):
        found.setdefault(texts(row, "Unit")[0], []).append(texts(row, "Agent", "Unit is", "Heard", "Voltage"))
    present = ("bench3", "online", "now", "5.000 V")
    assert found["moved"] == found["kept"] == found["settled"] == [present]
    assert found["jumped"] == [("jumper", "clock ahead", "ahead", "5.000 V")]
    assert found["steady"] == [("bench3", "online", "6 minutes", "5.000 V")]
    assert found["put-away"] == [("bench3", "OFFLINE", "", "")]
    assert not {"scrapped", "dropped", "forgotten", ""} & set(found)


def test_the_power_is_that_of_the_channels_below(fleet: dict[str, Any]) -> None:
    power = [float(text.split()[0]) for row in rows(fleet["Channels"]) if (text := row["Power"]["text"].strip())]
    assert fleet["Power"]["values"][0]["text"].split()[0] == f"{sum(power):.1f}"


def test_a_unit_that_is_polled_seldom_shows_its_last_values(fleet: dict[str, Any]) -> None:
    """Until three polls are over."""
    shown = {
        texts(row, "Unit", "Ch"): texts(row, "Output", "Mode", "Trip", "Current") for row in rows(fleet["Channels"])
    }
    assert shown["seldom", "1"] == ("ON", "CV", "", "0.950 A")
    assert shown["rare", "1"] == ("off", "OFF", "OVP", "0.000 A")


def test_the_outputs_that_are_on_are_those_of_the_channels_below(fleet: dict[str, Any]) -> None:
    on = sum(texts(row, "Output") == ("ON",) for row in rows(fleet["Channels"]))
    assert fleet["Outputs on"]["values"][0]["text"] == str(on) != "0"


def test_the_power_of_a_unit_is_the_sum_of_its_channels(fleet: dict[str, Any]) -> None:
    """Of each agent's; two channels of 2.5 W, one of which is near its current limit."""
    curves = {curve["name"]: curve["last"] for curve in fleet["Power by unit"]["curves"]}
    assert curves["near (bench3)"] == "5 W"
    assert (curves["psu1 (bench3)"], curves["psu1 (bench4)"]) == ("2.50 W", "6 W")
    assert not any("channel" in name or "sum" in name for name in curves)


def test_channels_of_one_name_are_apart(fleet: dict[str, Any]) -> None:
    same = [row for row in rows(fleet["Channels"]) if texts(row, "Unit", "Ch") == ("psu1", "1")]
    assert [texts(row, "Agent", "Voltage") for row in same] == [("bench3", "5.000 V"), ("bench4", "12.000 V")]


def test_the_columns_have_their_places_in_any_order_of_the_tags(bad: Drawing) -> None:
    for board in DASHBOARDS:
        seen = [
            [table["columns"] for panel in panels(bad, board).values() for table in panel.get("tables", [])]
            for _ in range(3)
        ]
        assert seen[0] == seen[1] == seen[2]


def test_the_unit_dashboard_opens_on_the_first_unit_of_the_first_agent(bad: Drawing) -> None:
    told = panels(bad, "unit")
    assert {texts(row, "Unit") for row in rows(told["Now"])} == {("edge-in",)}
    assert all(curve["name"].startswith("edge-in CH1 ") for curve in told["Voltage"]["curves"])


def test_a_unit_of_two_agents_is_one_of_them_at_a_time(bad: Drawing) -> None:
    for agent, voltage in (("bench3", "5.000 V"), ("bench4", "12.000 V")):
        told = panels(bad, "unit", agent=agent, psu="psu1", channel="1")
        assert [texts(row, "Unit is", "Voltage") for row in rows(told["Now"])] == [("online", voltage)]
        assert [curve["name"] for curve in told["Voltage"]["curves"]] == [
            "psu1 CH1 measured",
            "psu1 CH1 set",
            "psu1 CH1 OVP",
        ]


def test_commands_and_trips_are_marked_on_the_curves(bad: Drawing) -> None:
    told = panels(bad, "unit", agent="bench3", psu="psu1", channel="1")
    assert {mark["text"] for mark in told["Voltage"]["marks"]} == {
        "voltage_limit 5 V → 3.3 V by command 42",
        "state on → off at the unit",
    }
    assert [
        mark["text"] for mark in panels(bad, "unit", agent="bench3", psu="psu2", channel="1")["Power"]["marks"]
    ] == ["tripped none → OVP by the unit itself"]


def test_an_agent_that_is_gone_shows_no_figures(bad: Drawing) -> None:
    told = {texts(row, "Agent")[0]: row for row in rows(panels(bad, "agents")["Agents"])}
    assert texts(told["bench3"], "Agent is", "Heard", "Version", "Units") == ("online", "now", "1.2.0", "2")
    assert texts(told["bench5"], "Agent is", "Heard", "Version", "Units") == ("GONE", "3 minutes", "", "")
    assert texts(told["bench8"], "Agent is", "Heard", "Version", "Units") == ("GONE", "", "", "")


def test_an_agent_whose_clock_is_ahead_has_one_row(bad: Drawing) -> None:
    found = [texts(row, "Agent", "Agent is", "Heard", "Version") for row in rows(panels(bad, "agents")["Agents"])]
    assert [row for row in found if row[0] in ("bench6", "jumper")] == [
        ("bench6", "online", "ahead", "1.2.0"),
        ("jumper", "online", "ahead", "1.2.0"),
    ]


def test_agents_are_told_of_at_the_end_of_the_range(bad: Drawing) -> None:
    """Not of now, where the range ended before it."""
    told = panels(bad, "agents", end=NOW - timedelta(seconds=60))
    found = {texts(row, "Agent")[0]: texts(row, "Heard", "Backlog") for row in rows(told["Agents"])}
    assert found["bench3"] == ("now", "0")


def test_a_lane_ends_where_nothing_is_known_any_more(bad: Drawing) -> None:
    """Grafana draws the last state up to now, unless what follows is known to be nothing."""
    told = panels(bad, "unit", agent="bench3", psu="lost")
    for title in ("Output", "Mode"):
        ((lane),) = told[title]["lanes"]
        ends = [round(NOW.timestamp() - piece["to"] / 1000) for piece in lane["pieces"]]
        assert 295 <= min(ends) <= 301, title

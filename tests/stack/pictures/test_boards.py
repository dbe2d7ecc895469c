"""The dashboards as a user reads them: drawn with Grafana's own display components, from what real agents have stored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pictures.drawing import Drawing
from tests.pictures.lab import Lab
from tests.stack.grafana import DASHBOARDS
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

#: Of a window, and whether Grafana's menu takes 300 of them, as it does by itself from 1,440 on.
WINDOWS = ((1366, False), (1600, True), (1920, True))
Told = dict[str, Any]


@pytest.fixture(scope="module")
def drawings(drawable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Drawing]]:
    """Of a lab where much is wrong (False), and of one where nothing is (True); both at work."""
    with contextlib.ExitStack() as stack:
        made = {}
        for well in (False, True):
            lab = stack.enter_context(Lab(tmp_path_factory.mktemp("well" if well else "bad")))
            serving = threading.Thread(target=lab.serve, kwargs={"well": well})
            serving.start()
            stack.callback(serving.join)
            stack.callback(lab.ended.set)
            made[well] = stack.enter_context(Drawing(lab.reader()))
            if not well:
                bad = lab
        wait_until(bad.happened.is_set, "all has gone wrong", 180)
        yield made


def panel(told: Told, title: str) -> Told:
    (found,) = [panel for panel in told["panels"] if panel["title"] == title]
    return dict(found)


def rows(table: Told) -> list[dict[str, dict[str, str]]]:
    """By the names of the columns, as they are shown; blanks are no text."""
    return [
        {name: cell | {"text": cell["text"].strip()} for name, cell in zip(part["columns"], row, strict=True)}
        for part in table["tables"]
        for row in part["rows"]
    ]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", DASHBOARDS)
@pytest.mark.parametrize(("width", "menu"), WINDOWS)
@pytest.mark.parametrize("well", [False, True], ids=["bad", "well"])
def test_nothing_is_cut_off(drawings: dict[bool, Drawing], name: str, width: int, menu: bool, well: bool) -> None:
    """No text, no column, in any order of the tag columns; and each panel can be drawn."""
    told = drawings[well].draw(DASHBOARDS[name], width=width, menu=menu, shuffled=True)
    assert {panel["title"]: panel["error"] for panel in told["panels"] if "error" in panel} == {}
    assert {panel["title"]: panel["cut"] for panel in told["panels"] if panel["cut"]} == {}
    assert [query for query in told["queries"] if query.get("error")] == []


def wrong(told: Told) -> set[tuple[str, str, str]]:
    return {(row["What"]["text"], row["Unit"]["text"], row["Ch"]["text"]) for row in rows(panel(told, "What is wrong"))}


FAULTS = {
    ("Tripped", "psu1", "2"),
    ("Unit is offline", "charger", ""),
    ("Agent is gone", "", ""),
    ("In current limit", "psu4", "3"),
    ("Near current limit", "rf-bench", "2"),
}


@pytest.fixture(scope="module")
def bad(drawings: dict[bool, Drawing]) -> Told:
    """*Fleet* once it tells of all that is wrong: being in current limit, and silent, counts after a minute."""
    told: list[Told] = []

    def tells() -> bool:
        told[:] = [drawings[False].draw(DASHBOARDS["fleet"])]
        heard = {row["Unit"]["text"]: row["Voltage"]["text"] for row in rows(panel(told[0], "Channels"))}
        return wrong(told[0]) >= FAULTS and heard["psu7"] == ""

    wait_until(tells, "Fleet tells of all faults", 240)
    return told[0]


@pytest.fixture(scope="module")
def channels(bad: Told) -> dict[tuple[str, str], dict[str, dict[str, str]]]:
    found = rows(panel(bad, "Channels"))
    made = {(row["Unit"]["text"], row["Ch"]["text"]): row for row in found}
    assert len(made) == len(found), "a channel stands there twice"
    return made


@pytest.mark.timeout(400)
def test_what_is_wrong_stands_on_top_and_nothing_else(bad: Told) -> None:
    """A supply that flips between two modes is near its limit. No channel that is meant to be in CC, no name of yesterday."""
    assert wrong(bad) == FAULTS
    (offline,) = [row for row in rows(panel(bad, "What is wrong")) if row["Unit"]["text"] == "charger"]
    assert "Connection refused" in offline["Reason"]["text"]
    since = {row["What"]["text"]: row["Since"]["text"] for row in rows(panel(bad, "What is wrong"))}
    assert {what for what, text in since.items() if text in ("", "-")} == {"Near current limit"}


@pytest.mark.timeout(400)
def test_nothing_is_wrong_in_a_lab_that_is_well(drawings: dict[bool, Drawing], bad: Told) -> None:
    """It has run as long as the other one."""
    told = drawings[True].draw(DASHBOARDS["fleet"])
    assert wrong(told) == set()
    heads = {part["title"]: part["values"][0] for part in told["panels"] if part["type"] == "stat"}
    assert "all is well" in {value["text"] for value in heads.values()}
    assert {row["Unit is"]["text"] for row in rows(panel(told, "Channels"))} == {"online"}


@pytest.mark.timeout(400)
def test_the_wrong_channels_come_first(channels: dict[tuple[str, str], dict[str, dict[str, str]]]) -> None:
    """Then those that nobody watches, then the others by unit and channel; one that was renamed is there once."""
    order = list(channels)
    assert set(order[:3]) == {("psu1", "2"), ("charger", "1"), ("psu4", "3")}
    assert order[3:7] == [("psu7", "1"), ("psu8", "1"), ("psu8", "2"), ("psu8", "3")]
    assert order[7:] == sorted(order[7:])
    assert channels["psu2", "1"]["Name"]["text"] == "CAMERA"


@pytest.mark.timeout(400)
def test_what_is_not_known_is_empty_and_not_green(channels: dict[tuple[str, str], dict[str, dict[str, str]]]) -> None:
    """Of a unit that is offline, of an agent that was killed, and of a channel that can't be asked."""
    green = channels["psu1", "1"]["Output"]["painted"]
    for key in (("charger", "1"), ("psu7", "1"), ("psu8", "2"), ("psu3", "3")):
        row = channels[key]
        assert (row["Output"]["text"], row["Mode"]["text"], row["Voltage"]["text"]) == ("", "", ""), key
        assert green not in (row["Output"]["painted"], row["Mode"]["painted"]), key
    for key in (("charger", "1"), ("psu7", "1"), ("psu8", "2")):
        assert channels[key]["Unit is"]["text"] != "online"
        assert channels[key]["Unit is"]["painted"] != green


@pytest.mark.timeout(400)
def test_values_have_one_unit_in_a_column(channels: dict[tuple[str, str], dict[str, dict[str, str]]]) -> None:
    """And the noise of an output that is off is 0.000 V, not some µV."""
    for name, unit in (("Voltage", " V"), ("Current", " A"), ("Power", " W")):
        texts = {row[name]["text"] for row in channels.values()} - {""}
        assert {text[-2:] for text in texts} == {unit}
    assert channels["psu1", "2"]["Voltage"]["text"].lstrip("-").split() == ["0.000", "V"]


@pytest.mark.timeout(400)
def test_events_are_not_drowned_by_modes(bad: Told) -> None:
    happened = [row["What"]["text"] for row in rows(panel(bad, "What happened"))]
    assert happened
    assert [text for text in happened if text.startswith("mode ")] == []
    changes = {row["Name"]["text"]: int(row["Changes"]["text"]) for row in rows(panel(bad, "Mode changes"))}
    assert max(changes, key=lambda name: changes[name]) == "BIAS"
    assert changes["BIAS"] > 20


@pytest.mark.timeout(400)
def test_a_unit_is_drawn_alone(drawings: dict[bool, Drawing], bad: Told) -> None:
    """*Unit* opens on one; curves bear its name; a line tells of a command and of a trip, none of a mode."""
    opened = drawings[False].draw(DASHBOARDS["unit"])
    assert len(opened["variables"]["psu"]) == 1
    told = drawings[False].draw(DASHBOARDS["unit"], variables={"agent": ["bench1"], "psu": ["psu1"]})
    voltage = panel(told, "Voltage")
    assert len(voltage["curves"]) == 9
    assert {curve["name"].split()[0] for curve in voltage["curves"]} == {"psu1"}
    marks = [mark["text"] for mark in voltage["marks"]]
    assert [text for text in marks if "OVP" in text]
    assert [text for text in marks if "voltage_limit" in text]
    assert [text for text in marks if text.startswith("mode ")] == []


@pytest.mark.timeout(400)
def test_channels_of_equal_names_are_apart(drawings: dict[bool, Drawing], bad: Told) -> None:
    """CH2 of two units, one at 12 V, one at 5 V: no curve is a mean of both."""
    told = drawings[False].draw(DASHBOARDS["unit"], variables={"agent": ["bench1"], "psu": ["psu2", "psu3"]})
    curves = {curve["name"]: curve["last"] for curve in panel(told, "Voltage")["curves"]}
    measured = {name: text for name, text in curves.items() if "CH2" in name and "measured" in name}
    assert len(measured) == 2
    assert {round(float(text.split()[0])) for text in measured.values()} <= {12, 5, 0}

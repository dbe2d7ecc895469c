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
    """By the names of the columns, as they are shown."""
    return [dict(zip(part["columns"], row, strict=True)) for part in table["tables"] for row in part["rows"]]


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

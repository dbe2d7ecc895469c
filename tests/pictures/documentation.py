"""The dashboards' pictures in docs/images, for `make pictures`.

Two labs run side by side, one with what can be wrong in a lab, one without, until there is enough to see: eight minutes.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.processes import ROOT

from .drawing import Drawing, Failed, NotThere, page
from .lab import Lab
from .png import with_palette

FOLDER = ROOT / "docs" / "images"
DASHBOARDS = ROOT / "grafana" / "dashboards"
#: Seconds that the labs run before the first picture.
LONG_ENOUGH = 420
WIDTH = 1366


class Picture(NamedTuple):
    """A dashboard, the lab that it shows (well or not), its variables."""

    dashboard: str
    well: bool
    variables: dict[str, list[str]]


PICTURES = {
    "unit": Picture("unit", False, {"agent": ["bench1"], "psu": ["psu1"]}),
    "fleet": Picture("fleet", False, {}),
    "fleet-well": Picture("fleet", True, {}),
    "agents": Picture("agents", False, {}),
}


def draw(names: list[str]) -> None:
    """Draw the pictures of these names.

    :raises NotThere: something that it takes is not on this machine; nothing was drawn
    :raises Failed: a page's code has failed
    """
    wanted = {name: PICTURES[name] for name in names}
    if not wanted:
        return
    page()
    with contextlib.ExitStack() as stack:
        labs: dict[bool, Lab] = {}
        for well in sorted({picture.well for picture in wanted.values()}):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="psu-agent-picture-")))
            try:
                labs[well] = lab = stack.enter_context(Lab(folder))
            except pytest.skip.Exception as error:
                raise NotThere(str(error)) from None
            serving = threading.Thread(target=lab.serve, kwargs={"well": well})
            serving.start()
            stack.callback(serving.join)
            stack.callback(lab.ended.set)
        print(f"a lab runs for {LONG_ENOUGH // 60} minutes, then its dashboards are drawn", flush=True)
        time.sleep(LONG_ENOUGH)
        for name, picture in wanted.items():
            with Drawing(labs[picture.well].reader()) as drawing:
                _draw(drawing, name, picture)


def _draw(drawing: Drawing, name: str, picture: Picture) -> None:
    board: dict[str, Any] = json.loads((DASHBOARDS / f"{picture.dashboard}.json").read_text())
    path = FOLDER / f"{name}.png"
    start = f"now-{LONG_ENOUGH // 60 + 2}m"
    drawing.draw(board, width=WIDTH, picture=path, variables=picture.variables, start=start)
    path.write_bytes(with_palette(path.read_bytes()))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


__all__ = ["PICTURES", "Failed", "NotThere", "draw"]

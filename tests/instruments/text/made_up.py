"""Made-up units on paper, for one mechanism of the language each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.instruments.catalogue import Series, models_of
from agent.instruments.driver import Write
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.transcript import Line, Transcript

IDN: Line = ("*IDN?", "Test,T1,7,1.0")
CHANNEL = {"voltage": [0, 30], "current": [0, 3], "voltage_resolution": 0.01, "current_resolution": 0.01}


def series(outputs: int = 1, **changes: Any) -> dict[str, Any]:
    """A series with one model, T1."""
    return {
        "series": "T",
        "manufacturer": "Test",
        "sources": "none",
        "tried": False,
        "polls": [{"ask": "V?", "answer": "{voltage}"}],
        "settings": {
            "state": {"send": "OUT {value}", "reaches": "all"},
            "voltage_limit": {"send": "SET {value}", "reaches": "all"},
        },
        "models": {"T1": {"channels": dict.fromkeys(range(1, outputs + 1), CHANNEL)}},
        **changes,
    }


def driver_of(
    data: Mapping[str, Any], lines: list[Line], *, uri: str | None = None, address: int | None = None, **options: Any
) -> tuple[Transcript, TextDriver]:
    """A driver that is connected to a unit on paper."""
    checked = Series.model_validate(data)
    assert checked.faults() == []
    link = Transcript(lines)
    if uri is not None:
        link.uri = uri
    models = models_of(checked)
    driver = TextDriver(link, name="psu1", models=models, address=address, knowledge=Knowledge(), **options)
    driver.connect()
    link.check()
    return link, driver


def send(link: Transcript, driver: TextDriver, write: Write, *lines: Line) -> list[str]:
    """What the unit complained of when it was sent a setting."""
    link.expect(lines)
    told = driver.write_checked(write)
    told = driver.complaints() if told is None else told
    link.check()
    return told

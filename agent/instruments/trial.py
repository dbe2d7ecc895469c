"""A try of a series file on a unit, in any language: connected to, polled and asked for its conditions, and nothing set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from agent.instruments.catalogue import Series
from agent.instruments.driver import Driver, DriverError, Profile, Reading, never
from agent.instruments.recording import Exchanged, Recorder


@dataclass(slots=True)
class Row:
    """One question: its text, the answer, what was understood of it, and how long the message took (ms)."""

    sent: str
    answered: str | None
    understood: str
    milliseconds: float
    is_fault: bool = False


@dataclass(slots=True)
class Trial:
    """The outcome of a try.

    ``profile``: None if the unit could not be connected to. ``problem``: why it ended early. ``lines``: the part of the record
    that a test is made of. ``conditions``: settings at the unit that forbid commands.
    """

    record: list[Exchanged]
    profile: Profile | None = None
    readings: dict[int, Reading] = field(default_factory=dict)
    problem: str | None = None
    conditions: list[str] = field(default_factory=list)
    lines: list[Exchanged] = field(default_factory=list)


def run(driver: Driver, link: Recorder) -> Trial:
    """The outcome of a try: the unit is connected to, polled, asked for the conditions, and the link closed.

    :param link: the link of the driver, with its record
    """
    record = link.record
    trial = Trial(record)
    try:
        trial.profile = driver.connect()
        trial.readings = driver.poll(never) or {}
        polled = len(record)
        inspection = driver.inspect(tuple(trial.readings))
        trial.conditions = [*inspection.bars, *inspection.silent]
        inspected = len(record)
    except DriverError as error:
        trial.problem = str(error)
        driver.close()
        return trial
    driver.close()
    trial.lines = [*record[:polled], *record[inspected:]]
    return trial


def written_test(trial: Trial, series: Series, place: str, *, imports: str, unit: str, driver: str, lines: str) -> str:
    """The text of a test that plays the record of a try again, and expects what was read then.

    :param place: the series file, as an expression of Python
    :param imports: of the two classes below, a line each
    :param unit: the class that plays a record again
    :param driver: makes the driver of ``unit``, as an expression of Python
    :param lines: the record, a line for each message
    """
    assert trial.profile is not None
    name = re.sub(r"\W+", "_", series.name.casefold()).strip("_")
    readings = "\n".join(f"    {index}: {reading!r}," for index, reading in trial.readings.items())
    return f'''"""Series {series.name}: a {trial.profile.model}, recorded by `psu-agent series try`."""

from pathlib import Path

from agent.instruments.catalogue import models_of, read
from agent.instruments.driver import Reading, never
{imports}

FILE = {place}
LINES = [
{lines}
]
READINGS = {{
{readings}
}}


def test_{name}_as_recorded() -> None:
    unit = {unit}(LINES)
    driver = {driver}
    assert driver.connect().model == {trial.profile.model!r}
    assert driver.poll(never) == READINGS
    driver.close()
    unit.check()
'''

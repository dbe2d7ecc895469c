"""A try of a series file on a unit: what was asked, answered and understood, and the same as a test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agent.instruments.catalogue import Model, Series
from agent.instruments.catalogue.answers import Value
from agent.instruments.driver import Driver, DriverError, MalformedAnswerError, Profile, Reading, never
from agent.instruments.recording import Exchanged, Recorder
from agent.instruments.text.identified import told_by
from agent.instruments.text.parts import Part
from agent.instruments.text.polling import Batching, PollPlan

#: The text that stands in a test for the unit's serial number.
SERIAL = "SN0001"


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

    ``profile``: None if the unit could not be connected to. ``problem``: why it ended early. ``lines``: the record of what a
    test is made of. ``conditions``: what is set at the unit that forbids commands.
    """

    record: list[Exchanged]
    profile: Profile | None = None
    readings: dict[int, Reading] = field(default_factory=dict)
    problem: str | None = None
    conditions: list[str] = field(default_factory=list)
    lines: list[Exchanged] = field(default_factory=list)


def run(driver: Driver, link: Recorder | None) -> Trial:
    """Connect, poll, ask for the conditions, and close. Nothing is set."""
    record = [] if link is None else link.record
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


class Reader:
    """Tells what was understood of each message, by the series file."""

    def __init__(self, model: Model, address: int | None = None) -> None:
        self._series: Series = model.series
        self._parts: dict[str, list[Part]] = {}
        for batching in Batching:
            plan = PollPlan(model, batching, address)
            parts = iter(plan.parts)
            for message in plan.messages:
                self._parts[message.text] = [next(parts) for _ in range(message.parts)]

    def rows(self, record: Sequence[Exchanged]) -> Iterator[Row]:
        """A row for each question; a message of several questions has several."""
        for one in record:
            milliseconds = one.seconds * 1000
            if one.problem is not None:
                yield Row(one.sent, one.answer, one.problem, milliseconds, is_fault=True)
            elif (parts := self._parts.get(one.sent)) is not None and one.answers:
                yield from _of_parts(parts, one, milliseconds)
            else:
                yield Row(one.sent, one.answer, self._of_others(one), milliseconds)

    def _of_others(self, one: Exchanged) -> str:
        series, answer = self._series, one.answers[0] if one.answers else ""
        if one.sent == series.identify.ask and one.answers:
            try:
                found = told_by(series, answer)
            except DriverError as error:
                return str(error)
            return ", ".join(f"{name} = {value}" for name, value in found.items())
        if series.errors is not None and one.sent in series.errors.ask:
            return "no error" if re.fullmatch(series.errors.none, answer) else "an error"
        if one.sent in (*series.link.enter, *series.link.setup):
            return "prepares the unit"
        if one.sent in series.link.leave:
            return "gives the front panel back"
        for guard in series.conditions:
            if guard.ask is not None and one.sent.split("?")[0] == guard.ask.split("?")[0]:
                return f"on {guard.text.partition(' (')[0]}" if guard.tells else "a setting at the unit"
        return "" if one.answers else "no answer is expected"


def _of_parts(parts: list[Part], one: Exchanged, milliseconds: float) -> Iterator[Row]:
    texts = one.answers[0].split(";") if len(parts) > 1 else [one.answers[0]]
    if len(texts) != len(parts):
        yield Row(one.sent, one.answer, f"{len(texts)} answers to {len(parts)} questions", milliseconds, is_fault=True)
        return
    for part, text in zip(parts, texts, strict=True):
        try:
            values = part.read(text)
        except MalformedAnswerError as error:
            yield Row(part.ask, text, str(error), milliseconds, is_fault=True)
        else:
            shown = ", ".join(
                _shown(name, index, value) for (name, index), value in zip(part.places, values, strict=True)
            )
            yield Row(part.ask, text, shown, milliseconds)


def _shown(name: str, index: int | None, value: Value) -> str:
    where = "" if index is None else f" {index}"
    shown = {True: "yes", False: "no", None: "not told"}.get(value) if isinstance(value, bool | None) else value
    return f"{name}{where} = {shown}"


def as_test(trial: Trial, series: Series, place: str) -> str:
    """A test of the series file, from what the unit answered; without the unit's serial number."""
    assert trial.profile is not None
    identity = trial.profile.identity
    serial = identity.serial if identity else ""
    name = re.sub(r"\W+", "_", series.name.casefold()).strip("_")
    lines = "\n".join(f"    ({_quoted(one.sent, serial)}, {_answer(one, serial)})," for one in trial.lines)
    readings = "\n".join(f"    {index}: {reading!r}," for index, reading in trial.readings.items())
    return f'''"""Series {series.name}: a {trial.profile.model}, recorded by `psu-agent series try`."""

from pathlib import Path

from agent.instruments.catalogue import models_of, read
from agent.instruments.driver import Reading, never
from agent.instruments.recording import Replay
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge

FILE = {place}
LINES = [
{lines}
]
READINGS = {{
{readings}
}}


def test_{name}_as_recorded() -> None:
    unit = Replay(LINES)
    driver = TextDriver(unit, name="unit", models=models_of(read(FILE)), knowledge=Knowledge())
    assert driver.connect().model == {trial.profile.model!r}
    assert driver.poll(never) == READINGS
    driver.close()
    unit.check()
'''


def _answer(one: Exchanged, serial: str) -> str:
    if one.problem is not None or not one.answers:
        return "None"
    if len(one.answers) == 1:
        return _quoted(one.answers[0], serial)
    return f"[{', '.join(_quoted(line, serial) for line in one.answers)}]"


def _quoted(text: str, serial: str) -> str:
    if len(serial) >= 4:
        text = re.sub(re.escape(serial), SERIAL, text, flags=re.IGNORECASE)
    return repr(text)

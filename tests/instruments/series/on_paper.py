"""A supply on paper for the tests of series files: a table of questions and answers, and checks that all series have in common.

A test of a series is data: a `Supply`, and one test that runs `CHECKS` over it. Tests of trips and dangers use `connected` and
`Supply.reading` with some answers changed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.instruments.catalogue import Series, all_series, identify, models_of
from agent.instruments.driver import Identity, LinkError, Profile, Reading, Write
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from agent.protocol.quantities import SETTINGS, Setting

#: An answer, or those for each selected output.
Answer = str | Mapping[int, str]


def series_of(name: str) -> Series:
    """The shipped series of that name."""
    return next(series for series in all_series() if series.name == name)


def reading(**told: Any) -> Reading:
    """A reading in which all is unknown that is not told."""
    return Reading(**(dict.fromkeys(Reading._fields) | told))


class PaperUnit:
    """Stands where a link would, and answers from a table.

    ``sent``: each message, word for word. ``unknown``: questions that are not in the table; they get no answer.

    :param answers: by the questions, with or without the colon at their beginning. A list is given out one answer after
        another, the last one for ever. An answer by outputs depends on the selected one.
    :param taken: the answer to a setting, for units that answer those; None for those that do not
    :param effects: the answers that change with a setting
    """

    def __init__(
        self,
        series: Series,
        answers: Mapping[str, Answer | list[str]],
        *,
        taken: str | None = None,
        effects: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.uri = "TCPIP::192.0.2.1::5025::SOCKET"
        self.answers = {_key(ask): answer for ask, answer in answers.items()}
        self.effects = {_key(sent): changed for sent, changed in (effects or {}).items()}
        self.sent: list[str] = []
        self.pauses: list[float] = []
        self.selected = 0
        self.is_open = False
        self.unknown: list[str] = []
        self.taken = taken
        self._series = series
        self._lines: list[str] = []
        self._ahead: str | None = None
        send = "" if series.select is None else re.escape(series.select.send)
        self._select = re.compile(re.sub(r"\\\{\w+\\\}", r"(\\w+)", send)) if send else None

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self._lines = []

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        self.tell(message)
        return self.listen(length)

    def listen(self, length: tuple[int, int] | None = None) -> str:
        if not self._lines:
            self.close()
            raise LinkError("no answer: timeout")
        line = self._lines.pop(0)
        assert length is None or length[0] <= len(line) <= length[1], f"{line!r} has not the length {length}"
        return line

    def tell(self, message: str) -> None:
        assert self.is_open, f"{message} was sent over a closed link"
        self.sent.append(message)
        parts = [message] if message.upper() in self.answers else _parts(message)
        answers = [answer for part in parts if (answer := self._answer(part)) is not None]
        if answers:
            self._lines.append(";".join(answers))
            if self._series.link.acknowledges_queries is not None and answers != [self.taken]:
                self._lines.append(self._series.link.acknowledges_queries)

    def _answer(self, part: str) -> str | None:
        for ask, answer in self.effects.get(_key(part), {}).items():
            old = self.answers[_key(ask)]
            # A change by outputs leaves the others as they are.
            self.answers[_key(ask)] = (
                {**old, **answer} if isinstance(old, dict) and isinstance(answer, dict) else answer
            )
        found = self.answers.get(_key(part))
        if self._select is not None and (match := self._select.fullmatch(part)) is not None:
            self.selected = self._number(match[1])
        if found is None:
            if "?" in part:
                self.unknown.append(part)
                return None
            return self.taken
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, str) else found[self.selected]

    def _number(self, word: str) -> int:
        names = {str(channel.name): channel.index for model in models_of(self._series) for channel in model.channels}
        return names[word] if word in names else int(re.sub(r"\D", "", word))

    def exchange(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def ask_ahead(self, message: str) -> bool:
        self._ahead = message
        return True

    def hear(self) -> str:
        assert self._ahead is not None
        message, self._ahead = self._ahead, None
        return self.ask(message)

    def unasked(self) -> list[str]:
        return []

    def rest(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def wait_until_ready(self) -> bool:
        return False


def _key(ask: str) -> str:
    return ask.strip().lstrip(":").upper()


def _parts(message: str) -> list[str]:
    """The parts of a message; a semicolon in quotes is none between parts."""
    found = re.findall(r'(?:"[^"]*"|[^;"])+', message)
    assert not any(part.startswith("::") for part in found), f"{message} is no SCPI: two colons"
    return [part.removeprefix(":") for part in found]


@dataclass(frozen=True)
class Supply:
    """A unit of a series, and all that its test compares.

    ``models``: for each literal identity of the fact sheet, the model. The first one is the unit that is polled. ``answers``: to
    every question, where nothing is in the way. ``poll``: the messages of a poll, word for word. ``readings``: those of that
    poll, by outputs. ``settings``: an output, a setting and a value, and the messages for it. ``refusal``: an answer to the
    question for errors, and the words in which it is told. ``refused_by_answer``: a setting's answer that is a refusal.
    ``taken``: the answer to a setting, where the unit answers those. ``model``: the configured one, where the unit does not
    tell it. ``silent``: questions that the unit does not answer.
    """

    series: str
    models: Mapping[str, str]
    answers: Mapping[str, Answer]
    poll: Sequence[str]
    readings: Mapping[int, Reading]
    settings: Sequence[tuple[int, Setting, float | bool, Sequence[str]]]
    refusal: tuple[str, str] | None = None
    refused_by_answer: str | None = None
    taken: str | None = None
    model: str | None = None
    silent: Sequence[str] = field(default_factory=tuple)

    def unit(self, idn: str | None = None, **changed: Any) -> PaperUnit:
        """A unit on paper. ``changed``: answers under ``answers``, others than the table's."""
        series = series_of(self.series)
        table: dict[str, Any] = {_key(ask): answer for ask, answer in self.answers.items()}
        table |= {_key(ask): answer for ask, answer in changed.get("answers", {}).items()}
        table.setdefault(_key(series.identify.ask), idn or next(iter(self.models)))
        if idn is not None:
            table[_key(series.identify.ask)] = idn
        for ask in self.silent:
            table.pop(_key(ask), None)
        return PaperUnit(series, table, taken=self.taken, effects=changed.get("effects"))

    def reading(self, answers: Mapping[str, Answer], channel: int = 1) -> Reading:
        """The reading of an output while the unit gives some other answers."""
        driver, _, _ = connected(self, answers=answers)
        readings = driver.poll(_never)
        assert readings is not None
        return readings[channel]


def connected(
    supply: Supply, idn: str | None = None, answers: Mapping[str, Any] | None = None
) -> tuple[TextDriver, PaperUnit, Profile]:
    """A driver that is connected to a unit on paper, the unit, and what the driver found. ``sent`` is empty then."""
    unit = supply.unit(idn, answers=answers or {})
    series = series_of(supply.series)
    models = models_of(series)
    if supply.model is not None:
        models = tuple(model for model in models if model.name == supply.model)
    driver = TextDriver(unit, name="psu1", models=models, knowledge=Knowledge())
    profile = driver.connect()
    unit.sent.clear()
    return driver, unit, profile


def check_identities(supply: Supply) -> None:
    """Each literal identity is that of its model, and the first one has the outputs that the readings are of."""
    series = series_of(supply.series)
    for idn, name in supply.models.items():
        driver = TextDriver(supply.unit(idn), name="psu1", models=models_of(series), knowledge=Knowledge())
        driver.admit = _stop
        with pytest.raises(_SeenError) as seen:
            driver.connect()
        found = identify(seen.value.identity, models_of(series))
        assert found is not None, idn
        assert found.name == name, idn
    _, unit, profile = connected(supply)
    assert profile.model == (supply.model or next(iter(supply.models.values())))
    assert [output.index for output in profile.outputs] == list(supply.readings)
    assert unit.unknown == list(supply.silent)


class _SeenError(Exception):
    def __init__(self, identity: Identity) -> None:
        super().__init__(identity.model)
        self.identity = identity


def _stop(identity: Identity) -> None:
    raise _SeenError(identity)


def check_poll(supply: Supply) -> None:
    """A poll is these messages, and reads these values; a second one is the same. The outputs tell what has a value."""
    driver, unit, profile = connected(supply)
    for output in profile.outputs:
        known = {name for name, value in supply.readings[output.index]._asdict().items() if value is not None}
        assert output.tells is not None
        assert known <= output.tells
    for _ in range(2):
        unit.sent.clear()
        readings = driver.poll(_never)
        assert unit.sent == list(supply.poll)
        assert readings == dict(supply.readings)


def check_settings(supply: Supply) -> None:
    """Nothing is in the way of settings; each is these messages; every one that an output has is among them, inside its range."""
    driver, unit, profile = connected(supply)
    outputs = {output.index: output for output in profile.outputs}
    inspection = driver.inspect(tuple(outputs))
    assert (inspection.bars, inspection.silent, inspection.complaints) == ([], [], [])
    for channel, setting, value, messages in supply.settings:
        output = outputs[channel]
        assert setting in output.settings, f"{setting} can't be set"
        if (limits := output.range(setting)) is not None:
            assert value in limits, f"{setting} {value}"
        unit.sent.clear()
        driver.write(Write(setting, (channel,), value))
        assert unit.sent == list(messages)
        assert driver.complaints() == []
    first = next(iter(supply.readings))
    missing = (outputs[first].settings & SETTINGS) - {setting for _, setting, _, _ in supply.settings}
    assert not missing, f"no message is checked for {sorted(missing)}"


def check_refusal(supply: Supply) -> None:
    """A setting that the unit refuses is told in the unit's own words."""
    channel, setting, value, _ = supply.settings[0]
    errors = series_of(supply.series).errors
    if supply.refusal is not None:
        assert errors is not None
        driver, unit, _ = connected(supply)
        said, told = supply.refusal
        unit.answers[_key(errors.ask[0])] = [said, *_plain(supply.answers, errors.ask[0])]
        driver.write(Write(setting, (channel,), value))
        assert any(told in complaint for complaint in driver.complaints())
    if supply.refused_by_answer is not None:
        driver, unit, _ = connected(supply)
        unit.taken = supply.refused_by_answer
        driver.write(Write(setting, (channel,), value))
        assert any(supply.refused_by_answer in complaint for complaint in driver.complaints())
    if supply.refusal is None and supply.refused_by_answer is None:
        assert errors is None, "the series reports errors: give a refusal"


def _plain(answers: Mapping[str, Answer], ask: str) -> list[str]:
    found = {_key(one): answer for one, answer in answers.items()}[_key(ask)]
    assert isinstance(found, str)
    return [found]


def _never() -> bool:
    return False


#: What every series is checked for.
CHECKS: tuple[Callable[[Supply], None], ...] = (check_identities, check_poll, check_settings, check_refusal)

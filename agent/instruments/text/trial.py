"""A try of a series file on a unit that speaks text: what was asked, answered and understood, and the same as a test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import cycle

from agent.instruments.catalogue import Model, Series
from agent.instruments.catalogue.answers import Value, plain
from agent.instruments.driver import DriverError, MalformedAnswerError
from agent.instruments.recording import Exchanged
from agent.instruments.text import ratings
from agent.instruments.text.identified import fields_of, told_by
from agent.instruments.text.parts import Part
from agent.instruments.text.polling import Batching, PollPlan
from agent.instruments.trial import Row, Trial, written_test


def rows(record: Sequence[Exchanged], model: Model, address: int | None = None) -> Iterator[Row]:
    """A row for each question of a record, with what the series file makes of the answer; several for a message of several.

    :param address: of the unit on its line
    """
    known: dict[str, list[Part]] = {}
    for batching in Batching:
        plan = PollPlan(model, batching, address)
        left = iter(plan.parts)
        for message in plan.messages:
            known[message.text] = [next(left) for _ in range(message.parts)]
    for question in model.series.ratings:
        if question.is_for(model.name):
            known |= {part.ask: [part] for _, part in ratings.parts(model, question, address)}
    for one in record:
        milliseconds = one.seconds * 1000
        if one.problem is not None:
            yield Row(one.sent, one.answer, one.problem, milliseconds, is_fault=True)
        elif (parts := known.get(one.sent)) is not None and one.answers:
            yield from _of_parts(parts, one, milliseconds)
        else:
            yield Row(one.sent, one.answer, _of_others(model.series, one), milliseconds)


def _of_others(series: Series, one: Exchanged) -> str:
    answer, link = one.answers[0] if one.answers else "", series.link
    if one.sent == series.identify.ask and one.answers:
        if not answer:
            return "nothing, so it is asked again"
        try:
            found = told_by(series, answer)
        except DriverError as error:
            return str(error)
        return ", ".join(f"{name} = {value}" for name, value in found.items())
    for further in series.identify.also:
        if one.sent == further.ask and (parts := fields_of(series, further.answer, answer)):
            return ", ".join(f"{name} = {value}" for name, value in parts.items())
    power_up = series.power_up
    if power_up is not None and one.sent == power_up.ask and (told := fields_of(series, [power_up.answer], answer)):
        comes_back = any(plain(value) in map(plain, power_up.on) for value in told.values())
        return power_up.text if comes_back else "outputs stay off after power returns"
    if series.errors is not None and one.sent in series.errors.ask:
        return "no error" if re.fullmatch(series.errors.none, answer, re.IGNORECASE) else "an error"
    enter, leave = ((*getattr(link, name), *(getattr(link.serial, name, None) or ())) for name in ("enter", "leave"))
    if one.sent in (*enter, *link.setup):
        return "prepares the unit"
    if one.sent in leave:
        return "gives the front panel back"
    for guard in series.conditions:
        # A selection may stand before it, and the output behind the question mark.
        if guard.ask is not None and one.sent.partition("?")[0].endswith(guard.ask.partition("?")[0]):
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


def as_test(trial: Trial, series: Series, place: str, model: str | None = None) -> str:
    """A test of the series file, from what the unit answered; without the unit's serial number.

    :param place: the series file, as an expression of Python
    :param model: the name that the user has given, where the unit does not tell it
    """
    identity = trial.profile.identity if trial.profile is not None else None
    serial = identity.serial if identity is not None else ""
    models = "models_of(read(FILE))"
    if model is not None and trial.profile is not None:
        models = f"[one for one in {models} if one.name == {trial.profile.model!r}]"
    return written_test(
        trial,
        series,
        place,
        imports="from agent.instruments.recording import Replay\n"
        "from agent.instruments.text.driver import TextDriver\n"
        "from agent.instruments.text.knowledge import Knowledge",
        unit="Replay",
        driver=f'TextDriver(unit, name="unit", models={models}, knowledge=Knowledge())',
        lines="\n".join(f"    ({_quoted(one.sent, serial)}, {_answer(one, serial)})," for one in trial.lines),
    )


def _answer(one: Exchanged, serial: str) -> str:
    if one.problem is not None or not one.answers:
        return "None"
    if len(one.answers) == 1:
        return _quoted(one.answers[0], serial)
    return f"[{', '.join(_quoted(line, serial) for line in one.answers)}]"


def _quoted(text: str, serial: str) -> str:
    if len(serial) >= 4:
        text = re.sub(re.escape(serial), _stand_in(serial), text, flags=re.IGNORECASE)
    return repr(text)


def _stand_in(serial: str) -> str:
    """Another serial number of the same form, as the series file may want digits alone: X for letters, digits in a row."""
    digits = cycle("1234567890")
    return "".join(next(digits) if one.isdigit() else "X" if one.isalpha() else one for one in serial)

"""A watch that lets nothing through to a unit but the questions of its series file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from agent.instruments.catalogue import Series
from agent.instruments.driver import DriverError

_PLACE = re.compile(r"\{(?P<name>[a-z]+)(?::[^{}]*)?\}")
#: The texts that may stand in a place of a template.
_TEXTS = {"ch": r"\d{1,3}", "list": r"\(@[\d,:]+\)", "address": r"\d{0,3}", "name": r"[^;?\s]+", "value": r"[^;\s?]+"}


class NotAQuestionError(DriverError):
    """A message was not sent, as the series file does not have it as a question."""


class QuestionsOnly:
    """Called with each message before it is sent.

    ``announced``: messages of the file that are no questions and are sent all the same: they enter remote mode, select an
    output, or set the unit's language up. The user is to be told of them before.
    """

    def __init__(self, series: Series) -> None:
        """
        :raises NotAQuestionError: a question of the file would set something; the text says which
        """
        settings = list(_settings(series))
        questions = list(_questions(series))
        self.announced = list(_preparations(series))
        as_settings = re.compile("|".join(_expression(text) for text in settings) or r"(?!)", re.IGNORECASE)
        for key, text in [*questions, *(("link", text) for text in self.announced)]:
            shown = _PLACE.sub(lambda place: "(@1)" if place["name"] == "list" else "1", text)
            if "?" in text:
                continue
            if as_settings.fullmatch(shown):
                raise NotAQuestionError(f"{key}: {text!r} is a setting of this file, too; nothing was sent")
            if key != "link" and " " in text.strip():
                raise NotAQuestionError(f"{key}: {text!r} is no question, as it holds no '?'; nothing was sent")
        selections = [] if series.select is None else [series.select.send]
        if series.bus is not None:
            selections.append(series.bus.select)
        one = "|".join(_expression(text) for text in [*(text for _, text in questions), *self.announced, *selections])
        self._allowed = re.compile(rf"(?:{one})(?:{re.escape(series.link.separator)}(?:{one}))*")

    def __call__(self, message: str) -> None:
        """
        :raises NotAQuestionError: it is no question of the file
        """
        if self._allowed.fullmatch(message) is None:
            raise NotAQuestionError(f"{message!r} is no question of this series file, so it was not sent")


def _expression(text: str) -> str:
    expression, at = "", 0
    for place in _PLACE.finditer(text):
        expression += re.escape(text[at : place.start()]) + _TEXTS.get(place["name"], r"\S+")
        at = place.end()
    return expression + re.escape(text[at:])


def _questions(series: Series) -> Iterator[tuple[str, str]]:
    """The questions of a file, each with its key."""
    yield "identify.ask", series.identify.ask
    for name, asks in (("identify.also", series.identify.also), ("polls", series.polls), ("ratings", series.ratings)):
        for number, one in enumerate(asks):
            yield f"{name}[{number}].ask", one.ask
    for number, guard in enumerate(series.conditions):
        if guard.ask is not None:
            yield f"conditions[{number}].ask", guard.ask
    if series.errors is not None:
        yield from (("errors.ask", text) for text in series.errors.ask)
    if series.power_up is not None:
        yield "power_up.ask", series.power_up.ask
    if series.bus is not None and series.bus.confirm is not None:
        yield "bus.confirm.ask", series.bus.confirm.ask


def _preparations(series: Series) -> Iterator[str]:
    link = series.link
    serial = link.serial
    groups: Iterable[Iterable[str]] = (
        link.enter,
        link.setup,
        link.leave,
        (serial.enter or ()) if serial else (),
        (serial.leave or ()) if serial else (),
    )
    yield from dict.fromkeys(text for group in groups for text in group)


def _settings(series: Series) -> Iterator[str]:
    for setting in series.settings:
        for entry in series.entries(setting):
            yield from (*entry.send, *entry.on, *entry.off)

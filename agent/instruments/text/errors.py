"""The errors that a unit reports: read by themselves, or in one message with a setting."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from agent.instruments.catalogue.language import Errors
from agent.instruments.driver import (
    DriverError,
    GiveWay,
    Identity,
    LinkClosedError,
    LinkError,
    MalformedAnswerError,
    never,
)
from agent.instruments.text.identified import IdentifiedLink
from agent.instruments.text.messages import joined, shorten

log = logging.getLogger(__name__)

#: From here down the link is the cause (query errors, SCPI-99, volume 2, 21.8.12), or nothing went wrong (-500: power on).
_NOT_OF_A_SETTING = -400


class Error(NamedTuple):
    """An error as the unit tells it. ``number``: SCPI's, None where the unit has none."""

    number: int | None
    text: str


class ErrorQueue:
    """The errors of the unit behind a link. For one thread."""

    __slots__ = ("_apart", "_errors", "_form", "_link", "_name", "_none")

    def __init__(self, link: IdentifiedLink, name: str, errors: Errors | None) -> None:
        """
        :param name: the unit's name, for the log
        :param errors: how the series is asked for them; None where it reports none
        """
        self._link = link
        self._name = name
        self._errors = errors
        self._none = re.compile(errors.none if errors else "", re.IGNORECASE)
        self._form = re.compile(errors.form if errors else "", re.IGNORECASE | re.DOTALL)
        self._apart: Identity | None = None  # the unit that drops a question behind a setting that it refuses

    @property
    def query(self) -> str | None:
        """The one question for errors; None where there are none or several."""
        return self._errors.ask[0] if self._errors is not None and len(self._errors.ask) == 1 else None

    @property
    def reports(self) -> bool:
        """True if the unit reports errors at all."""
        return self._errors is not None

    def read(self, give_way: GiveWay = never) -> list[Error]:
        """Empty the queue: its entries, oldest first; a few more than it holds, at most, of a unit that reports one without end.

        :param give_way: asked behind each entry; the rest stays in the queue if it says so
        :raises DriverError: no answer, or one that can't be read; the link is closed then
        """
        found: list[Error] = []
        if self._errors is None:
            return found
        for ask in self._errors.ask:
            for _ in range(self._errors.count + 5):
                error = self.parsed(self._link.ask(ask))
                if error is None:
                    break
                found.append(error)
                # On a slow line a full queue takes seconds, in which no off is sent.
                if give_way():
                    return found
        return found

    def may_follow(self, identity: Identity | None) -> bool:
        """False if this unit gets a setting and the question for errors in two messages."""
        return self.query is not None and identity is not None and identity != self._apart

    def read_behind(self, setting: str, separator: str, identity: Identity, give_way: GiveWay = never) -> list[Error]:
        """Send a setting and the question for errors as one message, and empty the queue as `read` does.

        A unit may drop the rest of a message after a command error (SCPI-99, volume 2, 21.8.9), so it does not answer when it
        refuses the setting. Its queue tells that on a new link; from then on it gets two messages.

        :param identity: the unit's, which a new link must show
        :raises DriverError: the link broke; the setting may or may not have been carried out
        """
        try:
            answer = self._link.tell_and_ask(joined(separator, setting, self.query or ""))
        except LinkClosedError:
            raise
        except LinkError as failure:
            return self._refusal(identity, failure)
        error = self.parsed(answer)
        if error is None:
            return []
        return [error] if give_way() else [error, *self.read(give_way)]

    def _refusal(self, identity: Identity, failure: LinkError) -> list[Error]:
        try:
            self._link.open(identity)
            errors = [error for error in self.read() if error.number is None or error.number > _NOT_OF_A_SETTING]
        except DriverError:
            raise failure from None
        if not errors:
            self._link.close()
            raise failure
        self._link.keep(identity)
        self._apart = identity
        log.warning(
            "%s: settings take two messages each from now on, as the unit gave no answer behind a setting that it refused",
            self._name,
        )
        return errors

    def parsed(self, answer: str) -> Error | None:
        """The error that an answer tells; None if it tells that there is none.

        :raises MalformedAnswerError: it tells neither; the link is closed then
        """
        text = answer.strip()
        if self._none.fullmatch(text):
            return None
        match = self._form.fullmatch(text)
        if match is None:
            self._link.close()
            raise MalformedAnswerError(f"{shorten(answer)} is no answer to an error query")
        groups = match.groupdict()
        if (number := groups.get("number")) and int(number) == 0:
            return None  # 0 is no error in every form of the text behind it (SCPI-99, volume 2, 21.8.2)
        told = groups.get("text", text) or text
        if len(told) > 1 and told[0] == told[-1] == '"':
            told = told[1:-1]
        return Error(int(number) if number else None, re.sub(r"[^ -~]", lambda odd: ascii(odd[0])[1:-1], told))


def in_words(errors: list[Error]) -> list[str]:
    """Errors as the unit writes them."""
    return [error.text if error.number is None else f'{error.number},"{error.text}"' for error in errors]


def has_command_error(errors: list[Error]) -> bool:
    """True if one says that the unit does not know a message (SCPI-99, volume 2, 21.8.9), or has no number."""
    return any(error.number is None or -200 < error.number <= -100 for error in errors)


def has_refused(errors: list[Error]) -> bool:
    """True if one says that the unit did not take a message."""
    return any(error.number is None or -500 < error.number <= -100 for error in errors)

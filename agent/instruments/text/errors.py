"""The error queue of a unit: read by itself, or in one message with a setting."""

from __future__ import annotations

import logging

from agent.instruments.catalogue.schema import Series
from agent.instruments.driver import DriverError, Identity, LinkClosedError, LinkError, MalformedAnswerError
from agent.instruments.text.identified import IdentifiedLink
from agent.instruments.text.messages import parse_error

log = logging.getLogger(__name__)

Error = tuple[int, str]
#: From here down the link is the cause (query errors, SCPI-99, volume 2, 21.8.12), or nothing went wrong (-500: power on).
_NOT_OF_A_SETTING = -400


class ErrorQueue:
    """The error queue of the unit behind a link. For one thread."""

    __slots__ = ("_apart", "_link", "_name")

    def __init__(self, link: IdentifiedLink, name: str) -> None:
        """``name``: the unit's name, for the log."""
        self._link = link
        self._name = name
        self._apart: Identity | None = None  # the unit that drops a question behind a setting that it refuses

    def read(self, series: Series) -> list[Error]:
        """Empty the queue: its entries, oldest first; a few more than it holds, at most, of a unit that reports one without end.

        :raises DriverError: no answer, or one that can't be read; the link is closed then
        """
        found: list[Error] = []
        for _ in range(series.error_queue + 5):
            error = self._parsed(self._link.ask(series.error_query))
            if error[0] == 0:
                break
            found.append(error)
        return found

    def may_follow(self, identity: Identity | None) -> bool:
        """False if this unit gets a setting and the question for errors in two messages."""
        return identity is not None and identity != self._apart

    def read_behind(self, setting: str, series: Series, identity: Identity) -> list[Error]:
        """Send a setting and the question for errors as one message, and empty the queue: its entries, oldest first.

        A unit may drop the rest of a message after a command error (SCPI-99, volume 2, 21.8.9), so it does not answer when it
        refuses the setting. Its queue tells that on a new link; from then on it gets two messages.

        :param identity: the unit's, which a new link must show
        :raises DriverError: the link broke; the setting may or may not have been carried out
        """
        try:
            answer = self._link.tell_and_ask(f"{setting};:{series.error_query}")
        except LinkClosedError:
            raise
        except LinkError as failure:
            return self._refusal(series, identity, failure)
        error = self._parsed(answer)
        return [] if error[0] == 0 else [error, *self.read(series)]

    def _refusal(self, series: Series, identity: Identity, failure: LinkError) -> list[Error]:
        try:
            self._link.open(identity)
            errors = [error for error in self.read(series) if error[0] > _NOT_OF_A_SETTING]
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

    def _parsed(self, answer: str) -> Error:
        try:
            return parse_error(answer)
        except MalformedAnswerError:
            self._link.close()
            raise


def in_words(errors: list[Error]) -> list[str]:
    """Errors as the unit writes them."""
    return [f'{number},"{text}"' for number, text in errors]


def has_command_error(errors: list[Error]) -> bool:
    """True if the unit did not know a message, or could not read it (SCPI-99, volume 2, 21.8.9)."""
    return any(-200 < number <= -100 for number, _ in errors)

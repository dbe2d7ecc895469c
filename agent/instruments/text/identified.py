"""A link that is used only after the instrument has said who it is: the one place where a driver's link is opened.

Instruments and firewalls close a link that was idle for minutes. A message that finds it closed is sent on a new one, if it
is certain that nothing is done twice and that the same instrument answers.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable

from agent.instruments.catalogue import Series
from agent.instruments.catalogue.answers import AnswerPattern
from agent.instruments.driver import Identity, IdentityError, LinkClosedError, LinkError, MalformedAnswerError
from agent.instruments.link import TextLink
from agent.instruments.text.messages import shorten
from agent.instruments.text.settings import Outgoing

#: s. A link that is closed again within that time is not opened again here: the instrument does not want it.
SHORT_LIVED = 1.0


class IdentifiedLink:
    """A `TextLink` whose `open` asks for the identity, as the series has it. For one thread.

    ``reopened``: how often it was opened again by itself. ``unasked``: the lines that came without a question, not read yet.
    """

    __slots__ = (
        "_identity",
        "_is_greeted",
        "_is_written",
        "_link",
        "_model",
        "_opened",
        "_places",
        "_series",
        "reopened",
        "unasked",
    )

    def __init__(self, link: TextLink, series: Series, *, model: str | None = None, address: int | None = None) -> None:
        """
        :param model: the configured one, for a series whose units do not tell their model
        :param address: of the unit on its bus
        """
        self._link = link
        self._series = series
        self._model = model
        self._places = {"address": "" if address is None else str(address)}
        self._identity: Identity | None = None  # of the instrument behind a link that may be opened again
        self._is_written = False  # something that has no answer was sent since the last answer
        self._is_greeted = False  # remote mode was entered, and is to be left
        self._opened = 0.0
        self.reopened = 0
        self.unasked: list[str] = []

    @property
    def uri(self) -> str:
        """The VISA resource name of the instrument."""
        return self._link.uri

    def open(self, known: Identity | None = None) -> Identity:
        """Open the link anew. The identity that the instrument tells; remote mode is entered if it is the known one.

        :param known: the identity that it must have, None for any: `greet` is to be called when it was admitted
        :raises LinkError: it can't be opened, or does not answer
        :raises MalformedAnswerError: the answer is no identity
        :raises IdentityError: another instrument answers
        """
        self._identity, self._is_written, self._is_greeted = None, False, False
        self._link.open()
        try:
            identity = self._identify()
            if known is not None and identity != known:
                raise IdentityError(
                    f"at {self.uri} is {identity.model} {identity.serial} now, and was {known.model} {known.serial} "
                    "a moment ago; it gets no commands",
                    identity,
                )
            if known is not None:
                self.greet()
        except LinkClosedError as error:
            raise LinkError(
                f"{error}, as soon as it was open; the unit may have as many clients as it takes: end other programs that use it"
            ) from error
        except BaseException:
            self._link.close()
            raise
        self._opened = time.monotonic()
        return identity

    def _identify(self) -> Identity:
        how = self._series.identify
        length = None if how.length is None else (how.length, how.length)
        answer = self._answer(how.ask.format(**self._places), length)
        for left in reversed(range(how.tries)):
            try:
                found = told_by(self._series, answer)
                break
            except IdentityError:
                # A unit that missed the beginning of the first message, or had a part of another in its buffer, answers anything.
                if not left:
                    raise
                answer = self._answer(how.ask.format(**self._places), length)
        for further in how.also:
            text = self._answer(further.ask.format(**self._places), further.length)
            told = fields_of(self._series, further.answer, text)
            if told is None:
                raise MalformedAnswerError(
                    f"{further.ask} was answered {shorten(text)}; expected was {' or '.join(further.answer)}"
                )
            found |= told
        model = found.get("model") or self._model
        if model is None:
            raise IdentityError(
                f"{shorten(answer)} does not tell the model; name one of {self._series.name} as the unit's model"
            )
        return Identity(
            found.get("manufacturer") or self._series.manufacturer,
            model,
            found.get("serial", ""),
            found.get("firmware", ""),
        )

    def greet(self) -> None:
        """Enter remote mode and send what is sent at each connection, as the series has it.

        :raises DriverError: a broken link, or a refusal
        """
        for text in (*self._by_link("enter"), *self._series.link.setup):
            self._tell_acknowledged(text)
        self._is_greeted = True

    def take_leave(self) -> None:
        """Leave remote mode, where the link still works, so that the panel is not left locked. It never raises."""
        if self._is_greeted:
            self._is_greeted = False
            with contextlib.suppress(LinkError, MalformedAnswerError):
                for text in self._by_link("leave"):
                    self._tell_acknowledged(text)

    def _by_link(self, name: str) -> tuple[str, ...]:
        link = self._series.link
        own = getattr(link.serial, name) if link.serial is not None and link.is_serial(self.uri) else None
        texts: tuple[str, ...] = getattr(link, name) if own is None else own
        return texts

    def _tell_acknowledged(self, text: str) -> None:
        message = text.format(**self._places)
        expected = self._series.link.acknowledges
        if expected is None:
            self._link.tell(message)
            self._is_written = True
            return
        answer = self._link.ask(message)
        if answer.strip() != expected:
            raise MalformedAnswerError(f"{message} was answered {shorten(answer)}; expected was {expected}")

    def keep(self, identity: Identity) -> None:
        """Have the link opened again, if the instrument closes it while it is idle and has this identity still."""
        self._identity = identity

    def ask(self, message: str, length: tuple[int, int] | None = None, select: str | None = None) -> str:
        """Send one message and read its one answer, without the line end.

        :param length: the least and the most bytes of the answer, where nothing ends it
        :param select: what is sent right before it
        :raises DriverError: no answer in time, a broken link, bytes that are no text, or another instrument
        """
        try:
            answer = self._answer(message, length, select)
        except LinkClosedError:
            # A question is repeated also if it was sent: it changes nothing. A message that was written before it may have.
            if self._is_written or not self._may_reopen():
                self._is_greeted = False
                raise
            self._reopen()
            answer = self._answer(message, length, select)
        except LinkError:
            self._is_greeted = False
            raise
        self._is_written = False
        return answer

    def _answer(self, message: str, length: tuple[int, int] | None = None, select: str | None = None) -> str:
        link, last = self._series.link, self._series.link.acknowledges_queries
        if select is None and last is None:
            answer = self._asked(message, length)
        else:
            with self._link.exchange():
                self._select(select)
                answer = self._asked(message, length)
                if last is not None and (line := self._link.listen()) != last:
                    self._link.close()
                    raise MalformedAnswerError(
                        f"{message} was answered {shorten(answer)} and {shorten(line)}; expected was {last} at the end"
                    )
        if link.unasked:
            self.unasked += self._link.unasked()
        return answer

    def _asked(self, message: str, length: tuple[int, int] | None) -> str:
        answer = self._link.ask(message, length)
        if self._series.link.skips_empty:
            answer = answer.lstrip("\r\n")
        # Some units answer nothing now and then: with the first message, or while they measure.
        return answer or self._link.ask(message, length)

    def _select(self, select: str | None) -> None:
        if select is not None:
            self._tell_acknowledged(select)
            if self._series.select is not None and self._series.select.after:
                self._link.rest(self._series.select.after)

    def set(self, message: Outgoing, *, again: bool = False) -> list[str]:
        """Send a setting. The refusal, where the unit answers settings and did not take it; else nothing.

        :param again: send it on a new link where this one was closed before; only for what is right whatever happened to the
            instrument meanwhile: it may have been switched off and on
        :raises DriverError: a broken link, or another instrument
        """
        try:
            refusal = self._set(message)
        except LinkClosedError as error:
            if not again or error.sent or self._is_written or not self._may_reopen():
                self._is_greeted = False
                raise
            self._reopen()
            refusal = self._set(message)
        except LinkError:
            self._is_greeted = False
            raise
        if message.after:
            self._link.rest(message.after)
        return refusal

    def _set(self, message: Outgoing) -> list[str]:
        if message.answer is None and message.select is None:
            self._link.tell(message.text)
            self._is_written = True
            return []
        with self._link.exchange():
            self._select(message.select)
            self._is_written = True
            if message.answer is None:
                self._link.tell(message.text)
                return []
            answer = self._link.ask(message.text)
        self._is_written = False
        if message.answer.read(answer) is not None:
            return []
        return [f"{message.text} was answered {shorten(answer).strip(chr(39))}"]

    def tell(self, message: str) -> None:
        """Send one message that has no answer.

        :raises LinkError: a broken link
        """
        self._link.tell(message)
        self._is_written = True

    def tell_and_ask(self, message: str) -> str:
        """Send one message that sets something and asks a question, and read its answer. It is never sent again.

        :raises DriverError: no answer in time, a broken link, or bytes that are no text
        """
        self._is_written = True
        answer = self._link.ask(message)
        self._is_written = False
        return answer

    def ask_ahead(self, message: str) -> bool:
        """Send a question whose answer `hear` will read; False where the link can't.

        :raises LinkError: a broken link
        """
        return self._link.ask_ahead(message)

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has sent.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text
        """
        try:
            return self._link.hear()
        except LinkError:
            self._is_greeted = False
            raise

    def wait_until_ready(self) -> bool:
        """True if the unit needed time before the next message, which has passed by now; False if it was ready at once."""
        return self._link.wait_until_ready()

    def close(self) -> None:
        """Close it; never raises. Only `open` brings it back."""
        self._identity = None
        self._link.close()

    def _may_reopen(self) -> bool:
        return self._identity is not None and time.monotonic() - self._opened >= SHORT_LIVED

    def _reopen(self) -> None:
        identity = self._identity
        assert identity is not None
        self.open(identity)
        self._identity = identity
        self.reopened += 1


_ELSE = "is it another device, another port, or on a serial line another baud rate?"


def told_by(series: Series, answer: str) -> dict[str, str]:
    """The parts of an answer to a series' question for the identity: ``manufacturer``, ``model``, ``serial``, ``firmware``.

    :raises IdentityError: it does not have the form of the series, which is four fields of printable characters elsewhere
    """
    text = answer.strip(" \x00")
    if series.identify.form is not None:
        match = re.fullmatch(series.identify.form, text, re.IGNORECASE | re.DOTALL)
        if match is None or len(text) > 200:
            raise IdentityError(f"{shorten(answer)} is no answer to {series.identify.ask} of a {series.name}; {_ELSE}")
        return {name: value.strip() for name, value in match.groupdict().items() if value is not None}
    identity = parse_identity(answer)
    return {
        "manufacturer": identity.manufacturer,
        "model": identity.model,
        "serial": identity.serial,
        "firmware": identity.firmware,
    }


def fields_of(series: Series, forms: Iterable[str], answer: str) -> dict[str, str] | None:
    """The fields of the first of these forms that an answer has, as texts; None if it has none of the forms."""
    for form in forms:
        pattern = AnswerPattern(form, series.tables, lambda _: "text")
        if (values := pattern.read(answer)) is not None:
            return {field.name: str(value) for field, value in zip(pattern.fields, values, strict=True)}
    return None


def parse_identity(answer: str) -> Identity:
    """Parse an answer to ``*IDN?`` (IEEE 488.2, 10.14).

    :raises IdentityError: it does not have four fields of printable characters
    """
    text = answer.strip(" \x00")
    fields = [field.strip() for field in text.split(",", 3)]
    if len(fields) != 4 or not all(fields[:2]) or not text.isprintable() or len(text) > 200:
        raise IdentityError(f"{shorten(answer)} is no answer to *IDN?; {_ELSE}")
    return Identity(*fields)

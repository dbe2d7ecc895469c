"""A link that is used only after the instrument has said who it is: the one place where a driver's link is opened.

Instruments and firewalls close a link that was idle for minutes. A message that finds it closed is sent on a new one, if it is
certain that nothing is done twice and that the same instrument answers.
"""

from __future__ import annotations

import time

from agent.instruments.driver import Identity, IdentityError, LinkClosedError, LinkError
from agent.instruments.text.link import TextLink
from agent.instruments.text.messages import parse_identity

#: s. A link that is closed again within that time is not opened again here: the instrument does not want it.
SHORT_LIVED = 1.0


class IdentifiedLink:
    """A `TextLink` whose `open` asks ``*IDN?``. For one thread.

    ``reopened``: how often it was opened again by itself.
    """

    __slots__ = ("_identity", "_is_written", "_link", "_opened", "reopened")

    def __init__(self, link: TextLink) -> None:
        self._link = link
        self._identity: Identity | None = None  # of the instrument behind a link that may be opened again
        self._is_written = False  # something that has no answer was sent since the last answer
        self._opened = 0.0
        self.reopened = 0

    @property
    def uri(self) -> str:
        """The VISA resource name of the instrument."""
        return self._link.uri

    def open(self, known: Identity | None = None) -> Identity:
        """Open the link anew. The identity that the instrument tells.

        :param known: the identity that it must have, None for any
        :raises LinkError: it can't be opened, or does not answer
        :raises MalformedAnswerError: the answer is no identity
        :raises IdentityError: another instrument answers
        """
        self._identity, self._is_written = None, False
        self._link.open()
        try:
            identity = parse_identity(self._link.ask("*IDN?"))
            if known is not None and identity != known:
                raise IdentityError(
                    f"at {self.uri} is {identity.model} {identity.serial} now, and was {known.model} {known.serial} "
                    "a moment ago; it gets no commands",
                    identity,
                )
        except LinkClosedError as error:
            raise LinkError(
                f"{error}, as soon as it was open; the unit may have as many clients as it takes: end other programs that use it"
            ) from error
        except BaseException:
            self._link.close()
            raise
        self._opened = time.monotonic()
        return identity

    def keep(self, identity: Identity) -> None:
        """Have the link opened again, if the instrument closes it while it is idle and has this identity still."""
        self._identity = identity

    def ask(self, message: str) -> str:
        """Send one message and read its one answer, without the line end.

        :raises DriverError: no answer in time, a broken link, bytes that are no text, or another instrument
        """
        try:
            answer = self._link.ask(message)
        except LinkClosedError:
            # A question is repeated also if it was sent: it changes nothing. What was written before it may have.
            if self._is_written or not self._may_reopen():
                raise
            self._reopen()
            answer = self._link.ask(message)
        self._is_written = False
        return answer

    def tell(self, message: str, *, again: bool = False) -> None:
        """Send one message that has no answer.

        :param again: send it on a new link where this one was closed before; only for what is right whatever happened to the
            instrument meanwhile: it may have been switched off and on
        :raises DriverError: a broken link, or another instrument
        """
        try:
            self._link.tell(message)
        except LinkClosedError as error:
            if not again or error.sent or self._is_written or not self._may_reopen():
                raise
            self._reopen()
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
        return self._link.hear()

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

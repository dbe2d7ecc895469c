"""A text link that writes down what crosses it, and one that plays such a record again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from agent.instruments.driver import LinkError
from agent.instruments.link import TextLink


@dataclass(slots=True)
class Exchanged:
    """One message and what came back.

    ``answers``: the lines of its answer, none where it has none. ``seconds``: from the message to the last of them.
    ``problem``: why there was no answer, or why it was not sent.
    """

    sent: str
    answers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    problem: str | None = None

    @property
    def answer(self) -> str | None:
        """The lines of the answer as one text; None where it has none."""
        return "\n".join(self.answers) if self.answers else None


class Recorder(Protocol):
    """A link that writes down what crosses it."""

    @property
    def record(self) -> list[Exchanged]:
        """All that was sent through it, oldest first."""


#: Called before each message is sent; it may raise, and nothing is sent then.
Watch = Callable[[str], None]


def _any(message: str) -> None:
    del message


class RecordingLink:
    """A `TextLink` around another one. For one thread. ``record``: all that was sent through it, oldest first."""

    def __init__(self, link: TextLink, watch: Watch = _any) -> None:
        self._link = link
        self._watch = watch
        self._ahead: Exchanged | None = None
        self._asked = 0.0
        self.record: list[Exchanged] = []

    @property
    def uri(self) -> str:
        """The VISA resource name of the instrument."""
        return self._link.uri

    def open(self) -> None:
        """Open it anew."""
        self._link.open()

    def close(self) -> None:
        """Close it; never raises."""
        self._ahead = None
        self._link.close()

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        """Send one message and read its answer."""
        one = self._begin(message)
        with self._noting(one):
            # A link that knows no lengths is asked without one.
            one.answers.append(self._link.ask(message) if length is None else self._link.ask(message, length))
        return one.answers[0]

    def listen(self, length: tuple[int, int] | None = None) -> str:
        """Read one line more of the answer to the last message."""
        one = self.record[-1]
        with self._noting(one):
            one.answers.append(self._link.listen(length))
        return one.answers[-1]

    def exchange(self) -> AbstractContextManager[None]:
        """A context for messages and lines that belong together."""
        return self._link.exchange()

    def tell(self, message: str) -> None:
        """Send one message that has no answer."""
        one = self._begin(message)
        with self._noting(one):
            self._link.tell(message)

    def ask_ahead(self, message: str) -> bool:
        """Send a question whose answer `hear` will read; False where the link can't."""
        one = self._begin(message)
        with self._noting(one):
            if not self._link.ask_ahead(message):
                self.record.remove(one)
                return False
        self._ahead = one
        return True

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has sent."""
        one, self._ahead = self._ahead or self.record[-1], None
        with self._noting(one):
            one.answers.append(self._link.hear())
        return one.answers[-1]

    def unasked(self) -> list[str]:
        """The lines that came without a question."""
        return self._link.unasked()

    def rest(self, seconds: float) -> None:
        """Have the next message go no sooner than that time (s) from now on."""
        self._link.rest(seconds)

    def wait_until_ready(self) -> bool:
        """True if the unit needed time before the next message, which has passed by now; False if it was ready at once."""
        return self._link.wait_until_ready()

    def _begin(self, message: str) -> Exchanged:
        self._watch(message)
        one = Exchanged(message)
        self.record.append(one)
        self._asked = time.monotonic()
        return one

    @contextlib.contextmanager
    def _noting(self, one: Exchanged) -> Iterator[None]:
        try:
            yield
        except LinkError as error:
            one.problem = str(error)
            raise
        finally:
            one.seconds = time.monotonic() - self._asked


#: A message, and its answer: None where it has none, several lines where it has several.
Line = tuple[str, str | list[str] | None]


class Replay:
    """A unit on paper: a `TextLink` that answers as a record says, and takes the messages in the record's order alone.

    Tests of series files are made of it: `psu-agent series try` prints one.
    """

    uri = "TCPIP::192.0.2.1::5025::SOCKET"

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = list(lines)
        self._further: list[str] = []
        self._ahead: str | None = None

    def check(self) -> None:
        """
        :raises AssertionError: messages of the record were not sent
        """
        if self._lines:
            raise AssertionError(f"not sent: {[sent for sent, _ in self._lines]}")

    def open(self) -> None:
        """Nothing is to be opened."""

    def close(self) -> None:
        """Lines of an answer that were not read are lost."""
        self._further, self._ahead = [], None

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        """The answer to a message.

        :raises AssertionError: the record has another message here
        :raises LinkError: the unit gave no answer
        """
        del length
        answer = self._next(message)
        if answer is None:
            raise LinkError("no answer: timeout")
        first, *self._further = [answer] if isinstance(answer, str) else answer
        return first

    def listen(self, length: tuple[int, int] | None = None) -> str:
        """One line more of the answer.

        :raises LinkError: it has no more
        """
        del length
        if not self._further:
            raise LinkError("no answer: timeout")
        return self._further.pop(0)

    def exchange(self) -> AbstractContextManager[None]:
        """Nobody else uses it."""
        return contextlib.nullcontext()

    def tell(self, message: str) -> None:
        """Take a message.

        :raises AssertionError: the record has another message here
        """
        self._next(message)

    def ask_ahead(self, message: str) -> bool:
        """Note a question whose answer `hear` tells; True."""
        self._ahead = message
        return True

    def hear(self) -> str:
        """The answer to the question of `ask_ahead`."""
        message, self._ahead = self._ahead, None
        return self.ask(message or "")

    def unasked(self) -> list[str]:
        """None came."""
        return []

    def rest(self, seconds: float) -> None:
        """A unit on paper needs no rest."""

    def wait_until_ready(self) -> bool:
        """False: it is always ready."""
        return False

    def _next(self, message: str) -> str | list[str] | None:
        if not self._lines:
            raise AssertionError(f"{message!r} was sent after the end of the record")
        expected, answer = self._lines.pop(0)
        if expected != message:
            raise AssertionError(f"{message!r} was sent, where the record has {expected!r}")
        return answer

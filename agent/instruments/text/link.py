"""The interface of the link that `TextDriver` uses. `agent.instruments.visa.session.VisaSession` is one."""

from __future__ import annotations

from typing import Protocol


class TextLink(Protocol):
    """A link to one instrument: a text message out, a text answer back. For one thread.

    Any `LinkError` closes it; only `open` brings it back.
    """

    @property
    def uri(self) -> str:
        """The VISA resource name of the instrument."""

    def open(self) -> None:
        """Open it anew. On some links that succeeds without an instrument: only an answer proves that it is there.

        :raises LinkError: it can't be opened
        """

    def ask(self, message: str) -> str:
        """Send one message and read its one answer, without the line end.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text
        """

    def tell(self, message: str) -> None:
        """Send one message that has no answer.

        :raises LinkError: a broken link
        """

    def ask_ahead(self, message: str) -> bool:
        """Send a question whose answer `hear` will read; False where the link can't.

        :raises LinkError: a broken link
        """

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has sent.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text
        """

    def close(self) -> None:
        """Close it; never raises."""

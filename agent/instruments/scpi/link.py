"""The link that `ScpiDriver` speaks over. `agent.instruments.visa.session.Session` is one."""

from __future__ import annotations

from typing import Protocol


class TextLink(Protocol):
    """A way to one instrument: a text message out, a text answer back. For one thread.

    Any `LinkError` closes it, and only `open` cures that.
    """

    @property
    def uri(self) -> str:
        """Where the instrument is, for people: its VISA resource name."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""

    def open(self) -> None:
        """Open it anew. On some links that proves little: an instrument is there when it has answered.

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

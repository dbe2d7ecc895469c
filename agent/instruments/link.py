"""The interface of the links that drivers use, and the form in which bytes travel on them.

`agent.instruments.visa.session.VisaSession` is one: a link of its own to one unit. A seat on a bus (`agent.instruments.bus`)
is another: a link that several units share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class LinkForm:
    r"""The form of messages and answers on a link, as the series has it. The user's ``pyvisa_args`` win over it.

    ``write``: what ends a message; empty where nothing does. ``read``: what ends an answer; None where nothing does, so that it
    ends by its length, or when nothing more comes for ``silence`` (s). Links that mark the end of a message themselves (USB,
    GPIB, VXI-11, HiSLIP) need none. ``encoding``: of answers; ``latin-1`` where a byte may have any value. Messages are ASCII.

    ``gap``: s, the least time between the end of an exchange and the next message; a unit loses a message that comes sooner.
    ``skips_empty``: an empty line before an answer is none. ``unasked``: a pattern that fits the whole of a line which the unit
    sends without a question, and which is never taken for an answer; None where it sends none. ``arguments``: of pyvisa's
    ``open_resource``, such as ``baud_rate``; those that a kind of link does not have are left out there.
    """

    write: str = "\n"
    read: str | None = "\n"
    silence: float = 0.05
    encoding: str = "ascii"
    gap: float = 0.0
    skips_empty: bool = False
    unasked: re.Pattern[str] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


class TextLink(Protocol):
    """A link to one instrument: a text message out, a text answer back. For one thread.

    Any `LinkError` closes it; only `open` brings it back. Each message waits until the unit is ready for it: see
    `LinkForm.gap` and `rest`.
    """

    @property
    def uri(self) -> str:
        """The VISA resource name of the instrument, with its address behind it where several share the link."""

    def open(self) -> None:
        """Open it anew. On some links that succeeds without an instrument: only an answer proves that it is there.

        :raises LinkError: it can't be opened
        """

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        """Send one message and read its answer: one line, without its end.

        :param length: the least and the most bytes of an answer that nothing ends. Bytes that come within `LinkForm.silence`
            after the least belong to it. Nothing is taken off at its end. Without a length the answer ends by the silence alone,
            and line ends and zero bytes at its end are taken off.
        :raises LinkError: no answer in time, a broken link, or bytes that are no text
        """

    def listen(self, length: tuple[int, int] | None = None) -> str:
        """Read one line more of the answer to the last message: ``OK`` behind the data, for example. To be called in `exchange`.

        :raises LinkError: as `ask`
        """

    def exchange(self) -> AbstractContextManager[None]:
        """A context for messages and lines that belong together: no other unit on the same link is served until it ends."""

    def tell(self, message: str) -> None:
        """Send one message that has no answer.

        :raises LinkError: a broken link
        """

    def ask_ahead(self, message: str) -> bool:
        """Send a question whose answer `hear` will read; False where the link can't, and nothing was sent.

        :raises LinkError: a broken link
        """

    def hear(self) -> str:
        """Read the answer to a question that `ask_ahead` has sent.

        :raises LinkError: no answer in time, a broken link, or bytes that are no text
        """

    def unasked(self) -> list[str]:
        """The lines that `LinkForm.unasked` fits and that have come since the last call, oldest first, without their ends.

        Those that have come in by now are among them, those that stood before an answer too. It waits for nothing. On a bus
        there are none: nothing tells which unit sent them.

        :raises LinkError: a broken link, or bytes that nobody asked for and that the pattern does not fit
        """

    def rest(self, seconds: float) -> None:
        """Have the next message go no sooner than that time (s) from now on: the unit is busy with the last one."""

    def wait_until_ready(self) -> bool:
        """True if the unit needed time before the next message, which has passed by now; False if it was ready at once."""

    def close(self) -> None:
        """Close it; never raises."""

"""How a unit is selected on a line that it shares, and the link that the line is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.instruments.driver import LinkError
from agent.instruments.link import TextLink


class LineLink(TextLink, Protocol):
    """The link that a line is."""

    @property
    def is_open(self) -> bool:
        """True if it was opened and has not failed since."""

    def drain(self, silence: float) -> bytes:
        """Read and drop all that comes, until nothing has come for that time (s), and tell it; 0: all that has come by now.

        :raises LinkError: a broken link
        """


@dataclass(frozen=True, slots=True)
class Selection:
    """How a unit is selected on its line.

    ``message``: what selects it. ``question``: what asks which unit is selected; None where the unit answers the message itself.
    ``confirms``: true of an answer by which this unit is selected. ``rest``: s that it needs before the next message.
    """

    message: str
    question: str | None
    confirms: Callable[[str], bool]
    rest: float = 0.0


class MixedAnswersError(LinkError):
    """More answers came than questions were asked: one of them is late, and from another unit."""

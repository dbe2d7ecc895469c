"""The standing of a unit among agents: may this agent serve it, and if not, which other agent does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent.protocol.messages import Conflict


class Part(Enum):
    """The part of this agent in a unit that other agents may claim, too. An off is done with each of them."""

    #: It serves the unit.
    SERVES = "serves"
    #: It polls and publishes, and refuses settings: nobody knows yet if another agent serves the unit.
    UNDECIDED = "undecided"
    #: It polls and publishes, and refuses settings: another agent claims the unit, and neither has given way yet.
    CONTESTED = "contested"
    #: Another agent serves another supply under this unit's name: it polls, publishes nothing, and refuses settings.
    YIELDS_NAME = "yields the name"
    #: Another agent serves this supply: it keeps away from the supply, and refuses settings.
    YIELDS_SUPPLY = "yields the supply"


@dataclass(frozen=True, slots=True)
class Standing:
    """One unit's standing at one moment.

    ``why``: a sentence for the info, the log and refusals, which names the other agent and tells what to do; None while it
    serves the unit. ``other``: the other agent that claims it, also if this one serves it all the same. ``is_muted``: the unit's
    topics are another agent's, so this one publishes nothing on them.
    """

    part: Part
    why: str | None = None
    other: Conflict | None = None
    is_muted: bool = False

    @property
    def yields(self) -> bool:
        """True if this agent leaves the unit, or its name, to another one."""
        return self.part in (Part.YIELDS_NAME, Part.YIELDS_SUPPLY)


#: The standing of a unit that nobody else claims.
ALONE = Standing(Part.SERVES)

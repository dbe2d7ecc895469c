"""Sentences on other agents, for infos, refusals and the log."""

from __future__ import annotations

from typing import Final, Literal

from agent.protocol.messages import Conflict
from agent.service.fleet.claims import Claim, printable

UNDECIDED: Final = "it is not known yet if another agent serves this unit; send it again in a moment"
DEAF: Final = (
    "the broker does not let this agent read the infos of units (+/info below the base topic), so it can't tell if another agent "
    "serves the same unit; it serves its units all the same. Let it read them"
)
SECOND: Final = (
    "is a second agent called %r running? One on %s publishes under this name, too: give one of them another "
    "settings.agent"
)


def name(claim: Claim) -> str:
    """The author of a claim."""
    host = "" if claim.host is None else f" on {printable(claim.host)}"
    return f"agent {printable(claim.agent)}{host}"


def yields(claim: Claim, kind: Literal["name", "supply"]) -> str:
    """This agent leaves a unit to another one."""
    if kind == "name":
        return f"{name(claim)} serves another supply as {claim.unit}: give one of the two another name"
    return f"{name(claim)} serves this supply as {printable(claim.unit)}: take it out of one of the two configurations"


def is_away(unit: str, takeover_after: float | None) -> str:
    """The sentence after `yields` while the other agent is away. ``takeover_after``: s; None where a command is waited for."""
    if takeover_after is None:
        return f". It is away; `psu-agent takeover {unit}` lets this agent serve it"
    return f". It is away; this agent takes over after {takeover_after:g} s, or later where it may still send settings then"


def lives(claim: Claim) -> str:
    """A unit can't be taken over from an agent that is there."""
    return f"{name(claim)} is there and serves it; stop that agent, or take the unit out of its configuration, first"


def taken_over(other: Conflict) -> str:
    """This agent claims a unit that was another one's."""
    return f"agent {other.agent} is gone, and this agent takes the unit over; send it again in a moment"


def contested(claim: Claim) -> str:
    """Neither of two agents has given way yet."""
    return (
        f"{name(claim)} claims this unit, too, as {printable(claim.unit)}, and it is not settled yet which of the two serves it; "
        "send it again in a moment"
    )


def keeps(claim: Claim) -> str:
    """This agent was first."""
    return (
        f"{name(claim)} claims this unit, too, as {printable(claim.unit)}; this agent was first and serves it. Take it out of "
        "one of the two configurations, or give it another name"
    )


def looks(claim: Claim) -> str:
    """A unit that has not said who it is has the address of a supply that another agent serves."""
    return (
        f"{name(claim)} serves a supply at this address as {printable(claim.unit)}; until the unit has told another serial "
        "number, this agent takes it for the same"
    )


def twin(other: Conflict) -> str:
    """Another agent has this one's name."""
    host = "" if other.host is None else f" on {other.host}"
    return f"another agent called {other.agent}{host} was there first: give one of the two another settings.agent"

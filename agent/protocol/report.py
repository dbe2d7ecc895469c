"""The report that a unit's thread hands over to be published: states, events, the unit's info and a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from agent.protocol.messages import ChannelState, Event, Response, UnitInfo


class Stage(IntEnum):
    """How far a command is on the way to its response."""

    OPEN = 0  # neither answered nor kept
    ANSWERED = 1  # its response is on the way, and not kept
    KEPT = 2  # it is kept, for a restart, without a response
    KEPT_ANSWERED = 3  # its response is kept


@dataclass(slots=True, eq=False)
class Ticket:
    """One command, from its arrival until it has its response. The broker is told that it is taken once it ``is_safe``."""

    unit: str
    channel: int | None
    topic: str
    correlation: bytes | None
    command_id: str | None = None
    stage: Stage = Stage.OPEN
    #: The number under which it is kept; 0 where it is not.
    number: int = 0
    #: A restart of this process can't leave it without a response any more.
    is_safe: bool = False


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """The address of a response: MQTT 5's Response Topic and Correlation Data, if any, and the command's ticket."""

    topic: str | None = None
    correlation: bytes | None = None
    ticket: Ticket | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The news of one step of a unit. It is published in the order of the fields.

    ``info`` also carries the unit's status: ``offline`` comes right behind the info, ``online`` behind the states. So the agent
    has its own info back from the broker, by which it knows that it serves the unit, ahead of a command of somebody who has seen
    a state; and somebody who has seen the status has states. Each state is newer than those of earlier reports. The response
    follows the states of its own channels, unless so many states wait for a slow broker that it goes ahead of them all.
    """

    info: UnitInfo | None = None
    states: Sequence[ChannelState] = ()
    events: Sequence[Event] = ()
    response: Response | None = None
    reply_to: ReplyTo = ReplyTo()


class Outlet(Protocol):
    """Where a unit's reports go. It returns at once, whatever the broker does."""

    @property
    def congested(self) -> bool:
        """True while states come faster than the broker takes them."""

    def report(self, report: Report) -> None:
        """Publish it, or keep it for a broker that is away. From any thread."""

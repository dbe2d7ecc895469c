"""The report that a unit's thread hands over to be published: states, events, the unit's info and a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.protocol.messages import ChannelState, Event, Response, UnitInfo


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """The address of a response: MQTT 5's Response Topic and Correlation Data, if any."""

    topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The news of one step of a unit. It is published in the order of the fields.

    ``info`` also carries the unit's status. Each state is newer than those of earlier reports. The response follows the
    states of its own channels, unless so many states wait for a slow broker that it goes ahead of them all.
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

"""A message on its way to the broker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from agent.protocol.report import Ticket
from agent.store.commands import OpenCommand
from agent.store.rows import Row


class Kind(IntEnum):
    """How a message is treated: if it is retained, and what happens to it while there is no broker."""

    STATE = 0  # retained; goes to the backlog as a sample
    KEEP = 1  # retained; only the newest counts, and it is published again after a reconnection
    MESSAGE = 2  # an event, or a message from the backlog; goes to the backlog as a message
    PASSING = 3  # not retained; is dropped
    RESPONSE = 4  # goes to the backlog as a message; is sent before events
    VALUE = 5  # retained; only the newest counts, and `ValueQueue` keeps it


class Serializable(Protocol):
    """A message that is published as JSON."""

    def to_json(self) -> bytes:
        """The payload."""


@dataclass(slots=True, eq=False)
class Item:
    """One message. It is the same item from `Session.report` to its PUBACK."""

    kind: Kind
    topic: str
    content: bytes | Serializable
    correlation: bytes | None = None
    backlog_topic: str = ""
    behind: tuple[str, ...] = ()  # the topics whose states are sent before this response
    row: int = 0  # its id in the backlog; 0 where it did not come from there
    number: int = 0  # of the command that it answers, where that is kept: see `agent.store.commands`
    ticket: Ticket | None = None  # of the command that it answers
    is_diverted: bool = False  # it goes to another topic than it was asked to, which the broker refused
    is_backlog: bool = False  # a state that is published as a sample of the backlog
    made: float = 0.0  # the moment (time.monotonic) at which it was queued; a state is read right before
    order: int = 0  # its place among all that came on the connection
    sent: float = 0.0  # the moment (time.monotonic) at which it was sent last

    @property
    def payload(self) -> bytes:
        """The content as bytes, made by the thread that sends it, so that a unit's thread goes on."""
        if not isinstance(self.content, bytes):
            self.content = self.content.to_json()
        return self.content

    @property
    def retain(self) -> bool:
        """True if the broker is to retain it."""
        return self.kind in (Kind.STATE, Kind.KEEP, Kind.VALUE) and not self.is_backlog

    def supersede(self) -> None:
        """Make a state a sample of the backlog: a newer state of its channel is published in its place."""
        self.topic, self.is_backlog = self.backlog_topic, True

    @classmethod
    def from_row(cls, kind: Kind, row: Row) -> Item:
        """A message from the backlog."""
        return cls(
            kind,
            row.topic,
            row.payload,
            row.correlation,
            backlog_topic=row.topic,
            row=row.id,
            is_backlog=kind is Kind.STATE,
        )

    @classmethod
    def from_command(cls, command: OpenCommand) -> Item:
        """The response of a command that was kept."""
        payload = command.payload
        assert payload is not None
        return cls(Kind.RESPONSE, command.topic, payload, command.correlation, number=command.number)

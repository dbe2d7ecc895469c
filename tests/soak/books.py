"""The records by which the rules are checked: of each command, channel and message."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.soak.commands import CHANNELS, Command
from tests.soak.tap import Publish

#: Where those responses go that are asked for with MQTT 5's Response Topic.
RESPONSE_TOPIC = "soak/response"
#: V and A. A knob may be this far above a limit by the unit's own rounding.
ROUNDING = 0.0021

Identity = tuple[str, bytes, bytes | None]
"""The identity of a message: topic, payload, Correlation Data."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Of one output, at the unit."""

    on: bool
    voltage: float
    current: float


@dataclass(slots=True, eq=False)
class Delivery:
    """One command as one unit's; a command to all of them is one for each."""

    command: Command
    unit: str
    order: int
    time: float
    connection: int
    mid: int
    taken: bool = False  # the agent acknowledged it
    code: str | None = None  # of the response, "ok" if it was carried out


@dataclass(slots=True, eq=False)
class Right:
    """To turn outputs on, once."""

    delivery: Delivery
    spent: bool = False
    closed: float | None = None  # since when it is too late
    revoked: bool = False  # by a confirmed off


@dataclass(slots=True, eq=False)
class Sent:
    """A message of the agent that its broker has not acknowledged, or only just."""

    packet: Publish
    connection: int
    acknowledged: float | None = None


@dataclass(slots=True)
class Answer:
    """Of a unit, when it was asked for a channel's voltage; and which state was made of it."""

    time: float
    seq: int | None = None


@dataclass(slots=True)
class ChannelBook:
    """The state of one channel, as far as it is known."""

    rights: list[Right] = field(default_factory=list)
    states: dict[int, tuple[bytes, bool]] = field(default_factory=dict)  # by seq: payload, whether it was acknowledged
    answers: dict[float, list[Answer]] = field(default_factory=lambda: collections.defaultdict(list))  # by voltage
    newest_live: tuple[int, int] = (0, 0)  # connection, seq
    newest_backlog: tuple[int, int] = (0, 0)
    in_backlog: set[int] = field(default_factory=set)
    looked: float = 0.0
    turned_off: float = 0.0
    knob_turned: float = 0.0


class Books:
    """Everything that more than one of the rules needs. The caller of a rule holds its lock.

    :param complain: called with each violation, as soon as it is seen
    """

    def __init__(self, base: str, units: list[str], complain: Callable[[str], None]) -> None:
        self.prefix = f"{base}/"
        self.units = units
        self.complain = complain
        self.lock = threading.RLock()
        self.channels = {(unit, index): ChannelBook() for unit in units for index in CHANNELS}
        self.counts: collections.Counter[str] = collections.Counter()
        #: Messages that may come again as they were, as the connection broke before they were acknowledged.
        self.unsettled: collections.Counter[Identity] = collections.Counter()
        #: The last messages that each unit received, for the complaints.
        self.recent: dict[str, collections.deque[str]] = {unit: collections.deque(maxlen=12) for unit in units}

    def levels(self, topic: str) -> list[str]:
        """A topic's levels below the base."""
        return topic.removeprefix(self.prefix).split("/")

    def violated(self, rule: int, unit: str, what: str) -> None:
        """Count a violation and complain of it."""
        self.counts["violations"] += 1
        recent = " | ".join(self.recent.get(unit, ()))
        self.complain(f"rule {rule}: {unit}: {what}\n    last written to {unit}: {recent}")


def identity(packet: Publish) -> Identity:
    """The key of a message."""
    return packet.topic, packet.payload, packet.correlation


def shown(delivery: Delivery) -> str:
    """A command, for a complaint."""
    command = delivery.command
    payload = command.payload if len(command.payload) < 150 else command.payload[:150] + b"..."
    return f"command {command.number} ({command.kind}, {command.topic}, {payload!r})"

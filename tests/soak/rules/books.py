"""The records by which the rules are checked: of each command, channel, unit and message, and of the agent's own fate."""

from __future__ import annotations

import collections
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.soak.commands import CHANNELS, Command
from tests.soak.tap import Publish

#: Where those responses go that are asked for with MQTT 5's Response Topic.
RESPONSE_TOPIC = "soak/response"
#: V and A. A knob may be this far above a limit by the unit's own rounding.
ROUNDING = 0.0021
#: s after a fault of a unit until it counts as well: the longest pause between two tries to connect, and the timeout.
SETTLING = 10.0
#: s that an acknowledgement, or a record on its way to the disk, may be old and yet be lost with a connection or a process.
GRACE = 2.0

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
    age: float = 0.0  # s since the broker had it, at least
    taken: bool = False  # the agent acknowledged it
    orphaned: bool = False  # the agent was killed afterwards
    forgotten: bool = False  # and may have had no chance to write it down
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
class Sample:
    """A state that the agent published; ``time`` is its own."""

    payload: bytes
    time: float
    acknowledged: bool = False


Place = tuple[int, int]
"""The run of the agent and the `seq` of a sample: each run counts from 1."""


@dataclass(slots=True)
class ChannelBook:
    """The state of one channel, as far as it is known. Moments are of ``time.monotonic``."""

    rights: list[Right] = field(default_factory=list)
    states: dict[Place, Sample] = field(default_factory=dict)
    answers: dict[float, list[Answer]] = field(default_factory=lambda: collections.defaultdict(list))  # by voltage
    newest_live: tuple[int, Place] = (0, (0, 0))  # connection, place
    newest_backlog: tuple[int, Place] = (0, (0, 0))
    in_backlog: dict[Place, float] = field(default_factory=dict)  # when it came
    looked: float = 0.0
    asked_off: float = 0.0  # a message to turn it off came, whatever the unit made of it
    seen_off: float = 0.0
    knob_turned: float = 0.0


@dataclass(slots=True)
class UnitBook:
    """One unit. It is in trouble from ``troubled`` to ``recovered``, infinite while that lasts."""

    channels: dict[int, ChannelBook]
    troubled: float = 0.0
    recovered: float = 0.0
    polled: float = 0.0
    coupled: float = 0.0  # a setting that couples outputs was last changed at the unit
    coupling_looked: float = 0.0
    history: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=40))


class Books:
    """Everything that more than one of the rules needs. The caller of a rule holds its lock.

    :param complain: called with each violation, as soon as it is seen
    """

    def __init__(self, base: str, names: list[str], complain: Callable[[str], None]) -> None:
        self.prefix = f"{base}/"
        self.complain = complain
        self._complained: dict[str, float] = {}
        self.lock = threading.RLock()
        self.units = {name: UnitBook({index: ChannelBook() for index in CHANNELS}) for name in names}
        self.counts: collections.Counter[str] = collections.Counter()
        #: Messages that may come again as they were, as the connection broke before they were acknowledged.
        self.unsettled: collections.Counter[Identity] = collections.Counter()
        #: When each run of the agent but the last was killed, by the wall clock, and since when it may have written nothing down.
        self.kills: list[tuple[float, float]] = []
        #: Since when the agent runs without having been stopped or killed; infinite while it is.
        self.running_since = time.monotonic()
        #: How long the agent was stopped (s) and until when, by the wall clock, each time.
        self.stops: list[tuple[float, float]] = []
        #: Since when there has been no way from the broker to the agent; None while there is one.
        self.gone_since: float | None = time.monotonic()
        self.last_gone = time.monotonic()

    def levels(self, topic: str) -> list[str]:
        """A topic's levels below the base."""
        return topic.removeprefix(self.prefix).split("/")

    def channel(self, unit: str, index: int) -> ChannelBook:
        """The book of a channel."""
        return self.units[unit].channels[index]

    def is_well(self, unit: str, since: float, now: float) -> bool:
        """True if the unit could be talked to since that moment, and had the time to be found again before."""
        book = self.units[unit]
        return book.recovered + SETTLING < min(since, now)

    def well_for(self, unit: str, now: float) -> float:
        """s that agent and unit could talk: neither in trouble, nor stopped, nor finding each other again."""
        return now - max(self.units[unit].recovered, self.running_since) - SETTLING

    def run_of(self, moment: float) -> int:
        """The run of the agent, from 0, that a sample of this time (by the wall clock) is of."""
        return sum(moment > killed for killed, _ in self.kills)

    def note(self, unit: str, what: str) -> None:
        """Remember what happened, for the complaints."""
        if unit in self.units:
            self.units[unit].history.append(f"{time.monotonic() % 1000:.3f} {what[:160]}")

    def note_all(self, what: str) -> None:
        """Remember what happened to the agent or the broker."""
        for unit in self.units:
            self.note(unit, what)

    def violated(self, rule: int, unit: str, what: str) -> None:
        """Count a violation and complain of it, with what happened to the unit before."""
        self.counts["violations"] += 1
        now = time.monotonic()
        history = self.units[unit].history if unit in self.units else ()
        before = "".join(f"\n      {line}" for line in history)
        if now - self._complained.get(unit, 0.0) < 1.0:
            before = " as above"
        self._complained[unit] = now
        self.complain(f"rule {rule}: {unit}: {what}\n    it is {now % 1000:.3f}; before it:{before}")


def identity(packet: Publish) -> Identity:
    """The key of a message."""
    return packet.topic, packet.payload, packet.correlation


def shown(delivery: Delivery) -> str:
    """A command, for a complaint."""
    command = delivery.command
    payload = command.payload if len(command.payload) < 150 else command.payload[:150] + b"..."
    return f"command {command.number} ({command.kind}, {command.topic}, {payload!r})"


#: The moment that never comes.
NEVER = math.inf

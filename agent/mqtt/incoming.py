"""A message that the broker delivered."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.protocol.report import Ticket
from agent.timing import system_clock


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message on one of the topics that the agent subscribed to, as the broker delivered it.

    Dispatch and Home Assistant's discovery take it without knowing paho, so it has a file of its own.
    """

    topic: str
    payload: bytes
    retain: bool
    dup: bool
    #: MQTT 5's Response Topic and Correlation Data, if the sender gave any.
    response_topic: str | None = None
    correlation: bytes | None = None
    #: s that are left of MQTT 5's message expiry.
    expiry: int | None = None
    #: It may be older than `agent.timing.LONGEST_ABSENCE`: the link, the process or the host was held up.
    stale: bool = False
    #: When it came, by `agent.timing.system_clock` (s).
    came: float = field(default_factory=system_clock, compare=False)
    #: Its packet identifier; 0 with QoS 0, which is not acknowledged.
    mid: int = field(default=0, compare=False)
    #: The commands that were made of it, which dispatch puts here. It is acknowledged when all of them are safe.
    tickets: list[Ticket] = field(default_factory=list, compare=False)

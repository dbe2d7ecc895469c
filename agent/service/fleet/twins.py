"""Agents of one name: the one that joins the broker later finds out that another one is there.

It asks on the topic of its own info, with a message that is not retained. Each question or answer that comes there before its own
question has come back is older. An agent that is there answers, so the later one learns of it also where the broker keeps
nothing.
"""

from __future__ import annotations

from datetime import datetime

from agent.protocol.messages import AgentInfo, Conflict
from agent.service.fleet.claims import milliseconds, printable

#: s for the own question to come back, and for an answer where an agent of this name is said to be online.
PATIENCE = 3.0
#: s. The longest time to join, with a broker that keeps so many infos that they come in all the time.
LONGEST = 30.0
#: Other agents of this name that are told of; with more of them the first warnings have said enough.
MOST = 20


class Twins:
    """The other agents of this one's name. Moments are of one monotonic clock (s)."""

    def __init__(self, agent: str, instance: str, started: datetime) -> None:
        """:param started: the start of this run; of two agents that both believe to be first the older one stays"""
        self._agent = agent
        self._instance = instance
        self._started = started
        #: The agent that was there first, while it is.
        self.first: Conflict | None = None
        #: Since when that has been gone; None while it is there.
        self.gone_at: float | None = None
        #: True once this agent has joined a broker without finding another one.
        self.has_joined = False
        self._is_joining = False
        self._began = self._heard_at = 0.0
        self._echoed_at: float | None = None
        self._is_said_to_be_online = False
        self._kept: AgentInfo | None = None
        self._answered: set[str] = set()
        self._told: set[str] = set()

    def listen(self) -> None:
        """Take note of a new connection, on which the broker tells first what it keeps."""
        self._is_joining = True
        self._echoed_at = self._kept = self._found = None
        self._is_said_to_be_online = False

    def begin(self, now: float) -> None:
        """Take note that the question is asked on it."""
        self._began = self._heard_at = now

    def is_over(self, now: float) -> bool:
        """True once it is clear if another agent was there first, or no answer is to be expected any more."""
        if self._found is not None or now >= self._began + LONGEST:
            return True
        if self._echoed_at is None:  # a broker may not let this agent read its own topic
            return now >= self._heard_at + PATIENCE
        return not (self._is_said_to_be_online and self._kept) or now >= self._echoed_at + PATIENCE

    def end(self) -> Conflict | None:
        """Take note that it is over. The agent that was there first; None if this one may go on."""
        self._is_joining = False
        self.first, self.gone_at = self._found, None
        self.has_joined = self.has_joined or self.first is None
        return self.first

    _found: Conflict | None = None

    def hears_anything(self, now: float) -> None:
        """Take note that something came in: while what the broker keeps comes in, the question is on its way."""
        self._heard_at = now

    def hears_status(self, is_online: bool, now: float) -> None:
        """Take the status on the topic of this agent's name."""
        self._is_said_to_be_online = is_online
        if self.first is not None and not self._is_joining:
            self.gone_at = None if is_online else self.gone_at or now

    def hears(self, info: AgentInfo, *, is_retained: bool, now: float) -> str | None:
        """Take an info on the topic of this agent's name. The instance that is to be answered; None if none is."""
        other = info.instance or f"{info.host} {info.start_time}"
        if info.instance == self._instance:
            if info.asks and self._echoed_at is None:
                self._echoed_at = now
            return None
        if self._is_joining:
            return self._hears_joining(info, other, is_retained, now)
        if self.first is not None:
            if not info.asks:
                self.first, self.gone_at = self._conflict(info), None
            return None
        if info.asks:
            self._answered.add(other)
            return other
        if info.answers == self._instance and (other not in self._answered or self._is_older(info, other)):
            self.first, self.gone_at = self._conflict(info), None
        return None

    def _hears_joining(self, info: AgentInfo, other: str, is_retained: bool, now: float) -> str | None:
        if info.asks and self._echoed_at is not None:  # it asked after this agent
            self._answered.add(other)
            return other
        if is_retained and self._echoed_at is None:  # it may be what an earlier run has left
            self._kept = info
        elif other not in self._answered or self._is_older(info, other):
            self._found = self._conflict(info)
        return None

    def is_news(self, info: AgentInfo) -> bool:
        """True if this agent of the same name was not told of yet."""
        other = info.instance or info.host
        if other in self._told or len(self._told) >= MOST:
            return False
        self._told.add(other)
        return True

    def _is_older(self, info: AgentInfo, other: str) -> bool:
        return (milliseconds(info.start_time), other) < (milliseconds(self._started), self._instance)

    def _conflict(self, info: AgentInfo) -> Conflict:
        return Conflict(
            agent=printable(self._agent), instance=info.instance, host=printable(info.host), unit=None, why="agent"
        )

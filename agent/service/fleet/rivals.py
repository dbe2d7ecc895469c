"""The other agents: which of them live, and what each of them claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.service.fleet.claims import Claim, Key

#: Claims of others that are kept, and other agents. An agent subscribes to the infos of its whole base topic.
MOST_RIVALS = 100_000
#: An agent and what it calls the unit.
RivalId = tuple[str, str]


@dataclass(slots=True)
class Rival:
    """One claim of another agent. The numbers count the messages that came in, so they tell which of two came first."""

    claim: Claim
    #: The message with which each thing was claimed first.
    heard: dict[Key, int] = field(default_factory=dict)
    #: The newest message that said anything new.
    latest: int = 0
    #: The moment since when its agent does not live, or the claim was given up; None while it stands.
    gone_at: float | None = None
    #: It was given up: its author said so, or removed the info.
    is_released: bool = False
    #: Where it is found.
    places: frozenset[Key] = frozenset()

    @property
    def id(self) -> RivalId:
        """Whose it is."""
        return self.claim.agent, self.claim.unit


@dataclass(slots=True)
class _Agent:
    is_online: bool = False
    has_told: bool = False  # its status, at any time
    units: frozenset[str] | None = None  # None: it has not told
    is_seen: bool = True
    rivals: dict[str, Rival] = field(default_factory=dict)  # by its units


class Rivals:
    """All that was heard of other agents. It decides nothing."""

    def __init__(self) -> None:
        #: True where the broker keeps no statuses: then an agent that publishes an info is there.
        self.are_statuses_lost = False
        self._agents: dict[str, _Agent] = {}
        self._count = 0
        self._found: dict[Key, set[RivalId]] = {}

    def get(self, who: RivalId) -> Rival | None:
        """The claim of that agent on what it calls so."""
        agent = self._agents.get(who[0])
        return None if agent is None else agent.rivals.get(who[1])

    def meeting(self, claim: Claim) -> list[Rival]:
        """All that claim a thing which this claim has, too, or that have its address."""
        found: set[RivalId] = set()
        for key in _places(claim):
            found |= self._found.get(key, set())
        return [self._agents[agent].rivals[unit] for agent, unit in sorted(found)]

    def is_online(self, rival: Rival) -> bool:
        """True if its author is there."""
        return self._agents[rival.claim.agent].is_online

    def lives(self, rival: Rival) -> bool:
        """True if its author is there, and claims it still."""
        agent = self._agents[rival.claim.agent]
        if not agent.is_online or rival.is_released:
            return False
        return agent.units is None or rival.claim.unit in agent.units

    # Messages that come in. Each returns true if anything has changed.

    def status(self, name: str, is_online: bool, now: float) -> bool:
        """Take the status of an agent."""
        if (agent := self._agent(name)) is None:
            return False
        is_first, agent.has_told = not agent.has_told, True
        agent.is_seen = True
        changed, agent.is_online = agent.is_online != is_online, is_online
        if is_first:  # its claims may have come ahead of it, as those of an author of whom no status is kept
            for rival in agent.rivals.values():
                rival.gone_at = None
        if changed or is_first:
            self._update(agent, now)
        return changed or is_first

    def units(self, name: str, units: Iterable[str], now: float) -> bool:
        """Take the names of the units that an agent says that it has."""
        if (agent := self._agent(name)) is None:
            return False
        before, agent.units = agent.units, frozenset(units)
        if before != agent.units:
            self._update(agent, now)
        return before != agent.units

    def claim(self, claim: Claim, number: int, now: float, *, is_replay: bool) -> bool:
        """Take a claim, or one that is given up.

        :param number: of the message
        :param is_replay: it came before this agent had joined, so it may be what the broker kept
        """
        if (agent := self._agent(claim.agent)) is None:
            return False
        agent.is_online = agent.is_online or (self.are_statuses_lost and not is_replay)
        rival = agent.rivals.get(claim.unit)
        if rival is None:
            if self._count >= MOST_RIVALS:
                return False
            self._count += 1
            rival = agent.rivals[claim.unit] = Rival(claim)
            self._index(rival)
        before, rival.claim = rival.claim, claim.follows(rival.claim)
        if not claim.serves:
            changed = not rival.is_released or before.rival != claim.rival
            rival.is_released = True
            self._update(agent, now)
            return changed
        is_new = rival.is_released or before != rival.claim or not rival.heard
        if rival.is_released:
            rival.heard.clear()
            rival.is_released, rival.gone_at = False, None
        rival.heard = {key: rival.heard.get(key, number) for key in rival.claim.keys}
        if is_new or not is_replay:
            rival.latest = number
        self._index(rival)
        self._update(agent, now)
        return True

    def removed(self, unit: str, now: float) -> bool:
        """Take note that the info of a unit was removed from the broker: whoever claimed that name gives it up."""
        found = [self._agents[agent].rivals[name] for agent, name in self._found.get(("name", unit), ())]
        for rival in found:
            rival.is_released = True
            self._update(self._agents[rival.claim.agent], now)
        return bool(found)

    def _agent(self, name: str) -> _Agent | None:
        if name not in self._agents and len(self._agents) >= MOST_RIVALS:
            return None
        return self._agents.setdefault(name, _Agent())

    def _index(self, rival: Rival) -> None:
        places = frozenset(_places(rival.claim))
        for key in rival.places - places:
            self._found[key].discard(rival.id)
            if not self._found[key]:
                del self._found[key]
        for key in places - rival.places:
            self._found.setdefault(key, set()).add(rival.id)
        rival.places = places

    def _update(self, agent: _Agent, now: float) -> None:
        for rival in agent.rivals.values():
            if self.lives(rival):
                rival.gone_at = None
            elif rival.gone_at is None:
                # Of an agent that ever lived on this broker a status is kept; of any other an info may be forged, or years old.
                rival.gone_at = now if agent.has_told else -math.inf

    # Connections.

    def begin(self) -> None:
        """Take note that a broker is about to tell what it keeps."""
        for agent in self._agents.values():
            agent.is_seen = False

    def complete(self, now: float) -> None:
        """Take note that it has told. Agents of which it keeps nothing count as gone from this moment."""
        for agent in self._agents.values():
            if not agent.is_seen:
                agent.is_online = False
        self.back(now)

    def back(self, now: float) -> None:
        """Take note that the broker was away. Claims of agents that were gone before count as gone from this moment: they may
        have been there meanwhile."""
        for agent in self._agents.values():
            for rival in agent.rivals.values():
                rival.gone_at = None
            self._update(agent, now)


def _places(claim: Claim) -> Iterator[Key]:
    yield from claim.keys
    if claim.address is not None:
        yield claim.address

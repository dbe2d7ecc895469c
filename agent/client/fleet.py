"""The state of all units, from their topics. A last value is never given as a present one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from agent.protocol.messages import AgentInfo, ChannelState, LeaseState, UnitInfo, utc_now
from agent.protocol.topics import AgentTopic, ChannelTopic, Topics, UnitTopic


@dataclass(slots=True)
class FleetUnit:
    """One unit as its topics tell of it. None: not published, or not yet received."""

    name: str
    status: Literal["online", "offline"] | None = None
    info: UnitInfo | None = None
    states: dict[int, ChannelState] = field(default_factory=dict)

    @property
    def agent(self) -> str | None:
        """The agent that serves it. Of two that do, by mistake or after a move, the one that published last."""
        newest = max(self.states.values(), key=lambda state: state.time, default=None)
        if newest is None or (self.info is not None and self.info.time > newest.time):
            return self.info.agent if self.info is not None else None
        return newest.agent


class Fleet:
    """The present state of every channel, from messages that come in any order.

    ``agents``: their status. ``agent_units``: the units that each of them serves. ``units``: by name. ``leases``: by unit and
    channel, None for the whole unit. Not for several threads.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.agents: dict[str, Literal["online", "offline"]] = {}
        self.agent_units: dict[str, list[str]] = {}
        self.units: dict[str, FleetUnit] = {}
        self.leases: dict[tuple[str, int | None], LeaseState] = {}

    @staticmethod
    def filters(topics: Topics, unit: str | None = None) -> list[str]:
        """The topic filters for the whole fleet, or for one unit and its agent."""
        pattern = unit or "+"
        return [
            topics.agent_status("+"),
            topics.agent_info("+"),
            topics.status(pattern),
            topics.info(pattern),
            topics.state(pattern, "+"),
            topics.lease(pattern),
            topics.lease(pattern, "+"),
        ]

    def update(self, topic: str, payload: bytes) -> tuple[str, int | None] | None:
        """Take one message. Returns the unit and channel that it is about; None where it is not understood, or about neither.

        An empty payload takes back what was retained.
        """
        try:
            match self._topics.parse_published(topic):
                case AgentTopic(agent, "status"):
                    self._agent_status(agent, payload)
                case AgentTopic(agent, "info"):
                    self.agent_units[agent] = AgentInfo.model_validate_json(payload).units if payload else []
                case UnitTopic(unit, "status") if payload in (b"online", b"offline"):
                    self._unit(unit).status = "online" if payload == b"online" else "offline"
                    return unit, None
                case UnitTopic(unit, "info") if payload:
                    self._unit_info(unit, UnitInfo.model_validate_json(payload))
                    return unit, None
                case UnitTopic(unit, "status" | "info") if not payload:
                    self.units.pop(unit, None)
                case UnitTopic(unit, "lease"):
                    self._lease(unit, None, payload)
                    return unit, None
                case ChannelTopic(unit, channel, "lease"):
                    self._lease(unit, channel, payload)
                    return unit, None
                case ChannelTopic(unit, channel, "state"):
                    return self._channel_state(unit, channel, payload)
        except ValidationError:
            return None  # another program's message on these topics
        return None

    def _unit_info(self, name: str, info: UnitInfo) -> None:
        unit = self._unit(name)
        known = unit.info
        leaves_it = not info.serves and known is not None and known.serves and known.instance != info.instance
        if not leaves_it:  # else another agent says that it leaves the name to the one that is known
            unit.info = info

    def _channel_state(self, unit: str, channel: str, payload: bytes) -> tuple[str, int] | None:
        if not payload:
            states = self._unit(unit).states
            for index in [index for index in states if str(index) == channel]:
                del states[index]
            return None
        state = ChannelState.model_validate_json(payload)
        if state.psu != unit or str(state.index) != channel:
            return None
        self._unit(unit).states[state.index] = state
        return unit, state.index

    def _lease(self, unit: str, channel: str | None, payload: bytes) -> None:
        if not payload:
            for place in [p for p in self.leases if p[0] == unit and channel == (None if p[1] is None else str(p[1]))]:
                del self.leases[place]
            return
        lease = LeaseState.model_validate_json(payload)
        if lease.psu == unit and channel == (None if lease.index is None else str(lease.index)):
            self.leases[unit, lease.index] = lease

    def lease_of(self, unit: str, channel: int | None = None) -> LeaseState | None:
        """The lease that decides who may set a channel: its own, else its unit's; None if nobody has reserved it."""
        for place in ((unit, channel), (unit, None)):
            lease = self.leases.get(place)
            if lease is not None and lease.holder is not None and not self._is_over(lease):
                return lease
        return None

    def _is_over(self, lease: LeaseState) -> bool:
        # An agent tells the end of a lease by itself. For one that is away the clock of this host decides, which may be wrong.
        return self.agents.get(lease.agent) != "online" and lease.until is not None and lease.until < utc_now()

    def _agent_status(self, agent: str, payload: bytes) -> None:
        if payload in (b"online", b"offline"):
            self.agents[agent] = "online" if payload == b"online" else "offline"
        elif not payload:
            self.agents.pop(agent, None)

    def _unit(self, name: str) -> FleetUnit:
        return self.units.setdefault(name, FleetUnit(name))

    def why_absent(self, name: str) -> str | None:
        """The reason why a unit is not online; None if it is online."""
        unit = self.units.get(name)
        if unit is None:
            return "nothing is known of it"
        agent = unit.agent
        if agent is not None and self.agents.get(agent) == "offline":
            return f"its agent {agent} is offline"
        if unit.status == "offline":
            reason = unit.info.reason if unit.info is not None else None
            return reason or "the agent can't reach it"
        if unit.status is None:
            return "no agent tells its status"
        return None

    def conflict(self, name: str) -> str | None:
        """The sentence on another agent that claims an online unit, too; None where no one does."""
        unit = self.units.get(name)
        info = None if unit is None else unit.info
        if info is None or info.conflict is None:
            return None
        if info.online and info.reason is not None:
            return info.reason
        other = info.conflict
        who = f"agent {other.agent} on {other.host or 'an unknown host'}"
        match other.why:
            case "name":
                return f"{who} has another supply of this name; give one of the two another name"
            case "supply":
                return f"{who} has the same supply as {other.unit}; take it out of one of the two configurations"
            case "agent":
                return f"{who} has the same name as this agent; give one of the two another settings.agent"

    def present(self, name: str) -> Iterator[ChannelState]:
        """The channels of a unit as they are now. If that is not known, their values are None and ``online`` is False."""
        unit = self.units.get(name)
        if unit is None:
            return
        absent = self.why_absent(name) is not None
        for _, state in sorted(unit.states.items()):
            yield without_values(state) if absent or not state.online else state

    def channels(self, name: str | None = None, channel: str | None = None) -> list[ChannelState]:
        """The present channels of the fleet, of a unit, or the one channel that a number or a name stands for."""
        names = sorted(self.units, key=natural) if name is None else [name]
        return [
            state
            for unit in names
            for state in self.present(unit)
            if channel is None or channel in (str(state.index), state.name)
        ]

    def online_units(self) -> set[str]:
        """The names of the units that are online."""
        return {name for name in self.units if self.why_absent(name) is None}

    def served_by(self, status: Literal["online", "offline"]) -> Counter[str]:
        """How many agents of this status have a unit of each name: one, unless two have the same."""
        return Counter(
            unit for agent, units in self.agent_units.items() if self.agents.get(agent) == status for unit in set(units)
        )


def without_values(state: ChannelState) -> ChannelState:
    """The channel as offline, without what it measured or was set to."""
    kept = ("time", "seq", "agent", "psu", "index", "name", "model")
    return ChannelState(**{name: getattr(state, name) for name in kept}, online=False)


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key by which psu2 comes before psu10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(len(part.lstrip("0")) if part.isdecimal() else 0, part.lstrip("0")) for part in parts], text

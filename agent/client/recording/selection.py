"""The units and channels that are recorded."""

from __future__ import annotations

from collections.abc import Sequence

from agent.client.fleet import Fleet, natural
from agent.client.request import Target
from agent.protocol.topics import Topics


class UnknownTargetError(Exception):
    """A unit or a channel that there is not. One sentence that says which there are."""


class Selection:
    """All channels of some units, or some channels of them, by number or name. Without a target, all of all units."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._units: dict[str, set[str] | None] = {}
        for target in targets:
            channels = self._units.get(target.unit, set())
            whole = target.channel is None or channels is None
            self._units[target.unit] = None if whole else {*(channels or ()), target.channel or ""}

    @property
    def units(self) -> list[str]:
        """The units, as the one level of a filter: ``+`` for all of them."""
        return list(self._units) or ["+"]

    def has(self, unit: str, index: int, name: str) -> bool:
        """True if a channel is recorded."""
        if not self._units:
            return True
        channels = self._units.get(unit, set())
        return channels is None or str(index) in channels or name in channels

    def filters(self, topics: Topics) -> list[str]:
        """The filters through which all that a recording needs arrives, each message once."""
        found = [topics.agent_info("+")]
        for unit in self.units:
            found += [topics.info(unit)]
            for channel in self._levels(unit):
                found += [
                    topics.state(unit, channel),
                    topics.backlog(unit, channel),
                    topics.event(unit, channel),
                ]
        return found

    def _levels(self, unit: str) -> list[str]:
        channels = self._units.get(unit)
        # A name may become another channel's, so all channels are heard.
        return sorted(channels) if channels and all(channel.isdecimal() for channel in channels) else ["+"]

    def check(self, fleet: Fleet) -> None:
        """Make sure that each target is known.

        :raises UnknownTargetError: one is not
        """
        for unit, channels in self._units.items():
            if unit not in fleet.units:
                known = ", ".join(sorted(fleet.units, key=natural)) or "none"
                raise UnknownTargetError(f"no agent has a unit {unit}; the units are: {known}")
            found = {index: state.name for index, state in fleet.units[unit].states.items()}
            info = fleet.units[unit].info
            if info is not None:
                found |= {channel.index: channel.name for channel in info.channels}
            for channel in sorted(channels or ()):
                if found and channel not in map(str, found) and channel not in found.values():
                    there = ", ".join(f"{index} ({name})" for index, name in sorted(found.items()))
                    raise UnknownTargetError(f"{unit} has no channel {channel}; it has {there}")

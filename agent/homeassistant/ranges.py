"""The ranges of numbers in Home Assistant, wide enough for the values that the unit has.

A range is what may be set here: the model's, within the limits of the configuration. Somebody at the panel, or a reset of the
unit, may set more, and Home Assistant takes no value outside of a number's range. The range reaches to that value then, for as
long as it stands there. To set it stays refused: by Home Assistant beyond it, by the agent within it.
"""

from __future__ import annotations

from agent.protocol.messages import ChannelInfo, ChannelState, UnitInfo
from agent.protocol.quantities import BY_NAME, LEVELS

#: Decimal places to which values are compared, as in the templates.
_DIGITS = 6


class Ranges:
    """The values outside of their ranges, by unit, channel and quantity. For one thread at a time."""

    def __init__(self) -> None:
        """All values are within their ranges."""
        self._beyond: dict[str, dict[tuple[int, str], float]] = {}

    def fit(self, channel: ChannelInfo, state: ChannelState) -> bool:
        """Take note of a channel's values (V, A). True if its ranges have to be told again."""
        known = self._beyond.get(state.psu, {})
        found = dict(known)
        for level in LEVELS:
            value, key = getattr(state, level), (channel.index, level)
            if value is None:
                continue  # it is not known now, and nothing is shown
            if is_within(channel, level, value):
                found.pop(key, None)
            else:
                found[key] = value
        if found == known:
            return False
        self._beyond[state.psu] = found
        if not found:
            del self._beyond[state.psu]
        return True

    def forget(self, unit: str) -> None:
        """Take a unit's values to be within their ranges."""
        self._beyond.pop(unit, None)

    def widened(self, info: UnitInfo) -> UnitInfo:
        """A unit's info with ranges that hold the values that it has."""
        beyond = self._beyond.get(info.psu)
        if not beyond:
            return info
        return info.model_copy(update={"channels": [_widened(channel, beyond) for channel in info.channels]})


def is_within(channel: ChannelInfo, level: str, value: float) -> bool:
    """True for a value (V, A) in the range of a setting, or beyond it by no more than a step of the unit."""
    interval = channel.range_of(level)
    if interval is None:
        return True  # it has no number
    low, high = bounds(interval, channel.resolution_of(BY_NAME[level].unit) or 0.0)
    return low <= value <= high


def bounds(interval: tuple[float, float], resolution: float) -> tuple[float, float]:
    """The least and the greatest value that are shown as one in a range (V, A)."""
    return round(interval[0] - resolution, _DIGITS), round(interval[1] + resolution, _DIGITS)


def _widened(channel: ChannelInfo, beyond: dict[tuple[int, str], float]) -> ChannelInfo:
    update = {}
    for level in LEVELS:
        value, interval = beyond.get((channel.index, level)), channel.range_of(level)
        if value is not None and interval is not None:
            update[f"{level}_range"] = (min(interval[0], value), max(interval[1], value))
    return channel.model_copy(update=update) if update else channel

"""Which channels of a unit the configuration gives no limit."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config.units import ChannelSettings, UnitSettings

_BOTH = "voltage_max and current_max"


def unlisted(unit: UnitSettings) -> str | None:
    """The channels that the file does not name, and that have no limit therefore: ``channels 2 and 3``; None if there are none.

    Of a unit whose channels only the unit itself tells: ``every other channel``.
    """
    known = {channel.index for model in unit.candidates for channel in model.channels}
    if not known:
        return "every other channel" if unit.channels else "every channel"
    missing = sorted(known - unit.channels.keys())
    return _named(missing) if missing else None


def missing_limits(channel: ChannelSettings) -> str | None:
    """What the file does not limit of a channel: ``voltage_max``, ``current_max``, or both; None where it limits both."""
    keys = [key for key in ("voltage_max", "current_max") if getattr(channel, key) is None]
    return " and ".join(keys) if keys else None


def without_limits(unit: UnitSettings) -> Iterator[str]:
    """A sentence for all channels of a unit that have no limit but their ratings, and one for those that lack one of the two."""
    lacking: dict[str, list[int]] = {}
    for index, channel in sorted(unit.channels.items()):
        if (missing := missing_limits(channel)) is not None:
            lacking.setdefault(missing, []).append(index)
    everything = [_named(lacking.pop(_BOTH))] if _BOTH in lacking else []
    if (others := unlisted(unit)) is not None:
        known = sorted({c.index for model in unit.candidates for c in model.channels} - unit.channels.keys())
        listed = [index for index, channel in sorted(unit.channels.items()) if missing_limits(channel) == _BOTH]
        everything = [_named(sorted({*known, *listed}))] if known else [*everything, others]
    if everything:
        yield f"{unit.name}: no limit but the rating on {' and '.join(everything)}; {_BOTH} set one"
    for missing, indices in lacking.items():
        yield f"{unit.name}: no {missing} but the rating on {_named(indices)}"


def _named(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"channel {indices[0]}"
    return f"channels {', '.join(map(str, indices[:-1]))} and {indices[-1]}"

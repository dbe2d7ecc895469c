"""Which channels of a unit the configuration gives no limit."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config.units import ChannelSettings, UnitSettings

_BOTH = "voltage_max and current_max"


def unlisted(unit: UnitSettings) -> str | None:
    """The channels that the file does not name, and that have no limit therefore: ``channels 2 and 3``; None if there are none.

    Of a unit whose channels only the unit itself tells: ``every other channel``.
    """
    known = _known(unit)
    if not known:
        return "every other channel" if unit.channels else "every channel"
    missing = sorted(known - unit.channels.keys())
    return _named(missing) if missing else None


def missing_limits(channel: ChannelSettings) -> str | None:
    """The limits that the file does not give a channel: ``voltage_max``, ``current_max``, or both; None where it has both."""
    keys = [key for key in ("voltage_max", "current_max") if getattr(channel, key) is None]
    return " and ".join(keys) if keys else None


def without_limits(unit: UnitSettings) -> Iterator[str]:
    """A sentence for all channels of a unit that have no limit but their ratings, and one for those that lack one of the two."""
    known = _known(unit)
    lacking: dict[str, list[int]] = {}
    for index in sorted(known | unit.channels.keys()):
        if (missing := missing_limits(unit.channel(index))) is not None:
            lacking.setdefault(missing, []).append(index)
    without = [_named(lacking.pop(_BOTH))] if _BOTH in lacking else []
    if not known and (others := unlisted(unit)) is not None:
        without.append(others)
    if without:
        yield f"{unit.name}: no limit but the rating on {' and '.join(without)}; {_BOTH} set one"
    for missing, indices in lacking.items():
        yield f"{unit.name}: no {missing} but the rating on {_named(indices)}"


def _known(unit: UnitSettings) -> set[int]:
    """The channels of all models that the unit may be; none where only the unit tells."""
    return {channel.index for model in unit.candidates for channel in model.channels}


def _named(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"channel {indices[0]}"
    return f"channels {', '.join(map(str, indices[:-1]))} and {indices[-1]}"

"""Keys of PSUDaemon's configuration file that this agent takes under its own names."""

from __future__ import annotations

from typing import Any

from agent.config.faults import FaultList
from agent.config.source import KeyPath, Source


def adopt_keys(source: Source, faults: FaultList) -> None:
    """Give the keys of units that were written for PSUDaemon this agent's names, in the source itself.

    ``channel_data``, which PSUDaemon saves, becomes ``channels``. ``channel_indices`` is taken out with a warning.
    """
    units = source.data.get("units") if isinstance(source.data, dict) else None
    for i, unit in enumerate(units if isinstance(units, list) else []):
        if not isinstance(unit, dict):
            continue
        path: KeyPath = ("units", i)
        if "channel_indices" in unit:
            faults.warn((*path, "channel_indices"), "is not used: the model tells which channels there are")
            del unit["channel_indices"]
        if "channel_data" in unit and "channels" in unit:
            faults.add((*path, "channel_data"), "stands beside channels; move what it holds there")
            del unit["channel_data"]
        elif "channel_data" in unit:
            _adopt_channels(source, path, unit)


def _adopt_channels(source: Source, path: KeyPath, unit: dict[str, Any]) -> None:
    channels = unit["channels"] = unit.pop("channel_data")
    for place in [place for place in source.places if place[:3] == (*path, "channel_data")]:
        source.places[*path, "channels", *place[3:]] = source.places[place]
    for settings in channels.values() if isinstance(channels, dict) else []:
        if isinstance(settings, dict):
            # PSUDaemon saves null for a setting that was never made.
            for key in [key for key, value in settings.items() if value is None]:
                del settings[key]

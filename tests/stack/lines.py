"""InfluxDB's line protocol, as Telegraf writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, Any]) -> str:
    """A point without its time. A field that is None is left out."""
    head = ",".join((measurement, *(f"{key}={value.replace(' ', chr(92) + ' ')}" for key, value in tags.items())))
    return f"{head} {','.join(f'{key}={_written(value)}' for key, value in fields.items() if value is not None)}"


def _written(value: Any) -> str:
    return f"{value}i" if type(value) is int else json.dumps(value, ensure_ascii=False)


def seldom(values: dict[str, Any]) -> dict[str, Any]:
    """What Telegraf writes of a sample of a unit that is heard of seldom (that has a silent_after) beside its values."""
    state, found = bool(values.get("state")), dict[str, Any]()
    if values.get("silent_after") is None or not values["online"]:
        return found
    if values.get("mode") is not None:
        found["cc"] = float(values["mode"] == "CC")
    if state and values.get("mode") != "CC" and values.get("current_limit"):
        found["current_share"] = values["current"] / values["current_limit"]
    if state and values.get("voltage_protection_state") is not False and values.get("voltage_protection"):
        found["voltage_share"] = values["voltage"] / values["voltage_protection"]
    return found

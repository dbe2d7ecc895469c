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

"""Durations and moments as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|h|d)")
_WITH_COMMA = re.compile(r"[0-9]+,[0-9]+(ms|s|min|m|h|d)?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
#: s; ten years.
_LONGEST = 10 * 365.25 * 86400


def parse_duration(text: str) -> float:
    """The seconds that ``90``, ``90s``, ``10m``, ``1h30m`` or ``2d`` means.

    :raises ValueError: it is no duration, or none above 0 and below ten years
    """
    compact = text.replace(" ", "").lower()
    form = f"{text!r} is no duration; give a number with s, m, h or d behind it, such as 10m or 1h30m"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", compact):
        seconds = float(compact)
    elif compact and not _PART.sub("", compact):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))
    else:
        hint = f"; write {text.strip().replace(',', '.')}, with a point" if _WITH_COMMA.fullmatch(compact) else ""
        raise ValueError(form + hint)
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"{text!r} is out of range; give more than 0 s, and less than ten years")
    return seconds


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment that ``18:00`` (the next one), ``2026-11-26T18:00`` or the same with a zone means; local time without a zone.

    :raises ValueError: it is no moment, or is past
    """
    if match := _CLOCK.fullmatch(text.strip()):
        hour, minute, second = (int(part or 0) for part in match.groups())
        try:
            wanted = now.astimezone().replace(hour=hour, minute=minute, second=second, microsecond=0, tzinfo=None)
        except ValueError:
            raise ValueError(f"{text!r} is no time of day; give HH:MM, such as 18:00") from None
        moment = wanted.astimezone(UTC)
        return moment if moment > now else (wanted + timedelta(days=1)).astimezone(UTC)
    try:
        moment = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; give 18:00, 2026-11-26T18:00 or 2026-11-26T18:00Z") from None
    if moment <= now:
        raise ValueError(f"{text} is past; give a time that comes")
    return moment

"""How long InfluxDB keeps samples: PSU_RETENTION in seconds and in words."""

from __future__ import annotations

import re

from store import Fault

SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
#: Of a new store, where nobody says anything else.
DEFAULT = "52w"
#: Seconds. InfluxDB counts nanoseconds in 64 bits.
LONGEST = 290 * 365 * SECONDS["d"]


def seconds(duration: str) -> int:
    """The seconds of a duration such as ``52w`` or ``1d12h``. 0 stands for ever.

    :raises Fault: it is none, or under InfluxDB's least, an hour
    """
    text = duration.strip().lower()
    if text in ("0", "0s", "inf", "infinite"):
        return 0
    if not re.fullmatch(r"(\d+[wdhms])+", text):
        raise Fault(
            f"PSU_RETENTION: {duration!r} is no duration: write for instance 52w, 90d or 36h; 0 keeps all for ever", 2
        )
    total = sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))
    if total < SECONDS["h"]:
        raise Fault(
            f"PSU_RETENTION: {duration} is less than an hour, the least that InfluxDB takes; 0 keeps all for ever", 2
        )
    if total > LONGEST:
        raise Fault(f"PSU_RETENTION: {duration} is more than 290 years: 0 keeps all for ever", 2)
    return total


def shard(retention: int) -> int:
    """The seconds of samples that InfluxDB keeps, and deletes, together: as it chooses them for a new bucket."""
    if retention == 0 or retention >= 180 * SECONDS["d"]:
        return SECONDS["w"]
    return SECONDS["h"] if retention < 2 * SECONDS["d"] else SECONDS["d"]


def spoken(retention: int) -> str:
    if not retention:
        return "ever"
    unit = next(unit for unit in "dhms" if retention % SECONDS[unit] == 0)
    return f"{retention // SECONDS[unit]} {unit}"

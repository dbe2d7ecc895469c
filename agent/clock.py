"""The clock by which a hold-up is noticed, of this process or of the whole host."""

from __future__ import annotations

import time

#: s. Longer than that and nobody knows how old a command is that waited, or whether the rest of one is still wanted.
LONGEST_ABSENCE = 5.0


def system_clock() -> float:
    """Seconds since the host started, the time that it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

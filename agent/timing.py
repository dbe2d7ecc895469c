"""A clock that counts the time of a suspended host, and how long to wait between two tries at a link."""

from __future__ import annotations

import random
import time
from pathlib import Path

import tenacity
from tenacity.wait import wait_base

#: s. A command that may be older when it comes in is not carried out, nor is the rest of one after a longer hold-up.
LONGEST_ABSENCE = 2.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def system_clock() -> float:
    """A monotonic clock (s) that also counts the time the host was suspended (CLOCK_BOOTTIME)."""
    return time.clock_gettime(_CLOCK)


def boot_id() -> str:
    """The present boot of this host, as moments of `system_clock` belong to one; empty where the system does not tell it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def backoff(first: float, longest: float, jitter: float) -> wait_base:
    """Waiting times for tenacity: ``first`` s, doubled with each try up to ``longest``, and up to ``jitter`` s more by chance."""
    return tenacity.wait_exponential(multiplier=first, max=longest) + tenacity.wait_random(0, jitter)


def retry_delay(tries: int, first: float, longest: float, jitter: float) -> float:
    """The seconds to wait after so many tries that failed, 1 or more; with the same rule as `backoff`."""
    return min(longest, first * 2.0 ** min(tries - 1, 30)) + random.uniform(0, jitter)

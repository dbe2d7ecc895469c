"""A clock that counts the time of a suspended host, a watch for hold-ups, and how long to wait between two tries at a link."""

from __future__ import annotations

import math
import random
import threading
import time
from pathlib import Path

import tenacity
from tenacity.wait import wait_base

#: s. A command that may be older when it comes in is not carried out, nor is the rest of one after a longer hold-up.
LONGEST_ABSENCE = 2.0
#: s between two ticks of `HoldUps`. A hold-up of `LONGEST_ABSENCE` is never missed, and none that is shorter by more than this
#: counts. A busy process does not look like one: 8 threads that computed all the time delayed a tick by 0.3 s at most, 64 by
#: 0.9 s, on two cores that had other work as well. It takes a few µs.
TICK = 0.5
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


class HoldUps:
    """Tells if the whole process was held up for `LONGEST_ABSENCE` s: stopped, without the processor, or its host asleep.

    A thread of its own ticks, and only it writes. All moments are of `system_clock`. Before `start` and after `stop` nothing
    counts as a hold-up.
    """

    __slots__ = ("_end", "_ended", "_thread", "_ticked")

    def __init__(self) -> None:
        self._ended = -math.inf  # the newest one
        self._ticked = math.inf
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hold-ups", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self.tick(system_clock())
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._ticked = math.inf

    def tick(self, now: float) -> None:
        """Note that the process runs, and that it was held up if the tick before is too long ago."""
        if now - self._ticked > LONGEST_ABSENCE:
            self._ended = now  # first: `any_since` reads the two in the other order
        self._ticked = now

    def any_since(self, moment: float) -> bool:
        """True if a hold-up ended after that moment, or has just ended: then the caller may run before the next tick."""
        return self._ticked < system_clock() - LONGEST_ABSENCE or self._ended > moment

    def _run(self) -> None:
        while not self._end.wait(TICK):
            self.tick(system_clock())


def backoff(first: float, longest: float, jitter: float) -> wait_base:
    """Waiting times for tenacity: ``first`` s, doubled with each try up to ``longest``, and up to ``jitter`` s more by chance."""
    return tenacity.wait_exponential(multiplier=first, max=longest) + tenacity.wait_random(0, jitter)


def retry_delay(tries: int, first: float, longest: float, jitter: float) -> float:
    """The seconds to wait after so many tries that failed, 1 or more; with the same rule as `backoff`."""
    return min(longest, first * 2.0 ** min(tries - 1, 30)) + random.uniform(0, jitter)

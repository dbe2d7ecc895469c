"""The moments of a unit's polls: a grid that does not drift, and at once on request."""

from __future__ import annotations

import time

#: s between two polls of a unit that is polled as fast as it answers while the broker does not take its states as fast: from the
#: first to the second, twice as long each time.
FIRST_REST, LONGEST_REST = 0.002, 0.1


class Schedule:
    """The moments of one unit's polls. Its callers tell it the time (s, `time.monotonic`). Only `want` is for other threads."""

    __slots__ = ("_phase", "_rest", "_wanted", "due", "interval")

    def __init__(self, interval: float, phase: float = 0.0) -> None:
        """``interval`` between two polls (s), 0 for as fast as the unit answers; ``phase``: a moment of the grid."""
        self.interval = interval
        self._phase = phase
        self._rest = 0.0
        self._wanted: float | None = None  # since when
        self.due = 0.0

    def begin(self, now: float) -> None:
        """Begin the grid: the unit is online, and was just polled. Units keep their places in the interval."""
        self.due = now if self.interval <= 0 else now + self.interval - (now - self._phase) % self.interval

    def want(self) -> None:
        """Have a poll as soon as the worker is free, out of the grid."""
        self._wanted = time.monotonic()

    @property
    def since(self) -> float:
        """The moment from which a poll is due."""
        wanted = self._wanted
        return self.due if wanted is None else min(self.due, wanted)

    @property
    def is_wanted(self) -> bool:
        """True if somebody wants a poll out of the grid."""
        return self._wanted is not None

    def is_due(self, now: float) -> bool:
        """True if the unit is to be polled now."""
        return self._wanted is not None or now >= self.due

    def take(self, now: float, *, is_congested: bool = False) -> bool:
        """Note that a poll begins. True if it is late by an interval or more; the moments that were missed are left out.

        :param is_congested: states come faster than the broker takes them; a unit that is polled as fast as it answers rests
        """
        self._wanted = None
        if now < self.due:
            return False
        if self.interval <= 0:
            self._rest = min(LONGEST_REST, max(FIRST_REST, 2 * self._rest)) if is_congested else 0.0
            self.due = now + self._rest
            return False
        self.due += self.interval
        if self.due > now:
            return False
        self.due += ((now - self.due) // self.interval + 1) * self.interval
        return True

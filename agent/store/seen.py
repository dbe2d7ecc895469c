"""The commands that came within the last 10 minutes: in memory at once, in the file for a restart."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from agent.store.database import Database
from agent.store.part import Part, Shared

#: s. A command with the id of one that came within this time is a duplicate.
DUPLICATE_WINDOW = 600.0
#: Ids remembered. At 10 minutes each it takes some 160 commands a second with an id to fill it.
MOST_SEEN = 100_000


class SeenCommands(Part):
    """The keys of the commands that came within the last 10 minutes, by a clock that nobody sets.

    The wall clock counts only after the host was started anew, where there is nothing better.
    """

    def __init__(self, shared: Shared, clock: Callable[[], float], boot: str) -> None:
        """
        :param clock: in s, one that nobody sets, and that goes on until the host is started anew
        :param boot: the present boot of the host, to which moments of the clock belong; empty if nobody knows
        """
        self._shared = shared
        self._clock = clock
        self._boot = boot
        self._seen: dict[bytes, float] = {}  # key → moment of the clock, oldest first
        self._unsaved: dict[bytes, tuple[float, float]] = {}  # key → wall clock, moment of the clock
        self._saving: dict[bytes, tuple[float, float]] = {}
        self._forgotten: set[bytes] = set()  # to be deleted from the file
        self._deleting: set[bytes] = set()

    def load(self, database: Database) -> None:
        """Take over the keys that an earlier run has seen."""
        rows = database.select("SELECT key, time, boot, moment FROM seen")
        wall, now = time.time(), self._clock()
        ages: list[tuple[float, bytes]] = []
        for key, seen, seen_boot, moment in rows:
            age = now - moment if self._boot and seen_boot == self._boot else wall - seen
            # A time in the future was saved before the wall clock was set back: it counts as seen just now.
            ages.append((max(0.0, age), key))
        earlier: dict[bytes, float] = {}
        with self._shared.lock:
            for age, key in sorted(ages, reverse=True):
                if age < DUPLICATE_WINDOW:
                    earlier[key] = now - age
                elif key not in self._seen:
                    self._forgotten.add(key)
            for key in self._seen:  # seen since: they are the newest
                earlier.pop(key, None)
            self._seen = earlier | self._seen

    def is_duplicate(self, key: bytes) -> bool:
        """True if this key was seen within the last 10 minutes; it is seen from now on. From any thread."""
        now = self._clock()
        fresh = now - DUPLICATE_WINDOW
        with self._shared.lock:
            seen = self._seen.get(key)
            if seen is not None and seen > fresh:
                return True
            self._forget(key)
            self._seen[key] = now
            self._unsaved[key] = time.time(), now
            while self._seen and (len(self._seen) > MOST_SEEN or next(iter(self._seen.values())) < fresh):
                self._forget(next(iter(self._seen)))
            self._shared.note()
        return False

    def _forget(self, key: bytes) -> None:
        if self._seen.pop(key, None) is not None and self._unsaved.pop(key, None) is None:
            self._forgotten.add(key)

    @property
    def is_dirty(self) -> bool:
        """True if the file lacks keys, or has some that are too old."""
        return bool(self._unsaved or self._forgotten)

    def write(self, db: sqlite3.Connection) -> None:
        """Delete keys that are too old, insert new ones."""
        with self._shared.lock:
            self._saving, self._unsaved = self._unsaved, {}
            self._deleting, self._forgotten = self._forgotten, set()
        db.executemany("DELETE FROM seen WHERE key = ?", [(key,) for key in self._deleting])
        db.executemany(
            "INSERT OR REPLACE INTO seen (key, time, boot, moment) VALUES (?, ?, ?, ?)",
            [(key, wall, self._boot, moment) for key, (wall, moment) in self._saving.items()],
        )

    def finish(self, saved: bool) -> None:
        """Forget the changes that were written, or keep them for the next time."""
        with self._shared.lock:
            if not saved:
                unsaved = {key: seen for key, seen in self._saving.items() if key not in self._forgotten}
                self._unsaved = unsaved | self._unsaved
                self._forgotten |= self._deleting
            self._saving, self._deleting = {}, set()

    def restart(self) -> None:
        """Write all that is in memory."""
        with self._shared.lock:
            offset = time.time() - self._clock()
            self._unsaved = {key: (moment + offset, moment) for key, moment in self._seen.items()}
            self._forgotten.clear()

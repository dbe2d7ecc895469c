"""The leases on units and channels, for a restart. `agent.service.leases` judges by them."""

from __future__ import annotations

import math
import sqlite3
import time
from dataclasses import dataclass

from agent.store.database import Database
from agent.store.part import Shared
from agent.store.records import Table

#: A unit, and the number of one of its channels; None for the unit as a whole.
Place = tuple[str, int | None]
#: In the file, where a key can't be null. Channels are numbered from 1.
_WHOLE_UNIT = 0
#: s since 1970, before the year 9999.
_END_OF_TIME = 253_370_000_000.0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The lease on one place; ``holder`` None: it has ended, and its end was published.

    ``since``, ``until``: by the wall clock (s since 1970). ``ttl``: s. ``moment``: its end by the clock of ``boot``, which nobody
    sets; ``boot`` is empty if nobody knows the host's boot.
    """

    holder: str | None
    since: float
    until: float
    ttl: float
    boot: str
    moment: float

    @property
    def is_possible(self) -> bool:
        """False for one of which no date can be made, from a file that somebody else has written to."""
        return all(0.0 <= moment < _END_OF_TIME for moment in (self.since, self.until)) and math.isfinite(self.moment)

    def left(self, boot: str, now: float) -> float:
        """The time that is left of it (s), at most its ``ttl``; 0 and less if it is over.

        :param boot: the present boot of the host; within one the wall clock does not count
        :param now: the moment of the clock of that boot
        """
        left = self.moment - now if boot and boot == self.boot else self.until - time.time()
        return min(left, self.ttl)


class LeaseRecords(Table[Place, LeaseRecord]):
    """The records of all places that had a lease, by place. For any thread."""

    def __init__(self, shared: Shared) -> None:
        """Begin without any."""
        super().__init__(shared)
        self._late: dict[Place, LeaseRecord] = {}
        #: True once it is known what the file has.
        self.is_loaded = False

    def load(self, database: Database) -> None:
        """Take over those that memory has no newer ones of."""
        rows = database.select("SELECT unit, channel, holder, since, until, ttl, boot, moment FROM leases")
        with self._shared.lock:
            for unit, channel, *values in rows:
                place = unit, None if channel == _WHOLE_UNIT else channel
                record = LeaseRecord(*values)
                if place not in self._unsaved and place not in self._known and record.is_possible:
                    self._known[place] = self._late[place] = record
            self.is_loaded = True

    def take_loaded(self) -> dict[Place, LeaseRecord]:
        """The leases that an earlier run has left, as far as memory has no newer ones. Each is given once."""
        if not self._late:
            return {}
        with self._shared.lock:
            late, self._late = self._late, {}
        return {place: record for place, record in late.items() if self._known.get(place) is record}

    def remember(self, place: Place, record: LeaseRecord) -> None:
        """Keep a record in the place of an older one."""
        with self._shared.lock:
            self._set(place, record)

    def forget(self, place: Place) -> None:
        """Remove a record, if there is one."""
        with self._shared.lock:
            self._set(place, None)

    def write(self, db: sqlite3.Connection) -> None:
        """Write the changes."""
        changes = {(unit, channel or _WHOLE_UNIT): record for (unit, channel), record in self._take().items()}
        kept = [
            (*key, record.holder, record.since, record.until, record.ttl, record.boot, record.moment)
            for key, record in changes.items()
            if record is not None
        ]
        gone = [key for key, record in changes.items() if record is None]
        db.executemany(
            "INSERT OR REPLACE INTO leases (unit, channel, holder, since, until, ttl, boot, moment) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            kept,
        )
        db.executemany("DELETE FROM leases WHERE unit = ? AND channel = ?", gone)

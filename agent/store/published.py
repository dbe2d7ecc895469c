"""The units of which this agent has retained messages on a broker."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from agent.store.database import Database
from agent.store.records import Table


class PublishedUnits(Table[str, tuple[int, ...]]):
    """The units of which this agent has retained messages on a broker, and their channels.

    See `PublishedValues` for those that not every unit has.
    """

    _READ = "SELECT unit, channels FROM published"
    _KEEP = "INSERT OR REPLACE INTO published (unit, channels) VALUES (?, ?)"
    _REMOVE = "DELETE FROM published WHERE unit = ?"

    def load(self, database: Database) -> None:
        """Take over those that memory has no newer ones of."""
        rows = database.select(self._READ)
        with self._shared.lock:
            for unit, channels in rows:
                if unit not in self._unsaved and unit not in self._known:
                    self._known[unit] = tuple(int(index) for index in channels.split())

    def channels(self, unit: str) -> tuple[int, ...] | None:
        """The channels of a unit with such messages; None where it has none that this agent published."""
        return self._known.get(unit)

    def remember(self, unit: str, channels: Iterable[int]) -> None:
        """Take note of a unit before its messages are published; channels are added to those that are known."""
        known = self._known.get(unit)
        newer = tuple(sorted({*(known or ()), *channels}))
        if newer != known:
            with self._shared.lock:
                self._set(unit, newer)

    def forget(self, unit: str) -> None:
        """Take note that there are none, or that they are another agent's now."""
        with self._shared.lock:
            if unit in self._known:
                self._set(unit, None)

    def write(self, db: sqlite3.Connection) -> None:
        """Write the changes."""
        changes = self._take()
        kept = [(unit, " ".join(map(str, found))) for unit, found in changes.items() if found is not None]
        gone = [(unit,) for unit, found in changes.items() if found is None]
        db.executemany(self._KEEP, kept)
        db.executemany(self._REMOVE, gone)


class PublishedValues(PublishedUnits):
    """The units of which this agent has plain values on a broker, and their channels."""

    _READ = "SELECT unit, channels FROM published_values"
    _KEEP = "INSERT OR REPLACE INTO published_values (unit, channels) VALUES (?, ?)"
    _REMOVE = "DELETE FROM published_values WHERE unit = ?"

"""Small tables that memory holds whole and the store's thread writes: energy and charge, discovery records, identity."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from agent.store.database import Database
from agent.store.part import Part, Shared

K = TypeVar("K")
V = TypeVar("V")


#: Energy (Wh) and charge (Ah) by unit and channel.
Meters = Mapping[str, Mapping[int, tuple[float, float]]]


class Table(Part, Generic[K, V]):
    """The records of one table, by key. Of several changes of one record only the newest is written."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._known: dict[K, V] = {}
        self._unsaved: dict[K, V | None] = {}  # None: to be deleted
        self._saving: dict[K, V | None] = {}

    @property
    def is_dirty(self) -> bool:
        """True if the file lacks changes."""
        return bool(self._unsaved)

    def _set(self, key: K, value: V | None) -> None:
        """Change a record, or remove it. With the lock held."""
        if self._known.get(key) == value:
            return
        if value is None:
            del self._known[key]
        else:
            self._known[key] = value
        self._unsaved[key] = value
        self._shared.note()

    def _take(self) -> dict[K, V | None]:
        with self._shared.lock:
            self._saving, self._unsaved = self._unsaved, {}
        return self._saving

    def finish(self, saved: bool) -> None:
        """Forget the changes that were written, or keep them for the next time."""
        with self._shared.lock:
            if not saved:
                self._unsaved = self._saving | self._unsaved
            self._saving = {}

    def restart(self) -> None:
        """Write all that is in memory."""
        with self._shared.lock:
            self._unsaved = {**self._known}


class SavedMeters(Table[tuple[str, int], tuple[float, float]]):
    """Every channel's energy (Wh) and charge (Ah) as saved last."""

    def __init__(self, shared: Shared) -> None:
        """Begin without any."""
        super().__init__(shared)
        self._done: Callable[[], None] | None = None
        self._done_next: Callable[[], None] | None = None
        self._has_begun = False
        self._base: dict[tuple[str, int], tuple[float, float]] = {}  # what the file had when it was read last
        self._late: dict[tuple[str, int], tuple[float, float]] = {}

    def load(self, database: Database) -> None:
        """Take them over; after `begin`, what the file has more than when it was read last is added to what was counted since."""
        rows = database.select("SELECT unit, channel, energy, charge FROM meters")
        with self._shared.lock:
            found = {(unit, channel): (energy, charge) for unit, channel, energy, charge in rows}
            counted, self._known = self._known, dict(found)
            if not self._has_begun:
                counted = {}
            for key, meter in found.items():
                more = _sum(meter, self._base.get(key, _NONE), -1)
                if self._has_begun and more != _NONE:
                    self._late[key] = _sum(self._late.get(key, _NONE), more)
                    counted[key] = _sum(counted.get(key, self._base.get(key, _NONE)), more)
            self._base = found
            # Rows that memory had before the file was known are not to be written over those in the file now.
            for key in found.keys() & self._unsaved.keys():
                del self._unsaved[key]
            for key, meter in counted.items():
                self._set(key, meter)

    def begin(self) -> Meters:
        """All of them, for units that count on from there. Those that the file tells later are for `take_late`."""
        with self._shared.lock:
            self._has_begun = True
            return _by_unit(self._known)  # under the same lock, or a file that is opened now would be counted twice

    def take_late(self) -> Meters:
        """What the file had, where it was opened after `begin`: to be added to what was counted since. Each is given once."""
        if not self._late:
            return {}
        with self._shared.lock:
            late, self._late = self._late, {}
        return _by_unit(late)

    def _with_late(self, key: tuple[str, int], meter: tuple[float, float]) -> tuple[float, float]:
        return _sum(meter, self._late.get(key, _NONE))

    def all(self) -> dict[str, dict[int, tuple[float, float]]]:
        """Energy and charge by unit and channel as given to `save` last, even if the file does not have them yet."""
        with self._shared.lock:
            return _by_unit(self._known)

    def save(self, meters: Meters, done: Callable[[], None] | None = None) -> None:
        """Save them in the background; units and channels that are left out keep what they have.

        :param done: called in the store's thread once these are in the file. A later call of `save` with a ``done`` replaces
            one that has not been called yet.
        """
        with self._shared.lock:
            for unit, channels in meters.items():
                for channel, meter in channels.items():
                    self._set((unit, channel), self._with_late((unit, channel), meter))
            if done is not None:
                self._done_next = done
                self._shared.note()

    @property
    def is_dirty(self) -> bool:
        """True if the file lacks changes, or a ``done`` is to be called."""
        return bool(self._unsaved) or self._done_next is not None

    def write(self, db: sqlite3.Connection) -> None:
        """Write the changes."""
        with self._shared.lock:
            self._done, self._done_next = self._done_next, None
            changes = self._take()
        rows = [(*key, *meter) for key, meter in changes.items() if meter is not None]
        db.executemany("INSERT OR REPLACE INTO meters (unit, channel, energy, charge) VALUES (?, ?, ?, ?)", rows)

    def finish(self, saved: bool) -> None:
        """Call the ``done`` of `save` if the file has them."""
        super().finish(saved)
        done, self._done = self._done, None
        if saved:
            if done is not None:
                done()
        else:
            with self._shared.lock:
                self._done_next = self._done_next or done


class DiscoveryRecords(Table[str, str]):
    """Records of the messages that were published for Home Assistant's discovery and not cleared since, by topic."""

    def load(self, database: Database) -> None:
        """Take over those that memory has no newer ones of."""
        rows = database.select("SELECT topic, record FROM discovered")
        with self._shared.lock:
            self._known = {topic: record for topic, record in rows if topic not in self._unsaved} | self._known

    def all(self) -> dict[str, str]:
        """A copy of all records."""
        with self._shared.lock:
            return dict(self._known)

    def remember(self, topic: str, record: str) -> None:
        """Keep a record in the place of an older one."""
        with self._shared.lock:
            self._set(topic, record)

    def forget(self, topic: str) -> None:
        """Remove a record, if there is one."""
        with self._shared.lock:
            self._set(topic, None)

    def write(self, db: sqlite3.Connection) -> None:
        """Write the changes."""
        changes = self._take()
        kept = [(topic, record) for topic, record in changes.items() if record is not None]
        gone = [(topic,) for topic, record in changes.items() if record is None]
        db.executemany("INSERT OR REPLACE INTO discovered (topic, record) VALUES (?, ?)", kept)
        db.executemany("DELETE FROM discovered WHERE topic = ?", gone)


class Identity(Table[str, str]):
    """What this agent calls itself, and tells nobody who need not know."""

    def load(self, database: Database) -> None:
        """Take over what the file has; what was given out before goes on until the next start."""
        rows = database.select("SELECT name, value FROM identity")
        with self._shared.lock:
            for name, value in rows:
                self._known[name] = value
                self._unsaved.pop(name, None)

    def secret(self, name: str) -> str:
        """Sixteen hexadecimal digits that nobody can guess: the same after a restart, if the disk has kept them."""
        with self._shared.lock:
            if name not in self._known:
                self._set(name, secrets.token_hex(8))
            return self._known[name]

    def write(self, db: sqlite3.Connection) -> None:
        """Write the changes."""
        db.executemany("INSERT OR REPLACE INTO identity (name, value) VALUES (?, ?)", list(self._take().items()))


def _by_unit(meters: Mapping[tuple[str, int], tuple[float, float]]) -> dict[str, dict[int, tuple[float, float]]]:
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for (unit, channel), meter in meters.items():
        found.setdefault(unit, {})[channel] = meter
    return found


_NONE = (0.0, 0.0)


def _sum(meter: tuple[float, float], other: tuple[float, float], sign: int = 1) -> tuple[float, float]:
    return meter[0] + sign * other[0], meter[1] + sign * other[1]

"""What outlives a lost broker and a restart, in one SQLite file: what was not delivered, energy, commands already seen.

Every method may be called from any thread. None raises for a disk that fails: what can't be kept is counted and logged, as
a full disk must not stop the unit from being switched off.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.unit.meters import Meter

log = logging.getLogger(__name__)

#: s. A command with the id of one that came within this time is a duplicate.
DUPLICATE_WINDOW = 600.0
#: Events and responses kept while the broker is away.
MOST_MESSAGES = 10_000
#: Ids remembered. At 10 minutes each it takes some 160 commands a second with an id to fill it.
MOST_SEEN = 100_000
#: s between two complaints about the same disk.
_COMPLAINT_INTERVAL = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, correlation BLOB);
CREATE TABLE IF NOT EXISTS meters (
    unit TEXT NOT NULL, channel INTEGER NOT NULL, energy REAL NOT NULL, charge REAL NOT NULL, PRIMARY KEY (unit, channel));
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_time ON seen (time);
CREATE TABLE IF NOT EXISTS discovered (topic TEXT PRIMARY KEY, record TEXT NOT NULL);
"""
_SELECT_METERS = "SELECT unit, channel, energy, charge FROM meters"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SpoolError(Exception):
    """The state directory can't be used; says why and what would help."""


class Row(NamedTuple):
    id: int
    topic: str
    payload: bytes
    correlation: bytes | None = None


class Spool:
    """``capacity`` is the most samples that are kept; beyond it the oldest go and count as ``dropped``."""

    def __init__(self, path: Path, capacity: int) -> None:
        """Open the file, or make it.

        :raises SpoolError: it can't be written, or another agent uses it
        """
        self.path = path
        self.capacity = capacity
        self.dropped = 0
        self._lock = threading.RLock()
        self._complained = -_COMPLAINT_INTERVAL
        self._unsaved: list[tuple[bytes, float]] = []
        self._sample_count = 0
        self._message_count = 0
        self._seen: dict[bytes, float] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
        except OSError as error:
            raise SpoolError(
                f"{path.parent}: {error.strerror}; settings.state_dir must be a writable directory"
            ) from None
        except sqlite3.Error as error:
            busy = "locked" in str(error)
            why = "another agent of this name uses it" if busy else str(error)
            raise SpoolError(f"{path}: {why}; settings.state_dir must be a writable directory of its own") from None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._put_aside(error)
            return self._connect()

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Keep a damaged file under another name, its journal with it, which would go into the new one."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(aside.with_name(aside.name + suffix))
        log.error("%s was damaged (%s); it is kept as %s and a new one begun", self.path, error, aside.name)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            # One agent a file: two that share it would publish each other's samples.
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.executescript(_SCHEMA)
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
            # Every table is read once: damage shows here and not in the middle of the work.
            self._sample_count = db.execute("SELECT count(*) FROM samples").fetchone()[0]
            self._message_count = db.execute("SELECT count(*) FROM messages").fetchone()[0]
            self._seen |= sorted(db.execute("SELECT key, time FROM seen ORDER BY key"), key=lambda row: float(row[1]))
            db.execute(_SELECT_METERS).fetchall()
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.close()

    @property
    def sample_count(self) -> int:
        return self._sample_count

    @property
    def message_count(self) -> int:
        return self._message_count

    # Samples: kept while the broker is away.

    def add_samples(self, samples: Sequence[tuple[str, bytes]]) -> None:
        """Keep samples (topic, payload), oldest first."""
        if not samples:
            return
        with self._lock:
            excess = max(0, self._sample_count + len(samples) - self.capacity)

            def add(db: sqlite3.Connection) -> None:
                db.executemany("INSERT INTO samples (topic, payload) VALUES (?, ?)", samples)
                if excess:
                    db.execute(
                        "DELETE FROM samples WHERE id IN (SELECT id FROM samples ORDER BY id LIMIT ?)", (excess,)
                    )

            if self._change(add):
                self._sample_count += len(samples) - excess
                self.dropped += excess
            else:
                self.dropped += len(samples)

    def samples(self, after: int, limit: int) -> list[Row]:
        """The oldest samples whose id is above ``after``."""
        return [
            Row(*row)
            for row in self._select(
                "SELECT id, topic, payload FROM samples WHERE id > ? ORDER BY id LIMIT ?", after, limit
            )
        ]

    def remove_samples(self, ids: Iterable[int]) -> None:
        with self._lock:
            self._sample_count -= self._remove("samples", ids)

    # Messages: events and responses that found no broker.

    def add_messages(self, messages: Sequence[tuple[str, bytes, bytes | None]]) -> None:
        """Keep messages (topic, payload, correlation data), oldest first; of too many the oldest go."""
        if not messages:
            return
        with self._lock:
            excess = max(0, self._message_count + len(messages) - MOST_MESSAGES)

            def add(db: sqlite3.Connection) -> None:
                db.executemany("INSERT INTO messages (topic, payload, correlation) VALUES (?, ?, ?)", messages)
                if excess:
                    db.execute(
                        "DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT ?)", (excess,)
                    )

            if self._change(add):
                self._message_count += len(messages) - excess

    def messages(self, after: int, limit: int) -> list[Row]:
        return [
            Row(*row)
            for row in self._select(
                "SELECT id, topic, payload, correlation FROM messages WHERE id > ? ORDER BY id LIMIT ?", after, limit
            )
        ]

    def remove_messages(self, ids: Iterable[int]) -> None:
        with self._lock:
            self._message_count -= self._remove("messages", ids)

    def _remove(self, table: str, ids: Iterable[int]) -> int:
        """How many rows went."""
        rows = [(number,) for number in ids]
        removed = 0

        def remove(db: sqlite3.Connection) -> None:
            nonlocal removed
            removed = db.executemany(f"DELETE FROM {table} WHERE id = ?", rows).rowcount  # noqa: S608

        return removed if self._change(remove) else 0

    # Energy and charge.

    def meters(self) -> dict[str, dict[int, Meter]]:
        """Every channel's energy and charge as last saved, by unit and channel."""
        meters: dict[str, dict[int, Meter]] = {}
        for unit, channel, energy, charge in self._select(_SELECT_METERS):
            meters.setdefault(unit, {})[channel] = Meter(energy, charge)
        return meters

    def save_meters(self, meters: dict[str, dict[int, Meter]]) -> None:
        rows = [
            (unit, channel, meter.energy, meter.charge)
            for unit, channels in meters.items()
            for channel, meter in channels.items()
        ]
        self._change(
            lambda db: db.executemany(
                "INSERT OR REPLACE INTO meters (unit, channel, energy, charge) VALUES (?, ?, ?, ?)", rows
            )
        )

    # Home Assistant's discovery.

    def discovered(self) -> dict[str, str]:
        """What was published for discovery and not cleared since: topic → record."""
        return dict(self._select("SELECT topic, record FROM discovered"))

    def remember_discovered(self, topic: str, record: str) -> None:
        self._change(
            lambda db: db.execute("INSERT OR REPLACE INTO discovered (topic, record) VALUES (?, ?)", (topic, record))
        )

    def forget_discovered(self, topic: str) -> None:
        self._change(lambda db: db.execute("DELETE FROM discovered WHERE topic = ?", (topic,)))

    # Commands.

    def is_duplicate(self, key: bytes) -> bool:
        """Whether this key was seen within the last 10 minutes; remembered from now on, on disk with `save_seen`."""
        now = time.time()
        fresh = now - DUPLICATE_WINDOW
        with self._lock:
            seen = self._seen.get(key)
            # A clock that was set back leaves times in the future: they count as seen.
            if seen is not None and seen > fresh:
                return True
            self._seen.pop(key, None)
            self._seen[key] = now
            self._unsaved.append((key, now))
            while self._seen and (len(self._seen) > MOST_SEEN or next(iter(self._seen.values())) < fresh):
                del self._seen[next(iter(self._seen))]
        return False

    def save_seen(self) -> None:
        """Keep what was seen over a restart. What the disk does not take is tried again the next time."""
        with self._lock:
            unsaved = self._unsaved[-MOST_SEEN:]
            if not unsaved:
                return

            def save(db: sqlite3.Connection) -> None:
                db.execute("DELETE FROM seen WHERE time < ?", (time.time() - DUPLICATE_WINDOW,))
                db.executemany("INSERT OR REPLACE INTO seen (key, time) VALUES (?, ?)", unsaved)

            self._unsaved = [] if self._change(save) else unsaved

    # The disk.

    def _change(self, change: Callable[[sqlite3.Connection], object]) -> bool:
        """Whether a change was made, as one transaction; a disk that fails undoes it and is complained about."""
        with self._lock:
            try:
                return self._try_change(change)
            except sqlite3.Error as error:
                if not _is_damage(error) or not self._begin_anew(error):
                    self._complain(error)
                    return False
            try:
                return self._try_change(change)
            except sqlite3.Error as error:
                self._complain(error)
                return False

    def _try_change(self, change: Callable[[sqlite3.Connection], object]) -> bool:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            change(self._db)
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        return True

    def _begin_anew(self, error: sqlite3.Error) -> bool:
        """Go on with an empty file where this one turns out to be damaged."""
        lost = self._sample_count
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        try:
            self._put_aside(error)
            self._db = self._connect()
        except (OSError, sqlite3.Error):
            return False
        self.dropped += lost
        return True

    def _select(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                if not (_is_damage(error) and self._begin_anew(error)):
                    self._complain(error)
                return []

    def _complain(self, error: sqlite3.Error) -> None:
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_INTERVAL:
            self._complained = now
            log.error("%s: %s; samples may be lost until it can be written again", self.path, error)


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE

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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.meters import Meter

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
"""


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
        self._lock = threading.Lock()
        self._complained = -_COMPLAINT_INTERVAL
        self._unsaved: list[tuple[bytes, float]] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
            self._sample_count: int = self._db.execute("SELECT count(*) FROM samples").fetchone()[0]
            self._seen: dict[bytes, float] = dict(self._db.execute("SELECT key, time FROM seen ORDER BY time"))
            self._message_count: int = self._db.execute("SELECT count(*) FROM messages").fetchone()[0]
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
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
            self.path.rename(aside)
            log.error("%s was damaged (%s); it is kept as %s and a new one begun", self.path, error, aside.name)
            return self._connect()

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
        stored = False
        with self._transaction():
            self._db.executemany("INSERT INTO samples (topic, payload) VALUES (?, ?)", samples)
            excess = self._sample_count + len(samples) - self.capacity
            if excess > 0:
                self._db.execute(
                    "DELETE FROM samples WHERE id IN (SELECT id FROM samples ORDER BY id LIMIT ?)", (excess,)
                )
                self.dropped += excess
            self._sample_count += len(samples) - max(0, excess)
            stored = True
        if not stored:
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
        with self._transaction():
            cursor = self._db.executemany("DELETE FROM samples WHERE id = ?", [(number,) for number in ids])
            self._sample_count -= cursor.rowcount

    # Messages: events and responses that found no broker.

    def add_messages(self, messages: Sequence[tuple[str, bytes, bytes | None]]) -> None:
        """Keep messages (topic, payload, correlation data), oldest first; of too many the oldest go."""
        if not messages:
            return
        with self._transaction():
            self._db.executemany("INSERT INTO messages (topic, payload, correlation) VALUES (?, ?, ?)", messages)
            self._message_count += len(messages)
            excess = self._message_count - MOST_MESSAGES
            if excess > 0:
                self._db.execute(
                    "DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT ?)", (excess,)
                )
                self._message_count -= excess

    def messages(self, after: int, limit: int) -> list[Row]:
        return [
            Row(*row)
            for row in self._select(
                "SELECT id, topic, payload, correlation FROM messages WHERE id > ? ORDER BY id LIMIT ?", after, limit
            )
        ]

    def remove_messages(self, ids: Iterable[int]) -> None:
        with self._transaction():
            cursor = self._db.executemany("DELETE FROM messages WHERE id = ?", [(number,) for number in ids])
            self._message_count -= cursor.rowcount

    # Energy and charge.

    def meters(self) -> dict[str, dict[int, Meter]]:
        """Every channel's energy and charge as last saved, by unit and channel."""
        meters: dict[str, dict[int, Meter]] = {}
        for unit, channel, energy, charge in self._select("SELECT unit, channel, energy, charge FROM meters"):
            meters.setdefault(unit, {})[channel] = Meter(energy, charge)
        return meters

    def save_meters(self, meters: dict[str, dict[int, Meter]]) -> None:
        rows = [
            (unit, channel, meter.energy, meter.charge)
            for unit, channels in meters.items()
            for channel, meter in channels.items()
        ]
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO meters (unit, channel, energy, charge) VALUES (?, ?, ?, ?)", rows
            )

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
        """Keep what was seen over a restart."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, []
        if unsaved:
            with self._transaction():
                self._db.execute("DELETE FROM seen WHERE time < ?", (time.time() - DUPLICATE_WINDOW,))
                self._db.executemany("INSERT OR REPLACE INTO seen (key, time) VALUES (?, ?)", unsaved)

    # The disk.

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the block as one transaction; a disk that fails undoes it and is complained about."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                self._complain(error)

    def _select(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._complain(error)
                return []

    def _complain(self, error: sqlite3.Error) -> None:
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_INTERVAL:
            self._complained = now
            log.error("%s: %s; samples may be lost until it can be written again", self.path, error)

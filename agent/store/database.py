"""The SQLite file: opened for one agent, read whole once, put aside where it is damaged, changed in transactions."""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

#: s between two complaints about the same disk.
COMPLAINT_INTERVAL = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, correlation BLOB);
CREATE TABLE IF NOT EXISTS meters (
    unit TEXT NOT NULL, channel INTEGER NOT NULL, energy REAL NOT NULL, charge REAL NOT NULL, PRIMARY KEY (unit, channel));
CREATE TABLE IF NOT EXISTS seen (
    key BLOB PRIMARY KEY, time REAL NOT NULL, boot TEXT NOT NULL DEFAULT '', moment REAL NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_time ON seen (time);
CREATE TABLE IF NOT EXISTS discovered (topic TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commands (
    number INTEGER PRIMARY KEY, topic TEXT NOT NULL, correlation BLOB, unit TEXT NOT NULL, channel INTEGER, id TEXT,
    payload BLOB);
CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS published (unit TEXT PRIMARY KEY, channels TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS published_values (unit TEXT PRIMARY KEY, channels TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS leases (
    unit TEXT NOT NULL, channel INTEGER NOT NULL, holder TEXT, since REAL NOT NULL, until REAL NOT NULL, ttl REAL NOT NULL,
    boot TEXT NOT NULL, moment REAL NOT NULL, PRIMARY KEY (unit, channel));
"""
#: Together they read every page that is needed later.
_CHECKS = (
    "SELECT count(*) FROM samples",
    "SELECT count(*) FROM messages",
    "SELECT key, time, boot, moment FROM seen ORDER BY key",
    "SELECT unit, channel, energy, charge FROM meters",
    "SELECT topic, record FROM discovered",
    "SELECT number, payload FROM commands",
    "SELECT name, value FROM identity",
    "SELECT unit, channel, holder, moment FROM leases",
    "SELECT unit, channels FROM published",
    "SELECT unit, channels FROM published_values",
)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


#: A path that is no place for the file, whatever the disk does.
_WRONG_PATH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


class StoreError(Exception):
    """The state directory is the wrong one. The message says why, and what would help."""


class Database:
    """The file, for one thread at a time: the one that opens it, then the store's."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.path = path
        self.is_open = False
        #: True after a damaged file could be neither put aside nor replaced.
        self.is_lost = False
        #: The state of other agents that lay beside the file when it was made anew.
        self.strangers: list[Path] = []
        self._complained = -COMPLAINT_INTERVAL

    def open(self) -> None:
        """Open the file, or make it.

        :raises StoreError: its path can't be right, or another agent uses it
        :raises OSError, sqlite3.Error: the disk is full, read-only or failing, or this user may not write there
        """
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                self.strangers = sorted(other for other in path.parent.glob("*.sqlite3") if other != path)
            elif path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
            self.connection = self._open()
        except OSError as error:
            if error.errno not in _WRONG_PATH:
                raise
            raise StoreError(
                f"{error.filename or path.parent}: {error.strerror}; settings.state_dir must be a writable directory"
            ) from None
        except sqlite3.Error as error:
            if "locked" not in str(error):
                raise
            raise StoreError(
                f"{path}: another agent of this name uses it; settings.state_dir must be a writable directory of its own"
            ) from None
        self.is_open = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Database]:
        """The file for `select` alone, where it can't be opened for writing. Without the changes since a crash, if there was one.

        :raises sqlite3.Error: it can't be read, or there is none
        """
        uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"  # without a lock or a journal, for which there is no room
        self.connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            yield self
        finally:
            self.connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._put_aside(error)
            return self._connect()

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Keep a damaged file under another name, and its journal with it, as SQLite would play it into the new file."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(aside.with_name(aside.name + suffix))
        log.error("%s is damaged (%s); it is kept as %s, and a new file is begun", self.path, error, aside.name)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            # One agent a file: two that share it would publish each other's samples.
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("PRAGMA temp_store=MEMORY")
            db.executescript(_SCHEMA)
            if len(db.execute("PRAGMA table_info(seen)").fetchall()) == 2:  # a file of version 0.1
                for column in ("boot TEXT NOT NULL DEFAULT ''", "moment REAL NOT NULL DEFAULT 0"):
                    db.execute(f"ALTER TABLE seen ADD COLUMN {column}")
            # Takes the lock that tells of another agent, and the journal that a disk without room has no place for.
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
            for query in _CHECKS:  # so that damage shows now, not later
                for _ in db.execute(query):
                    pass
        except BaseException:
            db.close()
            raise
        return db

    def select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a query finds.

        :raises sqlite3.Error: the file can't be read
        """
        return self.connection.execute(query, values).fetchall()

    def change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Make a change as one transaction; if it fails nothing of it was made.

        :raises sqlite3.Error: the file does not take it
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            change(self.connection)
            self.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def begin_anew(self, error: sqlite3.Error) -> bool:
        """Put a damaged file aside, and go on with an empty one.

        :return: true if that was possible
        """
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
        try:
            self._put_aside(error)
            self.connection = self._connect()
        except (OSError, sqlite3.Error):
            self.is_lost = True
            return False
        self.is_lost = False
        return True

    def complain(self, error: Exception | str) -> None:
        """Log that the disk fails, at most once in `COMPLAINT_INTERVAL`."""
        now = time.monotonic()
        if now - self._complained < COMPLAINT_INTERVAL:
            return
        self._complained = now
        if self.is_open:
            log.error("%s: %s; samples may be lost until it can be written again", self.path, error)
        else:
            why = error.strerror if isinstance(error, OSError) else error
            log.error(
                "%s: %s; until it can be opened, energy, the ids of commands and what waits for the broker are in memory "
                "alone; give a settings.state_dir that this user can write",
                self.path,
                why,
            )

    def close(self) -> None:
        """Close the file, if it is open. Never raises."""
        if self.is_open:
            with contextlib.suppress(sqlite3.Error):
                self.connection.close()


def is_damage(error: sqlite3.Error) -> bool:
    """True if the content of the file is wrong; false if the disk is full, read-only or failing."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE

"""The SQLite file: opened for one agent, read whole once, put aside where it is damaged, changed in transactions."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
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
)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreError(Exception):
    """The state directory can't be used. The message says why, and what would help."""


class Database:
    """The file, for one thread at a time: the one that opens it, then the store's."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        :raises StoreError: it can't be written, or another agent uses it
        """
        self.path = path
        self._complained = -COMPLAINT_INTERVAL
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = self._open()
        except OSError as error:
            raise StoreError(
                f"{path.parent}: {error.strerror}; settings.state_dir must be a writable directory"
            ) from None
        except sqlite3.Error as error:
            busy = "locked" in str(error)
            why = "another agent of this name uses it" if busy else str(error)
            raise StoreError(f"{path}: {why}; settings.state_dir must be a writable directory of its own") from None

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
            db.executescript(_SCHEMA)
            if len(db.execute("PRAGMA table_info(seen)").fetchall()) == 2:  # a file of version 0.1
                for column in ("boot TEXT NOT NULL DEFAULT ''", "moment REAL NOT NULL DEFAULT 0"):
                    db.execute(f"ALTER TABLE seen ADD COLUMN {column}")
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
            return False
        return True

    def complain(self, error: Exception) -> None:
        """Log that the disk fails, at most once in `COMPLAINT_INTERVAL`."""
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_INTERVAL:
            self._complained = now
            log.error("%s: %s; samples may be lost until it can be written again", self.path, error)

    def close(self) -> None:
        """Close the file. Never raises."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


def is_damage(error: sqlite3.Error) -> bool:
    """True if the content of the file is wrong; false if the disk is full, read-only or failing."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE

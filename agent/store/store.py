"""The agent's state that outlives a lost broker and a restart, in one SQLite file that a thread of its own writes and reads.

Memory has all that must be known at once. No other thread waits for the disk, except up to a time limit at the start and at the
end. A disk that is full, fails or hangs stops nothing, not the start either: memory keeps what it does not take, up to a limit.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agent.store.backlog import Backlog
from agent.store.commands import OpenCommands
from agent.store.database import Database, StoreError, is_damage
from agent.store.leases import LeaseRecords
from agent.store.part import Part, Shared
from agent.store.published import PublishedUnits, PublishedValues
from agent.store.records import DiscoveryRecords, Identity, SavedMeters
from agent.store.seen import SeenCommands

log = logging.getLogger(__name__)

#: s. How long changes gather before they are written in one transaction; `kill -9` loses no more than these.
GATHER = 0.02
#: s between two tries at a disk that fails, and at a file that can't be opened.
RETRY, RETRY_OPENING = 1.0, 5.0
#: s that the start waits for the file to be opened. Then it goes on, and takes the file over when it is there.
OPENING_TIMEOUT = 2.0


class Store:
    """The agent's state on disk, for any thread: `backlog`, `commands`, `seen`, `meters`, `discovered`, `published`,
    `published_values`, `leases`, `identity`."""

    def __init__(
        self,
        path: Path,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
        boot: str = "",
        *,
        advice: str | None = None,
    ) -> None:
        """Open the file, or make it, and load all that must be known at once; begin in memory where the disk takes too long.

        :param capacity: the most samples that are kept
        :param clock: in s, one that nobody sets; it tells how old a command's id is
        :param boot: the present boot of the host, until whose end the clock goes on; empty if nobody knows
        :param advice: what the user is told to do who has state under other names, and none under this one
        :raises StoreError: the path can't be right, or another agent uses the file
        """
        self.path = path
        self._database = Database(path)
        self._advice = advice
        self._shared = Shared()
        self.backlog = Backlog(self._shared, capacity)
        self.commands = OpenCommands(self._shared)
        self.seen = SeenCommands(self._shared, clock, boot)
        self.meters = SavedMeters(self._shared)
        self.discovered = DiscoveryRecords(self._shared)
        self.published = PublishedUnits(self._shared)
        self.published_values = PublishedValues(self._shared)
        self.leases = LeaseRecords(self._shared)
        self.identity = Identity(self._shared)
        self._rows = (self.backlog.messages, self.backlog.samples)
        self._parts: tuple[Part, ...] = (
            self.commands,
            self.seen,
            *self._rows,
            self.meters,
            self.discovered,
            self.published,
            self.published_values,
            self.leases,
            self.identity,
        )
        self._closing = False
        self._is_busy = False
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._wrong: StoreError | None = None
        self._is_looked_into = False
        self._opening = threading.Thread(target=self._open, name="store-opening", daemon=True)
        self._opening.start()
        self._opening.join(OPENING_TIMEOUT)
        if self._opening.is_alive():
            self._database.complain("the disk does not answer")
        elif self._wrong is not None:
            raise self._wrong

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """Write what is queued and close the file.

        :return: true if all was written within the timeout (s)
        """
        with self._shared.lock:
            self._closing = True
            self._shared.urge()
        if self._thread.ident is None:
            self._thread.start()
        self._thread.join(timeout)
        if not self._thread.is_alive() and self.is_saved:
            return True
        log.error("%s: not everything could be written; what was in memory alone is lost", self.path)
        return False

    @property
    def is_alive(self) -> bool:
        """True while the thread runs, or before it was started. It may wait for the disk."""
        return self._thread.ident is None or self._thread.is_alive()

    @property
    def is_saved(self) -> bool:
        """True if the file has all that is in memory."""
        with self._shared.lock:
            return not self._is_busy and not self._is_dirty()

    # The store's thread.

    def _run(self) -> None:
        self._opening.join()
        while True:
            closing = self._closing
            self._await_work()
            saved = self._guarded(self._write)  # first, so that no more than the capacity is delivered
            self._guarded(self._answer)
            if closing and not (saved and self._is_dirty()):
                break
        self._database.close()
        self._is_busy = False

    def _open(self) -> bool:
        """Open the file and take over what it has. True if that was possible."""
        database = self._database
        try:
            database.open()
            try:
                read = (
                    self.identity,
                    self.seen,
                    self.leases,
                    self.discovered,
                    self.published,
                    self.published_values,
                    self.meters,
                    self.commands,
                )
                for part in (*self._rows, *read):  # what may write goes first
                    part.load(database)
            except BaseException:
                database.close()
                database.is_open = False
                raise
        except StoreError as error:
            self._wrong = error
            if self._thread.ident is not None:
                database.complain(error)
        except (OSError, sqlite3.Error) as error:
            database.complain(error)
            self._look_into_it()
        else:
            if database.strangers and self._advice is not None:
                names = ", ".join(other.name for other in database.strangers[:5])
                log.warning("%s is new, and beside it lies the state of others: %s; %s", self.path, names, self._advice)
        self._retry_at = 0.0 if database.is_open else time.monotonic() + RETRY_OPENING
        return database.is_open

    def _look_into_it(self) -> None:
        """Take over, once, what can be read of a file that can't be opened: its disk may be read-only or full."""
        if self._is_looked_into:
            return
        self._is_looked_into = True
        with contextlib.suppress(OSError, sqlite3.Error), self._database.reading() as database:
            # Not the backlog and the commands, which could not be removed from it.
            for part in (self.identity, self.seen, self.leases, self.discovered, self.published, self.meters):
                part.load(database)
            self.published_values.load(database)  # which a file of an older version has not

    def _guarded(self, duty: Callable[[], bool]) -> bool:
        """The duty's result; False if it raised: the exception is logged and does not end the thread."""
        try:
            return duty()
        except Exception:
            log.exception("%s: unexpected; the store goes on", self.path)
            self._retry_at = time.monotonic() + RETRY  # an error that comes at once again must not spin
            return False

    def _await_work(self) -> None:
        shared = self._shared
        with shared.lock:
            self._is_busy = False
            while not self._is_urgent() and not self._is_dirty():
                shared.is_idle = True
                shared.lock.wait()
            shared.lock.wait_for(self._is_urgent, max(GATHER, self._retry_at - time.monotonic()))
            self._is_busy = True

    def _is_urgent(self) -> bool:
        if self._closing or any(rows.has_requests for rows in self._rows):
            return True
        return (
            self.commands.is_urgent and time.monotonic() >= self._retry_at
        )  # a disk that fails is not asked in a loop

    def _is_dirty(self) -> bool:
        return not self._database.is_open or any(part.is_dirty for part in self._parts)

    def _answer(self) -> bool:
        for rows in self._rows:
            try:
                rows.answer(self._database)
            except sqlite3.Error as error:
                self._failed(error)
        return True

    def _write(self) -> bool:
        """True if the changes have been written, or may be tried again at once."""
        if not self._closing and time.monotonic() < self._retry_at:
            return False
        if not self._database.is_open and not self._open():
            return False
        with self._shared.lock:
            dirty = [part for part in self._parts if part.is_dirty]
        if not dirty or self._written(dirty):
            return True
        # One part that can't be written must not keep the others from the disk.
        if len(dirty) == 1:
            return False
        saved = [self._written([part]) for part in dirty]
        return all(saved)

    def _written(self, parts: Sequence[Part]) -> bool:
        saved = False

        def write(db: sqlite3.Connection) -> None:
            for part in parts:
                part.write(db)

        try:
            self._database.change(write)
            saved = True
            self._retry_at = 0.0
        except sqlite3.Error as error:
            problem = error
        finally:
            for part in parts:
                self._guarded(partial(_finish, part, saved))
        return saved or self._failed(problem)

    def _failed(self, error: sqlite3.Error) -> bool:
        """Begin a new file where this one is damaged, else complain and wait.

        :return: true if it may be tried again at once
        """
        if (is_damage(error) or self._database.is_lost) and self._database.begin_anew(error):
            for part in self._parts:
                part.restart()
            return True
        self._retry_at = time.monotonic() + RETRY
        self._database.complain(error)
        return False


def _finish(part: Part, saved: bool) -> bool:
    part.finish(saved)
    return True

"""One table of messages in the order in which they came: a tail in memory, the rest in the file."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from agent.store.database import Database
from agent.store.part import Part, Shared

#: Rows, and bytes of their payloads, that wait in memory for a disk. Beyond that the oldest of them are dropped and counted.
MOST_QUEUED, MOST_QUEUED_BYTES = 20_000, 32 * 1024 * 1024
#: Rows in one transaction.
MOST_IN_TRANSACTION = 5_000
#: Where the disk is late, ids begin behind this one: above all that the file has, which is not known yet.
_LAST_ID_WITHOUT_FILE = 2**40


class Row(NamedTuple):
    """A message that is kept. Ids grow in the order in which the messages came, and none is used again."""

    id: int
    topic: str
    payload: bytes
    correlation: bytes | None = None


Deliver = Callable[[list[Row]], None]


class Rows(Part):
    """The messages of one table, oldest first. Of more than ``capacity`` the oldest are dropped and counted.

    A row is in one of three places: queued (in memory alone), being written, or in the file.
    """

    def __init__(self, shared: Shared, table: str, columns: Sequence[str], capacity: int) -> None:
        """Begin empty: what the file has comes with `load`."""
        self.capacity = capacity
        self.dropped = 0
        self._shared = shared
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._width = len(columns)
        self._insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # names of this package's own
        self._delete = f"DELETE FROM {table} WHERE id = ?"  # noqa: S608
        self._delete_oldest = f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)"  # noqa: S608
        self._find_oldest = f"SELECT min(id) FROM {table}"  # noqa: S608
        self._select = f"SELECT {names} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
        self._count = f"SELECT count(*) FROM {table}"  # noqa: S608
        self._renumber = (
            f"CREATE TEMP TABLE renumbered AS SELECT row_number() OVER (ORDER BY id) AS {names} FROM {table}",  # noqa: S608
            f"DELETE FROM {table}",  # noqa: S608
            f"INSERT INTO {table} ({names}) SELECT * FROM renumbered",  # noqa: S608
            "DROP TABLE renumbered",
            f"UPDATE sqlite_sequence SET seq = (SELECT count(*) FROM {table}) WHERE name = '{table}'",  # noqa: S608
        )
        self._table = table
        self._in_file = 0
        self._last_id = _LAST_ID_WITHOUT_FILE
        # The range of the ids that the file may have; older rows have been dropped.
        self._first_id, self._last_in_file = 0, 0
        self._queued: dict[int, Row] = {}
        self._queued_bytes = 0
        self._writing: dict[int, Row] = {}
        self._withdrawn: set[int] = set()  # removed while being written
        self._dead: set[int] = set()  # removed, and to be deleted from the file
        self._deleting: list[int] = []
        # By the transaction under way: the change of the number of rows in the file, rows dropped, the oldest id that stays.
        self._change, self._trimmed, self._oldest = 0, 0, 0
        self._requests: deque[tuple[int, int, Deliver]] = deque()

    def load(self, database: Database) -> None:
        """Take over the rows of the file: they are older than those in memory, so their ids have to be lower."""
        # AUTOINCREMENT remembers the largest id ever used, also after the table has become empty.
        used = database.select("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", self._table)[0][0] or 0
        in_file: int = database.select(self._count)[0][0]
        if used >= _LAST_ID_WITHOUT_FILE:  # an earlier run began without the file, too
            database.change(self._begin_at_1)
        with self._shared.lock:
            if self._last_id == _LAST_ID_WITHOUT_FILE:  # it has given no id yet
                self._last_id = max(used, in_file)
            self._in_file = in_file
            self._last_in_file = min(used, _LAST_ID_WITHOUT_FILE)

    def _begin_at_1(self, db: sqlite3.Connection) -> None:
        for statement in self._renumber:
            db.execute(statement)

    # From any thread. Nothing here waits for the disk.

    def __len__(self) -> int:
        return max(0, self._in_file - len(self._dead)) + len(self._writing) - len(self._withdrawn) + len(self._queued)

    def add(self, messages: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        """Keep messages (topic, payload, correlation data), oldest first."""
        with self._shared.lock:
            for topic, payload, correlation in messages:
                self._last_id += 1
                self._queued[self._last_id] = Row(self._last_id, topic, payload, correlation)
                self._queued_bytes += len(payload)
            most = min(self.capacity, MOST_QUEUED)
            while self._queued and (len(self._queued) > most or self._queued_bytes > MOST_QUEUED_BYTES):
                self._unqueue(next(iter(self._queued)))
                self.dropped += 1
            if self._queued:
                self._shared.note()

    def remove(self, ids: Iterable[int]) -> None:
        """Forget messages. Ids of messages that have been dropped are ignored; none is to be removed twice."""
        with self._shared.lock:
            for number in ids:
                if number in self._queued:
                    self._unqueue(number)
                elif number in self._writing:
                    self._withdrawn.add(number)
                elif self._first_id <= number <= self._last_in_file:
                    self._dead.add(number)
            if self._dead:
                self._shared.note()

    def request(self, after: int, limit: int, deliver: Deliver) -> None:
        """Have the oldest messages with ids above ``after`` delivered.

        :param deliver: called once, with an empty list where there are none: at once in the calling thread where all of them
            are in memory, else later in the store's thread. A disk that can't be read leaves out what only the disk has.
        """
        with self._shared.lock:
            if self._in_file > len(self._dead):
                self._requests.append((after, limit, deliver))
                self._shared.urge()
                return
            rows = self._in_memory(after, limit)
        deliver(rows)

    def _unqueue(self, number: int) -> None:
        self._queued_bytes -= len(self._queued.pop(number).payload)

    def _in_memory(self, after: int, limit: int) -> list[Row]:
        written = (row for row in self._writing.values() if row.id > after and row.id not in self._withdrawn)
        rows = list(islice(written, limit))
        queued = (row for row in self._queued.values() if row.id > after)
        return rows + list(islice(queued, limit - len(rows)))

    # In the store's thread.

    @property
    def has_requests(self) -> bool:
        """True if there are requests to be answered."""
        return bool(self._requests)

    def answer(self, database: Database) -> None:
        """Answer the requests.

        :raises sqlite3.Error: the file can't be read; the request has been answered with the rows in memory
        """
        while self._requests:
            with self._shared.lock:
                after, limit, deliver = self._requests.popleft()
                # The file still has the rows that are to be deleted: as many more are read.
                more = sum(number > after for number in self._dead)
            found: list[Row] = []
            try:
                found = [Row(*values) for values in database.select(self._select, after, limit + more)]
            finally:
                with self._shared.lock:
                    rows = [row for row in found if row.id not in self._dead][:limit]
                    if len(found) < limit + more:  # the file has no more
                        rows += self._in_memory(rows[-1].id if rows else after, limit - len(rows))
                deliver(rows)

    @property
    def is_dirty(self) -> bool:
        """True if rows wait to be written or deleted."""
        return bool(self._queued or self._dead)

    def write(self, db: sqlite3.Connection) -> None:
        """Delete removed rows, insert queued ones, and delete the oldest rows beyond the capacity."""
        with self._shared.lock:
            self._deleting = list(islice(self._dead, MOST_IN_TRANSACTION))
            self._writing = dict(islice(self._queued.items(), MOST_IN_TRANSACTION))
            for number in self._writing:
                self._unqueue(number)
            rows = [row[: self._width] for row in self._writing.values()]
            in_file = self._in_file
        deleted = self._executed(db, self._delete, [(number,) for number in self._deleting])
        self._executed(db, self._insert, rows)
        excess = max(0, in_file - deleted + len(rows) - self.capacity) if rows else 0
        if excess:
            self._trimmed = db.execute(self._delete_oldest, (excess,)).rowcount
            self._oldest = db.execute(self._find_oldest).fetchone()[0] or self._last_id + 1
        self._change = len(rows) - deleted - self._trimmed

    @staticmethod
    def _executed(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        return max(0, db.executemany(statement, rows).rowcount) if rows else 0

    def finish(self, saved: bool) -> None:
        """Count the rows that were written, or queue them again."""
        with self._shared.lock:
            if saved:
                self._in_file += self._change
                self._last_in_file = next(reversed(self._writing), self._last_in_file)
                self._dead.difference_update(self._deleting)
                self._dead |= self._withdrawn
                self.dropped += self._trimmed
                self._first_id = max(self._first_id, self._oldest)
            else:
                again = {number: row for number, row in self._writing.items() if number not in self._withdrawn}
                self._queued = again | self._queued
                self._queued_bytes += sum(len(row.payload) for row in again.values())
            self._writing = {}
            self._withdrawn = set()
            self._deleting = []
            self._change = self._trimmed = self._oldest = 0

    def restart(self) -> None:
        """Count the rows of the old file as dropped."""
        with self._shared.lock:
            self.dropped += max(0, self._in_file - len(self._dead))
            self._in_file = 0
            self._dead.clear()
            self._first_id = next(iter(self._queued), self._last_id + 1)

"""The commands that the broker was told are taken, until their responses are delivered: in memory, and in the file for a restart.

An agent that is killed finds them at its next start. One without a response may have been carried out or not. One with a response
is answered with the same bytes again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import astuple, dataclass

from agent.store.database import Database
from agent.store.part import Part, Shared

#: Commands that are kept. It takes as many that wait for their units, or for a broker that takes no responses, to reach it.
MOST_OPEN = 20_000

Saved = Callable[[], None]

_COLUMNS = "number, topic, correlation, unit, channel, id, payload"
_INSERT = f"INSERT OR REPLACE INTO commands ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # names of this file


@dataclass(slots=True)
class OpenCommand:
    """One command: where its response goes, what it was for, and the response as soon as there is one."""

    number: int
    topic: str
    correlation: bytes | None
    unit: str
    channel: int | None
    command_id: str | None
    payload: bytes | None = None


class OpenCommands(Part):
    """The commands without a response that was delivered, oldest first. All methods return at once, from any thread.

    A `Saved` is called in the store's thread once the file has the change; while the disk fails or hangs it is not called.
    """

    def __init__(self, shared: Shared) -> None:
        """Begin without any."""
        self._shared = shared
        self._open: dict[int, OpenCommand] = {}
        self._last = 0
        self._left: list[OpenCommand] = []  # of an earlier run, without a response, and not taken yet
        self._in_file: set[int] = set()
        self._changed: set[int] = set()  # numbers of those that the file lacks, has otherwise, or is to forget
        self._saving: set[int] = set()
        self._written: set[int] = set()  # of those that are being saved: the ones that the file has afterwards
        self._waiting: list[Saved] = []
        self._waiting_next: list[Saved] = []

    def load(self, database: Database) -> None:
        """Take over those that an earlier run left. One whose number was given again meanwhile gets another."""
        rows = database.select(f"SELECT {_COLUMNS} FROM commands ORDER BY number")  # noqa: S608
        with self._shared.lock:
            earlier = [OpenCommand(*row) for row in rows]
            self._in_file |= {command.number for command in earlier}
            self._last = max([self._last, *self._in_file])
            for command in earlier:
                if command.number in self._open:
                    self._changed.add(command.number)  # the one of this run takes its place in the file
                    self._last += 1
                    command.number = self._last
                    self._changed.add(command.number)
            self._left += [command for command in earlier if command.payload is None]
            self._open = {command.number: command for command in earlier} | self._open

    def __len__(self) -> int:
        return len(self._open)

    def open(self, command: OpenCommand, saved: Saved) -> int:
        """Keep a command, and return the number that it gets here; 0 where too many are kept, and this one is not."""
        with self._shared.lock:
            if len(self._open) >= MOST_OPEN:
                return 0
            self._last += 1
            command.number = self._last
            self._open[self._last] = command
            self._change(self._last, saved)
            return self._last

    def answer(self, number: int, payload: bytes, saved: Saved) -> None:
        """Keep a command's response."""
        with self._shared.lock:
            command = self._open.get(number)
            if command is not None:
                command.payload = payload
            self._change(number, saved)

    def close(self, number: int) -> None:
        """Forget a command, whose response was delivered."""
        with self._shared.lock:
            if self._open.pop(number, None) is not None:
                self._changed.add(number)
                self._shared.note()

    def take_unanswered(self) -> list[OpenCommand]:
        """The commands that an earlier run left without a response, oldest first; each is given once."""
        if not self._left:
            return []
        with self._shared.lock:
            left, self._left = self._left, []
        return left

    def answered(self) -> list[OpenCommand]:
        """The commands with a response, oldest first."""
        return [command for command in self._all() if command.payload is not None]

    def _all(self) -> list[OpenCommand]:
        with self._shared.lock:
            return list(self._open.values())

    def _change(self, number: int, saved: Saved) -> None:
        self._changed.add(number)
        self._waiting_next.append(saved)
        self._shared.urge()

    # In the store's thread.

    @property
    def is_urgent(self) -> bool:
        """True if somebody waits for a `Saved`."""
        return bool(self._waiting_next)

    @property
    def is_dirty(self) -> bool:
        """True if the file lacks something, or a `Saved` is to be called."""
        return bool(self._changed or self._waiting_next)

    def write(self, db: sqlite3.Connection) -> None:
        """Write the changes, of several of one command the newest."""
        with self._shared.lock:
            self._saving, self._changed = self._changed, set()
            self._waiting, self._waiting_next = self._waiting_next, []
            kept = [astuple(self._open[number]) for number in sorted(self._saving & self._open.keys())]
        self._written = {row[0] for row in kept}
        gone = [(number,) for number in self._saving & self._in_file if number not in self._written]
        if kept:
            db.executemany(_INSERT, kept)
        if gone:
            db.executemany("DELETE FROM commands WHERE number = ?", gone)

    def finish(self, saved: bool) -> None:
        """Call each `Saved`, or keep the changes for the next time."""
        waiting, self._waiting = self._waiting, []
        if saved:
            self._in_file = (self._in_file - self._saving) | self._written
        else:
            with self._shared.lock:
                self._changed |= self._saving
                self._waiting_next = waiting + self._waiting_next
        self._saving = set()
        if saved:
            for done in waiting:
                done()

    def restart(self) -> None:
        """Write all that is in memory."""
        with self._shared.lock:
            self._changed |= self._open.keys()
        self._in_file = set()

"""The base of the store's parts: their common lock, and the methods by which the store's thread writes a part."""

from __future__ import annotations

import sqlite3
import threading
from abc import ABC, abstractmethod

from agent.store.database import Database


class Shared:
    """The lock of all that the store holds in memory, and the way to wake the store's thread.

    The lock is never held while the disk is used, so no other thread waits for a disk.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()
        #: True while the store's thread sleeps until there is something to do. While it gathers or writes it needs no waking.
        self.is_idle = False

    def note(self) -> None:
        """Tell the store's thread that there is something to write. To be called with the lock held."""
        if self.is_idle:
            self.is_idle = False
            self.lock.notify_all()

    def urge(self) -> None:
        """Wake the store's thread at once, as somebody waits for its answer. To be called with the lock held."""
        self.is_idle = False
        self.lock.notify_all()


class Part(ABC):
    """One kind of records: memory has the newest, and the store's thread writes to the file what the file lacks."""

    @abstractmethod
    def load(self, database: Database) -> None:
        """Take over what the file has, once it is open. Memory may have newer records already, where the disk was late.

        :raises sqlite3.Error: the file can't be read; nothing was taken over
        """

    @property
    @abstractmethod
    def is_dirty(self) -> bool:
        """True if the file lacks something. From any thread, with the lock held."""

    @abstractmethod
    def write(self, db: sqlite3.Connection) -> None:
        """Write what the file lacks, inside a transaction of the caller's. In the store's thread, as are the next two.

        :raises sqlite3.Error: the file does not take it
        """

    @abstractmethod
    def finish(self, saved: bool) -> None:
        """Take note that the transaction of the last `write` was committed, or that its changes are still to be written."""

    @abstractmethod
    def restart(self) -> None:
        """Take note that the file is a new and empty one, which lacks everything that is in memory."""

"""The sleep of the session's thread: other threads end it, and may use the connection meanwhile."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: s. Where states come in faster than this, the thread sends several together: each waking costs more than a message.
NAP = 0.005


class Turn:
    """The right to use the connection and the messages that wait for it. The session's thread has it except while it sleeps."""

    def __init__(self) -> None:
        """Nobody has the turn."""
        #: True while the session's thread sleeps only for `NAP`, to let states gather.
        self.is_napping = False
        self._lock = threading.Lock()
        self._is_sleeping = False
        self._wake_lock = (
            threading.Lock()
        )  # against a pipe that is closed between the look at `_is_sleeping` and the write
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    # For other threads.

    def wake(self) -> None:
        """End the sleep of the session's thread."""
        # One byte for each time the thread sleeps, not for each message.
        if self._is_sleeping:
            with self._wake_lock, contextlib.suppress(BlockingIOError):
                if self._is_sleeping:
                    self._is_sleeping = False
                    os.write(self._wake_write, b"!")

    def try_to_take(self) -> bool:
        """Take the turn if the session's thread sleeps. If it returns true, call `give_back` soon."""
        return self._lock.acquire(blocking=False)

    def give_back(self) -> None:
        """Give back the turn that `try_to_take` took."""
        self._lock.release()

    # For the session's thread.

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the turn for the whole life of the session's thread. Afterwards nobody can wake it."""
        with self._lock:
            try:
                yield
            finally:
                with self._wake_lock:
                    self._is_sleeping = False
                    os.close(self._wake_read)
                    os.close(self._wake_write)

    def sleep(
        self, timeout: float, has_work: Callable[[], bool], connection: int | None = None, to_write: bool = False
    ) -> bool:
        """Sleep until another thread wakes this one, the connection can be used, or the timeout (s) is over.

        :param has_work: called when every later `wake` is certain to end the sleep; if it returns true, there is no sleep
        :param connection: the file descriptor of the socket
        :param to_write: wait until the socket takes more, too
        :return: true if the connection can be read
        """
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if connection is not None:
            poll.register(connection, select.POLLIN | (select.POLLOUT if to_write else 0))
        self._is_sleeping = True
        events = dict(self._poll(poll, 0 if has_work() else timeout))
        self._is_sleeping = False
        if self._wake_read in events:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        return connection is not None and bool(events.get(connection, 0) & ~select.POLLOUT)

    def nap(self, seconds: float, is_urgent: Callable[[], bool], connection: int) -> bool:
        """Let states gather for some time (s), until another thread wakes this one or the connection can be read.

        :param connection: the file descriptor of the socket
        :return: true if the connection can be read
        """
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.register(connection, select.POLLIN)
        self.is_napping = self._is_sleeping = True
        events = self._poll(poll, 0 if is_urgent() else seconds)
        self.is_napping = self._is_sleeping = False
        return any(number == connection for number, _ in events)

    def _poll(self, poll: select.poll, timeout: float) -> list[tuple[int, int]]:
        self._lock.release()
        try:
            return poll.poll(timeout * 1000)
        finally:
            self._lock.acquire()

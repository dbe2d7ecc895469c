"""Lines for stderr, written by a thread of their own: a reader that has stopped reading holds up nothing but them."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: Lines that wait for a reader. Further ones are dropped and counted.
MOST_WAITING = 1000


class LineWriter(Generic[T]):
    """Writes items to a file descriptor, each made a text by ``form`` in the writer's own thread. `put` never waits.

    :param form: gives the text of an item, with its line end; for a traceback it may read source files, so only this thread
        calls it
    :param note: gives the text that tells how many lines are missing at a place
    :param chores: called with the moment (`time.monotonic`) when nothing waits; gives more to write, and the s until it is to
        be called again, None for not before something else was written
    """

    def __init__(
        self,
        descriptor: int,
        form: Callable[[T], str],
        note: Callable[[int], str],
        chores: Callable[[float], tuple[list[T], float | None]] = lambda _: ([], None),
        encoding: str = "utf-8",
    ) -> None:
        self._descriptor = descriptor
        self._form = form
        self._note = note
        self._chores = chores
        self._encoding = encoding
        # Its put is reentrant: a signal handler may log while the same thread is in here.
        self._queue: queue.SimpleQueue[tuple[T | None, threading.Event | None, int]] = queue.SimpleQueue()
        self._refused = 0  # lines for which the queue had no room
        self._failed = 0  # lines that the descriptor did not take
        self._told = 0  # of both
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """The number of lines that nobody will read."""
        return self._refused + self._failed

    def put(self, item: T) -> None:
        """Have an item written, or counted as dropped where too many wait."""
        if self._queue.qsize() >= MOST_WAITING:
            self._refused += 1
        else:
            self._queue.put((item, None, self._refused))

    def wake(self) -> None:
        """Have ``chores`` called."""
        self._queue.put((None, None, self._refused))

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put is written; False if it was not within the timeout (s)."""
        done = threading.Event()
        self._queue.put((None, done, self._refused))
        return done.wait(timeout)

    def close(self) -> None:
        """Have the thread end once it has written all. Returns at once."""
        self._is_closed = True
        self.wake()

    # The writer's thread.

    def _run(self) -> None:
        patience: float | None = None
        while True:
            try:
                item, done, refused = self._queue.get(timeout=patience)
            except queue.Empty:
                item, done, refused = None, None, self._refused
            if refused + self._failed > self._told:
                self._tell(refused + self._failed)
            if item is not None:
                self._write(item)
            if self._queue.empty():
                if self.dropped > self._told:
                    self._tell(self.dropped)
                items, patience = self._chores(time.monotonic())
                for item in items:
                    self._write(item)
            if done is not None:
                done.set()
            if self._is_closed and self._queue.empty():
                return

    def _tell(self, dropped: int) -> None:
        if self._written(self._note(dropped - self._told)):
            self._told = dropped

    def _write(self, item: T) -> None:
        try:
            text = self._form(item)
        except Exception as error:  # noqa: BLE001  # to log it would lead here again
            text = f"a line of the log could not be written: {error!r}\n"
        if not self._written(text):
            self._failed += 1

    def _written(self, text: str) -> bool:
        """True if the descriptor has taken all of it. False if it never will: its reader has gone, or its disk is full."""
        left = text.encode(self._encoding, "backslashreplace")
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # a pipe that another program of the terminal has set to non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return True

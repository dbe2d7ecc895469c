"""Iterators over what comes in while a program is busy with something else."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")

#: Items that a feed keeps for a program that does not take them. Of more, the oldest are dropped.
LONGEST = 10_000


class Feed(Generic[T]):
    """What comes in from now on, in its order: an iterator without end, and a context manager that closes it.

    The iteration waits for the next item; it ends when the feed, or the connection that it belongs to, is closed. Up to `LONGEST`
    items are kept for a program that is slower, then the oldest are dropped: ``seq`` of a channel's states shows that.
    """

    def __init__(self, closed: Callable[[Feed[T]], None]) -> None:
        self._items: deque[T] = deque(maxlen=LONGEST)
        self._changed = threading.Condition()
        self._is_open = True
        self._closed = closed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = self.get()
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, timeout: float | None = None) -> T | None:
        """The next item, for which it waits up to `timeout` s (None: for ever); None if there is none, or the feed is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._items and self._is_open:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            return self._items.popleft() if self._items else None

    def put(self, item: T) -> None:
        """Add an item."""
        with self._changed:
            if self._is_open:
                self._items.append(item)
                self._changed.notify_all()

    def close(self) -> None:
        """End it: what was not taken yet can still be taken."""
        with self._changed:
            was_open, self._is_open = self._is_open, False
            self._changed.notify_all()
        if was_open:
            self._closed(self)

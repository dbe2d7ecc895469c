"""One row for each channel and interval: the last sample of the interval."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent.protocol.messages import ChannelState

#: Intervals of a channel of which is known that they have a row.
_REMEMBERED = 1000

Write = Callable[[ChannelState, bool], None]
"""Writes the row of a sample, which may be late."""


class Thinner:
    """The intervals of one channel. They begin at whole multiples of the interval (ms) since 1970, in UTC."""

    __slots__ = ("_interval", "_late", "_waiting", "_write", "_written")

    def __init__(self, interval: int, write: Write) -> None:
        self._interval = interval
        self._write = write
        self._waiting: tuple[int, ChannelState] | None = None
        self._late: tuple[int, ChannelState] | None = None  # of an interval whose samples all came late
        self._written: deque[int] = deque(maxlen=_REMEMBERED)

    def adopt(self, time: int) -> None:
        """Take note that the interval of this time (ms) has its row already."""
        self._written.append(time // self._interval)

    def add(self, state: ChannelState, time: int, *, late: bool) -> None:
        """Take one sample, in their order but for those that are late."""
        interval = time // self._interval
        if late:
            if interval in self._written or (self._waiting is not None and self._waiting[0] == interval):
                return
            if self._late is not None and self._late[0] != interval:
                self._write_late()
            self._late = interval, state
            return
        if self._waiting is not None and self._waiting[0] != interval:
            self._write_waiting()
        if interval not in self._written:
            self._waiting = interval, state

    def _write_waiting(self) -> None:
        if self._waiting is not None:
            interval, state = self._waiting
            self._written.append(interval)
            self._waiting = None
            self._write(state, False)

    def _write_late(self) -> None:
        if self._late is not None:
            interval, state = self._late
            self._written.append(interval)
            self._late = None
            self._write(state, True)

    def flush(self) -> None:
        """Write what waits."""
        self._write_late()
        self._write_waiting()

"""The jobs that wait for one unit, and the sleep of its worker until there is something to do."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterable

from agent.protocol.errors import Refusal
from agent.unit.job import Job

#: Commands that may wait for one unit; further ones are refused as busy.
MOST_WAITING = 100


class InboxClosed(Exception):
    """The unit is offline, or its worker ends: it takes no job."""


class Stopped(Exception):
    """The worker is to end."""


class Inbox:
    """Takes jobs from any thread, and hands them to the worker: offs go ahead of all others.

    It is closed while the unit is offline. `wake` and `stop` may be called from any thread; `next_off`, `next_waiting`, `open`
    and `wait` are the worker's.
    """

    __slots__ = ("_condition", "_is_open", "_news", "_offs", "_unit", "_waiting", "is_stopping")

    def __init__(self, unit: str) -> None:
        """``unit``: its name, for messages."""
        self._unit = unit
        self._condition = threading.Condition(threading.Lock())
        # Lists, not deques: an empty deque takes 700 bytes, and there are two a unit.
        self._offs: list[Job] = []
        self._waiting: list[Job] = []
        self._is_open = False
        self._news = False
        self.is_stopping = False

    def put(self, job: Job) -> list[Job]:
        """Take a job. The jobs that it supersedes, for the caller to refuse: those that would turn on what it turns off.

        :raises InboxClosed: it was not taken, as the unit is offline or its worker ends
        :raises Refusal: ``busy``; it was not taken
        """
        superseded: list[Job] = []
        with self._condition:
            if not self._is_open or self.is_stopping:
                raise InboxClosed
            if job.turns_off:
                self._offs.append(job)
                superseded = [other for other in self._waiting if other.turns_on and other.indices & job.indices]
                for other in superseded:
                    self._waiting.remove(other)
            elif len(self._waiting) >= MOST_WAITING:
                raise Refusal("busy", f"{MOST_WAITING} commands wait for {self._unit} already; send fewer at a time")
            else:
                self._waiting.append(job)
            self._notify()
        return superseded

    def open(self, offs: Iterable[Job] = ()) -> None:
        """Take jobs from now on; ``offs`` go ahead of them."""
        with self._condition:
            self._is_open = True
            self._offs[:0] = offs

    def close(self) -> list[Job]:
        """Take no more jobs. The jobs that were not begun, offs first."""
        with self._condition:
            self._is_open = False
            left = [*self._offs, *self._waiting]
            self._offs.clear()
            self._waiting.clear()
        return left

    def next_off(self) -> Job | None:
        """Remove and return the first off, if there is one."""
        if not self._offs:  # spares the lock, as this is asked before everything that the worker does
            return None
        with self._condition:
            return self._offs.pop(0) if self._offs else None

    def next_waiting(self) -> Job | None:
        """Remove and return the first of the other jobs, if there is one."""
        if not self._waiting:
            return None
        with self._condition:
            return self._waiting.pop(0) if self._waiting else None

    def waits_since(self) -> float | None:
        """The moment (`agent.timing.system_clock`) when the job that `next_waiting` returns came in; None if there is none."""
        if not self._waiting:
            return None
        with self._condition:
            return self._waiting[0].received if self._waiting else None

    def has_off(self) -> bool:
        """True while an off waits: a poll gives way to it then."""
        return bool(self._offs)

    def off_waits_for(self, indices: Collection[int]) -> bool:
        """True while an off waits for one of these channels."""
        if not self._offs:
            return False
        with self._condition:
            return any(not job.indices.isdisjoint(indices) for job in self._offs)

    def wake(self) -> None:
        """End the worker's `wait` for another reason than a job."""
        with self._condition:
            self._notify()

    def stop(self) -> None:
        """Have the worker end: no more jobs are taken, and `wait` raises `Stopped`."""
        with self._condition:
            self.is_stopping = True
            self._notify()

    def check_stop(self) -> None:
        """Raise `Stopped` if the worker is to end."""
        if self.is_stopping:
            raise Stopped

    def wait(self, until: float) -> None:
        """Sleep until a moment of `time.monotonic` (infinite: no limit), or until a job or a `wake` has come since the last one.

        :raises Stopped: the worker is to end
        """
        with self._condition:
            if not self._news and not self.is_stopping:
                seconds = until - time.monotonic()
                if seconds > 0:
                    self._condition.wait(None if math.isinf(seconds) else min(seconds, threading.TIMEOUT_MAX))
            self._news = False
        self.check_stop()

    def sleep(self, seconds: float) -> None:
        """Sleep that long (s), also if `wake` is called: a unit that is offline waits so between two tries.

        :raises Stopped: the worker is to end
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.wait(until)

    def _notify(self) -> None:
        self._news = True
        self._condition.notify_all()

"""The jobs that wait for one unit, and the sleep of its worker until there is something to do."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable

from agent.protocol.errors import Refusal
from agent.unit.brokerloss import BrokerLoss
from agent.unit.job import Job

#: Commands that may wait for one unit; further ones are refused as busy.
MOST_WAITING = 100
#: Offs of the same outputs that may wait for one unit, done together and answered each. More are not worth the memory.
MOST_MERGED = 2000


class InboxClosed(Exception):
    """The unit is offline, or its worker ends: it takes no job."""


class Stopped(Exception):
    """The worker is to end."""


class Inbox:
    """Takes jobs from any thread, and hands them to the worker: offs go ahead of all others.

    It is closed while the unit is offline, and to all but offs while the worker ends or makes its first connection. `wake`
    and `stop` may be called from any thread; `next_off`, `next_waiting`, `open` and `wait` are the worker's.
    """

    __slots__ = ("_condition", "_is_open", "_loss", "_news", "_offs", "_unit", "_waiting", "is_stopping", "takes_offs")

    def __init__(self, unit: str, loss: BrokerLoss) -> None:
        """``unit``: its name, for messages. ``loss``: its policy, whose off waits without being a job here."""
        self._unit = unit
        self._loss = loss
        self._condition = threading.Condition(threading.Lock())
        # Lists, not deques: an empty deque takes 700 bytes, and there are two a unit.
        self._offs: list[Job] = []
        self._waiting: list[Job] = []
        self._is_open = False
        self._news = False
        self.is_stopping = False
        #: True while an off may wait for the link to be opened: during the first try to connect, where the unit was online just
        #: before, and where another agent serves the supply.
        self.takes_offs = False

    def put(self, job: Job) -> list[Job]:
        """Take a job. The jobs that it supersedes, for the caller to refuse: those that would turn on what it turns off.

        A job for an off and something else waits as a setting; its off goes ahead. If too many wait, it becomes a plain off.

        :raises InboxClosed: it was not taken, as the unit is offline or its worker ends
        :raises Refusal: ``busy``; it was not taken
        """
        with self._condition:
            if not self._is_open or self.is_stopping:
                closed = Refusal("offline", f"{self._unit} takes nothing else at present; send the rest again")
                if not (self._is_open or self.takes_offs) or not job.keep_off(closed):
                    raise InboxClosed
            is_crowded = len(self._waiting) >= MOST_WAITING
            if is_crowded and not job.turns_off:
                busy = Refusal("busy", f"{MOST_WAITING} commands wait for {self._unit} already; send fewer at a time")
                if not job.rides_on_off:
                    raise busy
                job.keep_off(busy)
            superseded: list[Job] = []
            if job.turns_off:
                self._merge(job)
            elif job.rides_on_off:
                self._merge(job.off_part())
            if job.turns_off or job.rides_on_off:
                superseded = self._remove(lambda other: other.turns_on and not other.indices.isdisjoint(job.indices))
            if not job.turns_off:
                self._waiting.append(job)
            self._notify()
        return superseded

    def supersede(self, indices: Collection[int]) -> list[Job]:
        """Remove and return all jobs but offs that wait for one of these channels, for the caller to refuse."""
        with self._condition:
            return self._remove(lambda other: not other.indices.isdisjoint(indices))

    def _remove(self, condition: Callable[[Job], bool]) -> list[Job]:
        removed = [job for job in self._waiting if condition(job)]
        if removed:
            self._waiting = [job for job in self._waiting if job not in removed]
        return removed

    def _merge(self, off: Job, most: float = MOST_MERGED) -> None:
        """Put an off in the place of the first waiting one that it covers, or into one that covers it, or behind them all.

        :raises Refusal: ``busy``; too many have been merged with it
        """
        for waiting in self._offs:
            if waiting.indices >= off.indices:
                if len(waiting.merged) >= most:
                    raise Refusal(
                        "busy",
                        f"{MOST_MERGED} offs of the same outputs of {self._unit} wait already; they are carried out, and its "
                        "next state tells the outcome",
                    )
                waiting.merged += [off, *off.take_merged()]
                return
        covered = [waiting for waiting in self._offs if off.indices > waiting.indices]
        if not covered:
            self._offs.append(off)
            return
        place = self._offs.index(covered[0])
        for waiting in covered:
            off.merged += [waiting, *waiting.take_merged()]
        self._offs[place] = off
        self._offs = [waiting for waiting in self._offs if waiting not in covered]

    def open(self, offs: Iterable[Job] = ()) -> None:
        """Take jobs from now on; ``offs`` go ahead of them."""
        with self._condition:
            self._is_open, self.takes_offs = True, False
            waiting, self._offs = self._offs, []
            for off in (*offs, *waiting):
                self._merge(off, math.inf)

    def close(self, *, but_for_offs: bool = False) -> list[Job]:
        """Take no more jobs, or offs alone, which wait for `open`. The jobs that were not begun, offs first."""
        with self._condition:
            self._is_open, self.takes_offs = False, but_for_offs
            left = [*self._offs, *self._waiting]
            self._offs.clear()
            self._waiting.clear()
        return left

    def take_offs(self) -> None:
        """Let offs wait while it is closed. From any thread."""
        with self._condition:
            self.takes_offs = self.takes_offs or not self._is_open
            self._notify()

    def next_off(self) -> Job | None:
        """Remove and return the first off, if there is one; the whole that it is a part of if that would be the next job."""
        if not self._offs:  # spares the lock, as this is asked before everything that the worker does
            return None
        with self._condition:
            if not self._offs:
                return None
            off = self._offs.pop(0)
            if off.whole is not None and off.whole in self._waiting[:1] and not off.merged:
                return self._waiting.pop(0)
            return off

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
        """True while an off waits, or `on_broker_loss` is due: a poll gives way to it then."""
        return bool(self._offs) or self._loss.is_due()

    def has_off_job(self) -> bool:
        """True while an off waits. From any thread."""
        return bool(self._offs)

    def off_waits_for(self, indices: Collection[int]) -> bool:
        """True while an off waits for one of these channels, or `on_broker_loss` is due for one."""
        if self._loss.is_due() and self._loss.is_due_for(indices):
            return True
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

"""Permission to open a link: only a few units connect at once, and file descriptors are left for the broker."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import threading
from collections import deque
from collections.abc import Callable

from agent.instruments.driver import LinkError

#: Units that connect at once; and the seconds after which one of them is taken to sleep in a timeout and no longer counts.
SLOTS, LEASE = 8, 0.1
#: Descriptors that are left to the broker's connection, looking up its name, the store's file and programs of external units.
RESERVE = 16


class QueuePlace:
    """One unit's place in an `Admission`'s queue."""

    __slots__ = ("_admission", "_is_first", "_wake", "is_admitted")

    def __init__(self, admission: Admission, wake: Callable[[], None]) -> None:
        self._admission = admission
        self._wake = wake
        self._is_first = False
        self.is_admitted = False

    def wait_until(self, now: float) -> float | None:
        """None if the unit may connect now; else the moment to ask again unless it is woken before, which may be infinite."""
        return None if self.is_admitted else self._admission.ask(self, now)

    def leave(self, now: float) -> None:
        """Give the place up: the unit has connected, or failed. It may be called twice."""
        self._admission.leave(self, now)

    def be_first(self) -> bool:
        """True the first time it is called: the place has become the first of the queue. Called by the `Admission`."""
        was_first, self._is_first = self._is_first, True
        return not was_first

    def wake(self) -> None:
        """Have the unit's thread ask again."""
        self._wake()


class Admission:
    """A queue for connecting, first in, first out. It never sleeps; its callers tell it the time (s, `time.monotonic`).

    With a thousand threads in their start-up questions at once the interpreter's lock changes hands more often than anything is
    done: 1,000 units with one unanswered question each took more than 170 s and 1.6 cores. A unit that does not answer
    sleeps in its timeout and costs nothing: after ``lease`` seconds its slot counts as free, so that hundreds of unreachable
    units do not hold up the others. Only the first of the queue waits for that; the rest sleep until they are woken.
    """

    def __init__(self, slots: int = SLOTS, lease: float = LEASE) -> None:
        """``slots``: units that connect at once; ``lease``: s."""
        self._slots = slots
        self._lease = lease
        self._lock = threading.Lock()
        self._queue: deque[QueuePlace] = deque()
        self._holders: dict[QueuePlace, float] = {}  # the moment until which each counts, the earliest first

    def enter(self, wake: Callable[[], None]) -> QueuePlace:
        """Queue up. ``wake`` is called from other units' threads, and must return at once."""
        place = QueuePlace(self, wake)
        with self._lock:
            self._queue.append(place)
        return place

    def ask(self, place: QueuePlace, now: float) -> float | None:
        """See `QueuePlace.wait_until`."""
        with self._lock:
            woken = self._admit(now)
            if place.is_admitted:
                again = None
            elif self._queue[0] is place:
                again = next(iter(self._holders.values()))
            else:
                again = math.inf
        _wake(woken, but=place)
        return again

    def leave(self, place: QueuePlace, now: float) -> None:
        """See `QueuePlace.leave`."""
        with self._lock:
            if place.is_admitted:
                self._holders.pop(place, None)
            elif place in self._queue:
                self._queue.remove(place)
            woken = self._admit(now)
        _wake(woken, but=place)

    def _admit(self, now: float) -> list[QueuePlace]:
        """Admit as many as there are slots for. The places whose threads are to be woken for it."""
        woken = []
        while self._queue:
            if len(self._holders) >= self._slots:
                oldest = next(iter(self._holders))
                if self._holders[oldest] > now:
                    break
                del self._holders[oldest]
            place = self._queue.popleft()
            place.is_admitted = True
            self._holders[place] = now + self._lease
            woken.append(place)
        if self._queue and self._queue[0].be_first():
            woken.append(self._queue[0])
        return woken


def _wake(places: list[QueuePlace], but: QueuePlace) -> None:
    for place in places:
        if place is not but:
            place.wake()


def check_room() -> None:
    """Return if a unit may open another link.

    The system gives out the lowest free number. So a unit that opens nothing while that number lies in the reserve, the highest
    numbers of the limit, leaves the reserve as it is.

    :raises LinkError: only the reserve is left, or nothing
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return
    if _lowest_free() >= limit - min(RESERVE, limit // 3):
        raise LinkError(
            f"no file descriptor is left for it, as this process may have {limit} open; raise the limit (`ulimit -n`, "
            "systemd: LimitNOFILE=)"
        )


def _lowest_free() -> float:
    try:
        number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return float("inf")
        raise
    with contextlib.suppress(OSError):
        os.close(number)
    return number

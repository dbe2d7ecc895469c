"""Whose turn it is on a line that several units share: one exchange a turn.

An off goes first. Else the one goes on that had the last turn, if it wants to at once and no more than for a poll: where units
have to be selected, each change costs a message and a pause. Else the one goes that has waited longest. A unit that did not
answer has cost the others a timeout: it waits until each of them has finished the poll that it was in.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)

#: s. One that has wanted nothing for that long has finished its poll: between two messages of a poll it takes some ms.
POLL_OVER = 0.05
#: Turns in which the longest poll is over, of one that is never at rest.
LONGEST_POLL = 16
#: Turns of offs in a row before another one gets a turn: a flood of offs must not stop all polls of the others.
MOST_URGENT = 4
#: s that the line is kept for the one that had the last turn, where a change costs something.
LINGER = 0.005
#: s between two looks of one that waits while the line is free for another one.
_LOOK = 0.01


class Order(Generic[Who]):
    """The order of turns. It has no clock: its callers give it the time (s, `time.monotonic`), and one lock is theirs."""

    def __init__(self, linger: float = 0.0) -> None:
        """``linger``: s that the line is kept for the one that had the last turn."""
        self.current: Who | None = None
        self._linger = linger
        self._former: Who | None = None  # the one that had the last turn, and may go on
        self._kept_until = -math.inf
        self._in_row = 0
        self._waiting: list[Who] = []
        self._turns: dict[Who, int] = {}
        self._last: dict[Who, float] = {}
        # Those that did not answer: the number of turns that each of the others is to have before.
        self._held: dict[Who, dict[Who, int]] = {}
        self._urgent_in_row = 0

    def join(self, who: Who) -> None:
        """Take one in; it wants nothing yet. Once more changes nothing."""
        self._turns.setdefault(who, 0)

    def leave(self, who: Who) -> None:
        """Forget one, which neither waits nor has a turn; but for its silence, which ends with an answer alone."""
        for known in (self._turns, self._last):
            known.pop(who, None)
        for others in self._held.values():
            others.pop(who, None)

    def wants(self, who: Who) -> None:
        """Note that one waits for a turn."""
        self.join(who)
        self._waiting.append(who)

    def gives_up(self, who: Who) -> None:
        """Note that one does not wait any more."""
        self._waiting.remove(who)

    def next(self, now: float, is_urgent: Callable[[Who], bool]) -> tuple[Who | None, float]:
        """The one whose turn is next; None if nobody's is, and the moment from which that may change.

        :param is_urgent: true of one that has an off to send, or waits for its turn so that an off can follow
        """
        urgent = [who for who in self._waiting if is_urgent(who)]
        urgent.sort(key=lambda who: who in self._held)  # the sort is stable: else by the time that they wait
        moments = {who: self._held_until(who, now) for who in self._waiting if who not in urgent}
        others = [who for who, moment in moments.items() if moment <= now]
        if urgent and not (others and self._urgent_in_row >= MOST_URGENT):
            return urgent[0], now
        if self._former is not None and others and self._in_row < LONGEST_POLL:
            if self._former in others:
                return self._former, now
            if now < self._kept_until:
                return None, self._kept_until
        if others:
            return others[0], now
        return None, min(moments.values(), default=math.inf)

    def begins(self, who: Who, *, urgent: bool) -> None:
        """Note that the turn of one that waits has begun."""
        self._waiting.remove(who)
        self.current = who
        self._urgent_in_row = self._urgent_in_row + 1 if urgent else 0
        self._in_row = self._in_row + 1 if who is self._former else 1

    def ends(self, now: float, *, silent: bool) -> None:
        """Note that the present turn is over. ``silent``: the unit did not answer."""
        who, self.current = self.current, None
        self._former = None
        if who is None or who not in self._turns:
            return
        if self._linger and not silent:
            self._former, self._kept_until = who, now + self._linger
        self._turns[who] += 1
        self._last[who] = now
        self._held.pop(who, None)
        if silent:
            self._held[who] = {
                other: turns + LONGEST_POLL
                for other, turns in self._turns.items()
                if other is not who and other not in self._held
            }

    def _held_until(self, who: Who, now: float) -> float:
        """The moment from which one may have a turn as far as is known now; infinite if the others have to have theirs first."""
        until = now
        for other, turns in list(self._held.get(who, {}).items()):
            over = self._last.get(other, -math.inf) + POLL_OVER
            if other in self._held or self._turns[other] >= turns:
                del self._held[who][other]
            elif other in self._waiting or other is self.current:
                return math.inf
            elif over <= now:
                del self._held[who][other]
            else:
                until = max(until, over)
        return until


class Turns(Generic[Who]):
    """Gives turns to threads. Each of them has one face (``who``), and waits in `turn`."""

    def __init__(self, linger: float = 0.0) -> None:
        """``linger``: as in `Order`."""
        self._order: Order[Who] = Order(linger)
        self._changed = threading.Condition(threading.Lock())
        self._urgent: dict[Who, Callable[[], bool]] = {}
        self._is_silent = False

    @contextlib.contextmanager
    def turn(self, who: Who, is_urgent: Callable[[], bool]) -> Iterator[None]:
        """A context for one exchange, which no other one interrupts. It begins when the turn has come.

        :param is_urgent: asked from any thread while it waits
        """
        self._wait(who, is_urgent)
        try:
            yield
        finally:
            with self._changed:
                self._order.ends(time.monotonic(), silent=self._is_silent)
                self._is_silent = False
                self._changed.notify_all()

    def _wait(self, who: Who, is_urgent: Callable[[], bool]) -> None:
        order = self._order
        with self._changed:
            order.wants(who)
            self._urgent[who] = is_urgent
            try:
                while True:
                    now = time.monotonic()
                    moment = math.inf  # the end of the present turn is told
                    if order.current is None:
                        chosen, moment = order.next(now, lambda one: self._urgent[one]())
                        if chosen is who:
                            order.begins(who, urgent=is_urgent())
                            return
                        if chosen is not None:
                            moment = now + _LOOK
                    self._changed.wait(None if math.isinf(moment) else max(0.001, moment - now))
            except BaseException:
                order.gives_up(who)
                raise
            finally:
                self._urgent.pop(who, None)

    def was_silent(self) -> None:
        """Note within a turn that the unit did not answer."""
        self._is_silent = True

    def leave(self, who: Who, last: Callable[[], None]) -> None:
        """Forget one, which does not wait. ``last`` is called if nobody else has a turn; none begins meanwhile."""
        with self._changed:
            if self._order.current is None or self._order.current is who:
                last()
            self._order.leave(who)

    def if_free(self, call: Callable[[], None]) -> None:
        """Call something now if nobody has a turn; none begins meanwhile."""
        with self._changed:
            if self._order.current is None:
                call()

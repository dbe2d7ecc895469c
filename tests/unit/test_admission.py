"""How many units connect at once: with a clock of the test's, and with no thread."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.unit.admission import Admission, QueuePlace
from tests.properties import examples


class Waiter:
    """A unit that notes when it is woken."""

    def __init__(self, admission: Admission) -> None:
        self.woken = 0
        self.place: QueuePlace = admission.enter(self._wake)

    def _wake(self) -> None:
        self.woken += 1


def test_first_come_first_served() -> None:
    admission = Admission(slots=2, lease=1.0)
    a, b, c, d = (Waiter(admission) for _ in range(4))
    assert a.place.wait_until(0.0) is None
    assert b.place.wait_until(0.0) is None
    assert c.place.wait_until(0.5) == 1.0  # when the oldest lease ends
    assert d.place.wait_until(0.5) == math.inf
    assert (c.woken, d.woken) == (1, 0)  # to watch the clock, as it came to be the first
    a.place.leave(0.6)
    assert (c.woken, c.place.wait_until(0.6)) == (2, None)
    assert d.woken == 1
    assert d.place.wait_until(0.6) == 1.0  # the lease of b, from 0.0


def test_who_sleeps_in_a_timeout_is_not_counted() -> None:
    admission = Admission(slots=1, lease=0.1)
    slow, next_one, last = (Waiter(admission) for _ in range(3))
    assert slow.place.wait_until(0.0) is None
    assert next_one.place.wait_until(0.05) == 0.1
    assert next_one.place.wait_until(0.1) is None
    slow.place.leave(0.15)  # frees nothing: its slot was given on
    assert last.place.wait_until(0.15) == 0.2


def test_one_that_gives_up_makes_room() -> None:
    admission = Admission(slots=1, lease=1.0)
    a, b, c = (Waiter(admission) for _ in range(3))
    assert a.place.wait_until(0.0) is None
    assert b.place.wait_until(0.0) == 1.0
    b.place.leave(0.1)
    assert c.woken == 1
    assert c.place.wait_until(0.1) == 1.0
    a.place.leave(0.2)
    a.place.leave(0.2)
    assert c.place.wait_until(0.2) is None


def test_hundreds_that_do_not_answer_hold_nobody_up_for_long() -> None:
    """Each of the 300 takes a slot for its lease: the last unit is let in after 300 leases by 8 slots."""
    admission = Admission(slots=8, lease=0.1)
    waiters = [Waiter(admission) for _ in range(301)]
    now = 0.0
    while waiters[-1].place.wait_until(now) is not None:
        pending = [w.place.wait_until(now) for w in waiters if not w.place.is_admitted]
        now = min(moment for moment in pending if moment is not None)
    assert now < 300 / 8 * 0.1 + 0.2


@given(st.data(), st.integers(1, 4))
@examples(100)
def test_nobody_is_forgotten_and_the_bound_holds(data: st.DataObject, slots: int) -> None:
    admission = Admission(slots, lease=1.0)
    waiting: list[Waiter] = []
    admitted: list[tuple[Waiter, float]] = []
    now = 0.0
    for _ in range(data.draw(st.integers(1, 30))):
        match data.draw(st.sampled_from(["enter", "leave", "give up", "wait"])):
            case "enter":
                waiting.append(Waiter(admission))
            case "leave" if admitted:
                admitted.pop(data.draw(st.integers(0, len(admitted) - 1)))[0].place.leave(now)
            case "give up" if waiting:
                waiting.pop(data.draw(st.integers(0, len(waiting) - 1))).place.leave(now)
            case "wait":
                now += data.draw(st.floats(0.01, 2))
        again = [waiter.place.wait_until(now) for waiter in waiting]
        in_now = [waiter for waiter in waiting if waiter.place.is_admitted]
        assert waiting[: len(in_now)] == in_now  # in turn
        admitted += [(waiter, now) for waiter in in_now]
        waiting = waiting[len(in_now) :]
        counted = [waiter for waiter, since in admitted if since + 1.0 > now]
        assert len(counted) <= slots
        if waiting:
            # The first sleeps until a lease ends, the others until they are woken; and no slot is free meanwhile.
            assert len(counted) == slots
            first, *others = [moment for moment in again if moment is not None]
            assert now < first <= now + 1.0
            assert all(math.isinf(moment) for moment in others)

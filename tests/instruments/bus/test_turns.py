"""The order of turns on a line, with a clock that the tests set."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.bus.turns import LINGER, LONGEST_POLL, MOST_URGENT, POLL_OVER, Order, Turns
from agent.instruments.driver import never
from tests.lab import wait_until
from tests.properties import examples

#: s of one exchange, of one that is not answered, and between two messages of a poll.
EXCHANGE, TIMEOUT, THINKING = 0.02, 2.0, 0.004


@dataclass
class Polled:
    """A unit in the simulation: polls of so many messages, with so many s between them."""

    name: str
    messages: int
    pause: float
    silent: bool = False
    done: int = 0  # messages of the present poll
    due: float = 0.0  # when it wants its next turn
    waiting: bool = False
    since: float = 0.0

    def finished(self, now: float) -> None:
        self.done += 1
        if self.done >= self.messages or self.silent:
            self.done = 0
            self.due = now + self.pause
        else:
            self.due = now + THINKING


def run(
    units: list[Polled], offs: dict[int, str], turns: int, linger: float = 0.0, *, to_everybody: bool = False
) -> list[tuple[str, bool]]:
    """The turns in their order: whose, and if it was for an off. ``offs``: which unit has one after so many turns.

    ``to_everybody``: end when everybody has had one, if that is sooner.
    """
    order: Order[str] = Order(linger)
    by_name = {unit.name: unit for unit in units}
    for unit in units:
        order.join(unit.name)
    now, taken = 0.0, list[tuple[str, bool]]()
    urgent: set[str] = set()
    without = set(by_name)
    while len(taken) < turns and (without or not to_everybody):
        if (name := offs.get(len(taken))) in by_name and name not in urgent:
            urgent.add(name)
            by_name[name].due = min(by_name[name].due, now)
        for unit in units:
            if not unit.waiting and unit.due <= now:
                unit.waiting, unit.since = True, now
                order.wants(unit.name)
        chosen, moment = order.next(now, urgent.__contains__)
        if chosen is None:
            moments = [moment, *(unit.due for unit in units if not unit.waiting)]
            now = max(now, min(moments))
            assert not math.isinf(now), "everybody waits for ever"
            continue
        unit = by_name[chosen]
        assert unit.waiting
        order.begins(chosen, urgent=chosen in urgent)
        unit.waiting = False
        taken.append((chosen, chosen in urgent))
        without.discard(chosen)
        urgent.discard(chosen)
        now += TIMEOUT if unit.silent else EXCHANGE
        order.ends(now, silent=unit.silent)
        unit.finished(now)
    return taken


def a_unit(number: int) -> st.SearchStrategy[Polled]:
    return st.builds(
        Polled,
        st.just(f"u{number}"),
        st.integers(1, LONGEST_POLL),
        st.sampled_from([0.0, THINKING, POLL_OVER, 1.0]),
        st.booleans(),
    )


fleets = st.integers(1, 6).flatmap(lambda count: st.tuples(*(a_unit(number) for number in range(count))))


@pytest.mark.hypothesis
@given(fleets, st.sampled_from([0.0, LINGER]))
@examples()
def test_a_silent_unit_costs_the_others_one_timeout_a_poll(units: tuple[Polled, ...], linger: float) -> None:
    taken = [name for name, _ in run(list(units), {}, 150, linger)]
    for unit in units:
        if unit.silent:
            continue
        places = [place for place, name in enumerate(taken) if name == unit.name]
        for poll in range(len(places) // unit.messages):
            first, *_, last = places[poll * unit.messages : (poll + 1) * unit.messages] * 2
            for other in units:
                if other.silent:
                    assert taken[first:last].count(other.name) <= 1, (unit, other, taken[first:last])


@pytest.mark.hypothesis
@given(
    fleets,
    st.dictionaries(st.integers(0, 140), st.sampled_from(["u0", "u1", "u2"]), max_size=40),
    st.sampled_from([0.0, LINGER]),
)
@examples()
def test_everybody_gets_a_turn(units: tuple[Polled, ...], offs: dict[int, str], linger: float) -> None:
    """Also while others are turned off all the time, and also who does not answer."""
    turns = 60 * len(units) * LONGEST_POLL
    taken = {name for name, _ in run(list(units), offs, turns, linger, to_everybody=True)}
    assert taken == {unit.name for unit in units}


@pytest.mark.hypothesis
@given(fleets, st.lists(st.booleans(), min_size=1, max_size=60), st.sampled_from([0.0, LINGER]))
@examples()
def test_an_off_goes_next(units: tuple[Polled, ...], offs: list[bool], linger: float) -> None:
    """One that comes while a message of another is under way goes right behind it, whoever waits."""
    wanted = {place: units[0].name for place, wants in enumerate(offs) if wants}
    taken = run(list(units), wanted, len(offs) + 1, linger)
    row = 0
    for place, wants in enumerate(offs):
        if wants and row < MOST_URGENT:
            assert taken[place] == (units[0].name, True)
        row = row + 1 if taken[place][1] else 0


def test_a_flood_of_offs_leaves_every_fifth_turn_to_the_others() -> None:
    units = [Polled("u0", 1, 0.0), Polled("u1", 3, 0.0)]
    taken = run(units, dict.fromkeys(range(200), "u0"), 100)
    assert 100 // (MOST_URGENT + 1) - 1 <= sum(name == "u1" for name, _ in taken) <= 100 // (MOST_URGENT + 1) + 1


def test_a_poll_is_not_interrupted_where_a_change_costs_something() -> None:
    units = [Polled("u0", 4, POLL_OVER), Polled("u1", 4, POLL_OVER)]
    taken = [name for name, _ in run(units, {}, 16, LINGER)]
    assert taken == [*["u0"] * 4, *["u1"] * 4] * 2
    assert [name for name, _ in run([Polled("u0", 4, 0.0), Polled("u1", 4, 0.0)], {}, 40, LINGER)].count("u1") >= 16


def test_threads_take_turns() -> None:
    turns: Turns[str] = Turns()
    inside: list[str] = []
    faults: list[str] = []

    def work(name: str) -> None:
        for _ in range(50):
            with turns.turn(name, never):
                inside.append(name)
                if len(inside) > 1:
                    faults.append(str(inside))
                inside.remove(name)

    threads = [threading.Thread(target=work, args=(f"u{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []


def test_one_that_begins_to_be_urgent_while_it_waits_goes_next() -> None:
    turns: Turns[str] = Turns()
    order: list[str] = []
    urgent = threading.Event()
    waiting = {f"u{number}" for number in range(4)}

    def work(name: str) -> None:
        with turns.turn(name, urgent.is_set if name == "u3" else never):
            order.append(name)

    threads = []
    with turns.turn("first", never):
        for number in range(4):
            threads.append(threading.Thread(target=work, args=(f"u{number}",)))
            threads[-1].start()
            wait_until(lambda: waits(turns) == number + 1, "it waits")  # noqa: B023
        urgent.set()
    for thread in threads:
        thread.join(30)
    assert order[0] == "u3"
    assert set(order) == waiting


def waits(turns: Turns[str]) -> int:
    return len(turns._order._waiting)

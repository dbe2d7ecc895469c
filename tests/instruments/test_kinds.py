"""What units of one kind find out for each other: questions that they do not answer, and the waiting for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.driver import Identity, LinkError
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge, UnitKind
from tests.instruments.e36300 import (
    LISTS,
    NO_ERROR,
    OFF,
    TOGETHER,
    UNKNOWN,
    all_guards,
    connecting,
    idn,
    make_driver,
    together_but,
)
from tests.instruments.transcript import Line, Transcript
from tests.lab import wait_until

# Questions that units of one kind do not answer.

WITHOUT_PAIR = together_but("OUTP:PAIR?")
AT_ONCE: list[Line] = [("OUTP:PAIR?", None), *UNKNOWN]  # a refusal that no answer is waited for


def hello(serial: str, asked: bool, pairs: bool = False, suspected: bool = False) -> list[Line]:
    """A connection to a unit that does not know OUTP:PAIR?, where it is asked for that; or of which others of its kind do not."""
    start = [idn(serial=serial), NO_ERROR, OFF]
    if suspected:
        in_its_place: list[Line] = [("OUTP:PAIR?", None), ("SYST:ERR?", "OFF"), idn(serial=serial), NO_ERROR]
        return [*start, *(in_its_place if pairs else [*AT_ONCE, *AT_ONCE]), TOGETHER if pairs else WITHOUT_PAIR]
    if pairs or not asked:
        return [*start, TOGETHER if pairs else WITHOUT_PAIR]
    lines: list[Line] = [*start, (TOGETHER[0], None), idn(serial=serial), *UNKNOWN]
    for ask, answer in all_guards():
        refused = [(ask, None), idn(serial=serial), *UNKNOWN, *AT_ONCE]
        lines += refused if ask == "OUTP:PAIR?" else [(ask, answer)]
    return [*lines, WITHOUT_PAIR]


def test_a_check_is_given_up_for_the_unit_that_refused_it_alone(caplog: pytest.LogCaptureFixture) -> None:
    """However many of its kind refuse: each is asked itself, twice, and warned about."""
    knowledge = Knowledge()
    for lines in (
        hello("A", True),
        hello("B", True),
        hello("C", True, suspected=True),
        hello("D", True, pairs=True, suspected=True),
        hello("E", True),  # as D has answered
        hello("A", False),
    ):
        link = Transcript(lines)
        make_driver(link, knowledge=knowledge).connect()
        link.check()
    warnings = [record.getMessage() for record in caplog.records if "does not know OUTP:PAIR?" in record.getMessage()]
    assert [warning.split("(")[1].split(" at ")[0] for warning in warnings] == ["A", "B", "C", "E"]
    other = Transcript([("*IDN?", "Keysight Technologies,E36313A,E,2.0"), *connecting()[1:-1]])
    make_driver(other, knowledge=knowledge).connect()
    other.check()


def test_a_unit_that_refuses_much_is_asked_no_more_when_the_agent_stops() -> None:
    """Each refusal takes a timeout."""

    class Stopping(Transcript):
        def tell(self, message: str) -> None:
            driver.hurry(1.0)
            super().tell(message)

    link = Stopping(hello("A", asked=True))
    driver = make_driver(link)
    with pytest.raises(LinkError, match="the agent stops"):
        driver.connect()
    assert link.sent[-3:] == ["OUTP:PAIR?", "SYST:ERR?", "SYST:ERR?"]
    assert not link.is_open


def small(serial: str, asked: bool) -> list[Line]:
    """A connection to a unit that does not take a poll in one message, where it is asked for that."""
    refusal = [(OFF[0], None), idn(serial=serial), ("SYST:ERR?", '-103,"Invalid separator"'), NO_ERROR]
    return [idn(serial=serial), NO_ERROR, *(refusal if asked else []), *LISTS, *all_guards()]


def test_two_refusals_of_large_messages_hold_for_all_units_of_the_kind() -> None:
    knowledge = Knowledge()
    for serial, asked in [("A", True), ("B", True), ("C", False), ("D", False), ("A", False)]:
        link = Transcript(small(serial, asked))
        make_driver(link, knowledge=knowledge).connect()
        link.check()


def test_large_messages_that_one_unit_of_the_kind_takes_are_tried_with_all() -> None:
    knowledge = Knowledge()
    for serial, takes in [("A", False), ("B", True), ("C", False), ("D", True)]:
        link = Transcript(hello(serial, True, pairs=True) if takes else small(serial, True))
        make_driver(link, knowledge=knowledge).connect()
        link.check()


def test_a_unit_that_was_exchanged_is_asked_anew() -> None:
    link = Transcript(hello("A", True))
    driver = make_driver(link)
    driver.connect()
    link.expect(hello("B", True, pairs=True))
    driver.connect()
    link.check()


class Held(Transcript):
    """A unit that answers a poll when it is told to."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__(lines)
        self.reached, self.release = threading.Event(), threading.Event()

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        if message.startswith("MEAS") and not self.release.is_set():
            self.reached.set()
            assert self.release.wait(20)
        return super().ask(message, length)


def connect_in_thread(driver: TextDriver) -> tuple[threading.Thread, list[object]]:
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(driver.connect())
        except LinkError as error:
            ended.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, ended


def two_that_probe(knowledge: Knowledge) -> tuple[list[Held], list[threading.Thread]]:
    """Two units of the kind that don't get on."""
    links = [Held([idn(serial=serial), *connecting()[1:-1]]) for serial in ("X", "Y")]
    threads = [connect_in_thread(make_driver(link, knowledge=knowledge))[0] for link in links]
    for link in links:
        assert link.reached.wait(20)
    return links, threads


def test_others_of_the_kind_wait_while_two_find_out() -> None:
    knowledge = Knowledge()
    first, threads = two_that_probe(knowledge)
    others = [Transcript([idn(serial=f"S{n}"), *connecting()[1:-1]]) for n in range(20)]
    threads += [connect_in_thread(make_driver(link, knowledge=knowledge))[0] for link in others]
    wait_until(lambda: all(len(link.sent) == 2 for link in others), "twenty units that wait")
    for held in first:
        held.release.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    for link in others:
        link.check()


def test_a_unit_that_waits_for_its_kind_ends_with_the_agent() -> None:
    knowledge = Knowledge()
    first, threads = two_that_probe(knowledge)
    link = Transcript([idn(serial="B"), NO_ERROR])
    driver = make_driver(link, knowledge=knowledge)
    thread, ended = connect_in_thread(driver)
    wait_until(lambda: len(link.sent) == 2, "the unit that waits")
    driver.hurry(1.0)
    thread.join(20)
    assert ended == ["the agent stops"]
    assert not link.is_open
    for held, other in zip(first, threads, strict=True):
        held.release.set()
        other.join(20)


def test_a_unit_that_was_connected_before_waits_for_nobody() -> None:
    """An off may wait for this connection."""
    knowledge = Knowledge()
    link = Transcript(hello("A", True))
    driver = make_driver(link, knowledge=knowledge)
    driver.connect()
    first, threads = two_that_probe(knowledge)
    link.expect(hello("A", False))
    driver.connect()
    link.check()
    for held, thread in zip(first, threads, strict=True):
        held.release.set()
        thread.join(20)


# The kind by itself.


def run_probe(kind: UnitKind, patience: float, body: Callable[[], None] = lambda: None) -> threading.Thread:
    def run() -> None:
        with kind.probing(threading.Event(), patience):
            body()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_wait_is_bounded() -> None:
    kind = UnitKind()
    with kind.probing(threading.Event()), kind.probing(threading.Event()):
        thread = run_probe(kind, 0.05)
        thread.join(20)
        assert not thread.is_alive()


def test_a_probe_that_fails_lets_the_next_one_try() -> None:
    kind = UnitKind()
    begun, gates = [0], [threading.Event() for _ in range(4)]
    lock = threading.Lock()

    def body() -> None:
        with lock:
            number = begun[0]
            begun[0] += 1
        assert gates[number].wait(20)
        if number < 3:
            raise LinkError("lost")

    threads = [threading.Thread(target=lambda: _failing(kind, body), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number, gate in enumerate(gates):
        wait_until(lambda: begun[0] >= min(number + 2, 4), "two probes")  # noqa: B023
        assert begun[0] == min(number + 2, 4)
        gate.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def _failing(kind: UnitKind, body: Callable[[], None]) -> None:
    try:
        with kind.probing(threading.Event(), 20.0):
            body()
    except LinkError:
        pass


@given(
    st.lists(st.tuples(st.sampled_from(["refuses", "answers"]), st.sampled_from("QR"), st.sampled_from("ABC")), max_size=12)
)  # fmt: skip
def test_a_unit_is_spared_only_what_it_or_two_others_refused_and_none_answered(
    steps: list[tuple[str, str, str]],
) -> None:
    kind = UnitKind()
    for what, question, unit in steps:
        kind.has_refused(question, unit) if what == "refuses" else kind.has_answered(question, unit)
    for question in "QR":
        refused = {unit for what, asked, unit in steps if (what, asked) == ("refuses", question)}
        answered = any((what, asked) == ("answers", question) for what, asked, _ in steps)
        for unit in "ABCD":
            assert kind.refuses(question, unit) == (unit in refused or (len(refused) >= 2 and not answered))


def test_a_doubt_ends_with_an_answer() -> None:
    kind = UnitKind()
    assert not kind.is_doubted("Q", "A")
    assert kind.is_doubted("Q", "A")
    assert not kind.is_doubted("Q", "B")
    kind.has_answered("Q", "A")
    assert not kind.is_doubted("Q", "A")


def test_kinds_are_told_apart_by_maker_model_and_firmware() -> None:
    knowledge = Knowledge()
    kind = knowledge.kind(Identity("K", "M", "1", "1.0"))
    assert knowledge.kind(Identity("K", "M", "2", "1.0")) is kind
    assert knowledge.kind(Identity("K", "M", "1", "1.1")) is not kind


def test_an_off_that_waits_for_the_link_waits_for_no_other_unit() -> None:
    """A unit whose supply another agent serves opens its link for an off alone, maybe for the first time."""
    knowledge = Knowledge()
    first, threads = two_that_probe(knowledge)
    link = Transcript([idn(serial="B"), *connecting()[1:-1]])
    driver = make_driver(link, knowledge=knowledge)
    driver.off_waits = lambda: True
    thread, ended = connect_in_thread(driver)
    thread.join(5)  # half of what it would wait
    assert not thread.is_alive()
    assert not isinstance(ended[0], str)
    link.check()
    for held in first:
        held.release.set()
    for thread in threads:
        thread.join(20)


def test_an_off_that_came_before_the_end_opens_the_link() -> None:
    link = Transcript(connecting()[:-1])
    driver = make_driver(link)
    driver.off_waits = lambda: True
    driver.hurry(1.0)
    driver.connect()
    link.check()

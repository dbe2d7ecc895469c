"""The inbox: off ahead of everything, nothing lost, nothing handed out twice."""

from __future__ import annotations

import math
import threading
import time

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.unit.inbox import MOST_WAITING, Inbox, InboxClosed, Stopped
from agent.unit.job import Job
from agent.unit.limits import Channel
from tests.lab import PATIENCE
from tests.properties import examples
from tests.unit.fakedriver import OUTPUTS

CHANNELS = tuple(Channel("psu1", out.name, out) for out in OUTPUTS)


def job(*indices: int, **fields: float | bool) -> Job:
    return Job(Command(**fields), tuple(CHANNELS[index - 1] for index in indices))


def inbox() -> Inbox:
    made = Inbox("psu1")
    made.open()
    return made


def test_off_goes_ahead_and_supersedes_what_would_turn_on() -> None:
    box = inbox()
    setting, on, cycle, other = job(1, voltage_limit=1), job(1, state=True), job(2, cycle=1), job(3, state=True)
    for waiting in (setting, on, cycle, other):
        assert box.put(waiting) == []
    off = job(1, 2, state=False)
    assert box.put(off) == [on, cycle]
    assert box.has_off()
    assert box.off_waits_for({2, 3})
    assert not box.off_waits_for({3})
    assert box.next_off() is off
    assert box.next_off() is None
    assert [box.next_waiting(), box.next_waiting(), box.next_waiting()] == [setting, other, None]


def test_an_off_with_a_setting_is_an_off() -> None:
    box = inbox()
    box.put(job(1, state=False, voltage_limit=1))
    assert box.has_off()


def test_a_flood_is_told() -> None:
    box = inbox()
    for _ in range(MOST_WAITING):
        box.put(job(1, voltage_limit=1))
    with pytest.raises(Refusal) as refusal:
        box.put(job(1, voltage_limit=1))
    assert refusal.value.code == "busy"
    box.put(job(1, state=False))  # an off is none of it


def test_a_closed_inbox_takes_nothing_and_gives_back_what_waits() -> None:
    box = Inbox("psu1")
    with pytest.raises(InboxClosed):
        box.put(job(1, state=False))
    retried = job(1, state=False)
    box.open([retried])
    newer, setting = job(2, state=False), job(3, voltage_limit=1)
    box.put(setting)
    box.put(newer)
    assert box.close() == [retried, newer, setting]
    assert not box.has_off()
    with pytest.raises(InboxClosed):
        box.put(setting)


def test_stopping_takes_nothing_more() -> None:
    box = inbox()
    box.stop()
    with pytest.raises(InboxClosed):
        box.put(job(1, state=False))
    with pytest.raises(Stopped):
        box.wait(math.inf)
    with pytest.raises(Stopped):
        box.sleep(1000)


def test_nothing_is_slept_through() -> None:
    """News between a look at the inbox and the sleep end the sleep at once; each ends one."""
    box = inbox()
    box.wake()
    box.wait(math.inf)
    box.put(job(1, voltage_limit=1))
    box.wait(math.inf)
    begun = time.monotonic()
    box.wait(begun + 0.01)
    assert time.monotonic() >= begun + 0.01


@pytest.mark.parametrize("news", ["put", "wake", "stop"])
def test_a_sleeper_is_woken(news: str) -> None:
    box = inbox()
    outcome: list[str] = []

    def sleep() -> None:
        try:
            box.wait(math.inf)
            outcome.append("awake")
        except Stopped:
            outcome.append("stopped")

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    {"put": lambda: box.put(job(1, state=False)), "wake": box.wake, "stop": box.stop}[news]()
    sleeper.join(PATIENCE)
    assert outcome == ["stopped" if news == "stop" else "awake"]


def test_sleeping_offline_lasts_its_time_whatever_comes() -> None:
    box = Inbox("psu1")
    box.wake()
    begun = time.monotonic()
    box.sleep(0.02)
    assert time.monotonic() >= begun + 0.02


class InboxMachine(RuleBasedStateMachine):
    """Every job that was taken is handed out, superseded or given back exactly once, offs first."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Inbox("psu1")
        self.is_open = False
        self.offs: list[Job] = []
        self.others: list[Job] = []

    @rule()
    def open(self) -> None:
        self.box.open()
        self.is_open = True

    @rule()
    def close(self) -> None:
        assert self.box.close() == self.offs + self.others
        self.offs, self.others, self.is_open = [], [], False

    @rule(
        indices=st.sets(st.sampled_from([1, 2, 3]), min_size=1),
        fields=st.sampled_from(
            [
                {"state": False},
                {"state": True},
                {"cycle": 1},
                {"voltage_limit": 1},
                {"state": False, "voltage_limit": 1},
            ]
        ),
    )
    def put(self, indices: set[int], fields: dict[str, float | bool]) -> None:
        made = job(*indices, **fields)
        if not self.is_open:
            with pytest.raises(InboxClosed):
                self.box.put(made)
            return
        superseded = self.box.put(made)
        if made.turns_off:
            assert superseded == [j for j in self.others if j.turns_on and j.indices & made.indices]
            self.others = [j for j in self.others if j not in superseded]
            self.offs.append(made)
        else:
            assert superseded == []
            self.others.append(made)

    @precondition(lambda self: self.is_open)
    @rule()
    def take(self) -> None:
        taken = self.box.next_off()
        if self.offs:
            assert taken is self.offs.pop(0)
            return
        assert taken is None
        taken = self.box.next_waiting()
        assert taken is (self.others.pop(0) if self.others else None)

    @invariant()
    def knows_whom_an_off_waits_for(self) -> None:
        assert self.box.has_off() == bool(self.offs)
        for index in (1, 2, 3):
            assert self.box.off_waits_for({index}) == any(index in off.indices for off in self.offs)


TestInboxMachine = InboxMachine.TestCase
TestInboxMachine.settings = examples(60)  # type: ignore[assignment]

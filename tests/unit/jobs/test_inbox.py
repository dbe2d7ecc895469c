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
from agent.unit.brokerloss import BrokerLoss
from agent.unit.inbox import MOST_MERGED, MOST_WAITING, Inbox, InboxClosed, Stopped
from agent.unit.job import Job
from agent.unit.limits.channel import Channel, DefaultSettings
from tests.lab import PATIENCE
from tests.properties import examples
from tests.unit.fakedriver import OUTPUTS

CHANNELS = tuple(Channel("psu1", out.name, out) for out in OUTPUTS)


def job(*indices: int, **fields: float | bool) -> Job:
    return Job(Command(**fields), tuple(CHANNELS[index - 1] for index in indices))


def inbox() -> Inbox:
    made = Inbox("psu1", BrokerLoss({}))
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


def test_an_off_with_a_setting_goes_first_and_the_setting_keeps_its_place() -> None:
    box = inbox()
    before, both, after = job(1, voltage_limit=2), job(1, state=False, voltage_limit=1), job(1, voltage_limit=3)
    for waiting in (before, both, after):
        box.put(waiting)
    assert box.has_off()
    off = box.next_off()
    assert off is not None
    assert off.turns_off
    assert off.indices == {1}
    assert not off.claim_answer()  # the whole is answered
    assert [box.next_waiting(), box.next_waiting(), box.next_waiting()] == [before, both, after]


def test_an_off_with_a_setting_is_one_job_if_nothing_stands_between() -> None:
    box = inbox()
    both, after = job(1, state=False, voltage_limit=1), job(1, voltage_limit=3)
    box.put(both)
    box.put(after)
    assert box.next_off() is both
    assert [box.next_off(), box.next_waiting(), box.next_waiting()] == [None, after, None]


def test_offs_of_the_same_outputs_are_one() -> None:
    box = inbox()
    first, again, unit, last, other = (job(*indices, state=False) for indices in ((1,), (1,), (1, 2), (2,), (3,)))
    for off in (first, again, other, unit, last):
        box.put(off)
    assert box.next_off() is unit
    assert unit.merged == [first, again, last]
    assert box.next_off() is other
    assert box.next_off() is None


def test_the_whole_unit_covers_what_comes_before_and_after_it() -> None:
    box = inbox()
    offs = [job(*indices, state=False) for indices in ((3,), (1,), (1, 2, 3), (2,), (1, 2, 3), (1, 3))]
    for off in offs:
        box.put(off)
    assert box.next_off() is offs[2]
    assert offs[2].merged == [offs[0], offs[1], offs[3], offs[4], offs[5]]
    assert not box.has_off()


def test_offs_that_wait_are_bounded_and_told_so() -> None:
    box = inbox()
    for _ in range(MOST_MERGED + 1):
        box.put(job(1, state=False))
    with pytest.raises(Refusal, match="offs of the same outputs of psu1 wait already; they are carried out") as refusal:
        box.put(job(1, state=False))
    assert refusal.value.code == "busy"
    box.put(job(2, state=False))
    assert len(box.close()) == 2


def test_offs_with_settings_are_bounded_as_settings_are() -> None:
    """Beyond the bound the off remains."""
    box = inbox()
    for _ in range(MOST_WAITING):
        box.put(job(1, state=False, voltage_limit=1))
    crowded = job(1, state=False, voltage_limit=1)
    box.put(crowded)
    assert crowded.turns_off
    assert crowded.command.fault is not None
    assert crowded.command.fault.code == "busy"
    off, *waiting = box.close()
    assert off.merged[-1] is crowded
    assert len(waiting) == MOST_WAITING


def test_what_waits_for_some_channels_is_superseded_but_no_off() -> None:
    box = inbox()
    jobs = [job(1, voltage_limit=1), job(2, voltage_limit=1), job(1, state=True), job(1, 2, clear_protection=True)]
    off = job(1, state=False)
    for waiting in (off, *jobs):
        box.put(waiting)
    assert box.supersede({1}) == [jobs[0], jobs[2], jobs[3]]
    assert box.close() == [off, jobs[1]]


def test_a_policy_that_is_due_counts_as_an_off() -> None:
    loss = BrokerLoss({2: DefaultSettings(on_broker_loss="off", broker_loss_after=0)})
    box = Inbox("psu1", loss)
    box.open()
    assert not box.has_off()
    loss.tell(0.0)
    assert box.has_off()
    assert box.off_waits_for({1, 2})
    assert not box.off_waits_for({1, 3})
    loss.due(time.monotonic())
    assert not box.has_off()
    assert not box.off_waits_for({2})


def test_a_flood_is_told() -> None:
    box = inbox()
    for _ in range(MOST_WAITING):
        box.put(job(1, voltage_limit=1))
    with pytest.raises(Refusal) as refusal:
        box.put(job(1, voltage_limit=1))
    assert refusal.value.code == "busy"
    box.put(job(1, state=False))  # an off is none of it


def test_a_closed_inbox_takes_nothing_and_gives_back_what_waits() -> None:
    box = Inbox("psu1", BrokerLoss({}))
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


def test_stopping_takes_nothing_but_offs() -> None:
    box = inbox()
    box.stop()
    with pytest.raises(InboxClosed):
        box.put(job(1, state=True))
    box.put(job(1, state=False))
    assert box.next_off() is not None
    box.close()
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
    box = Inbox("psu1", BrokerLoss({}))
    box.wake()
    begun = time.monotonic()
    box.sleep(0.02)
    assert time.monotonic() >= begun + 0.02


class InboxMachine(RuleBasedStateMachine):
    """Every job that was taken is handed out, merged, superseded or given back exactly once, offs first.

    No two waiting offs cover each other, and the offs together are for the same outputs as those that were put.
    """

    def __init__(self) -> None:
        super().__init__()
        self.box = inbox()
        self.is_open = True
        self.offs: list[Job] = []  # plain ones
        self.parts: list[set[int]] = []  # the outputs of the offs of others
        self.others: list[Job] = []

    def check(self, off: Job) -> None:
        """Account for an off that was handed out, and for what was merged with it."""
        for each in (off, *off.merged):
            assert each.indices <= off.indices
            if each in self.offs:
                self.offs.remove(each)
            else:
                assert not each.claim_answer()
                self.parts.remove(set(each.indices))

    @rule()
    def open(self) -> None:
        self.box.open()
        self.is_open = True

    @rule()
    def close(self) -> None:
        left = self.box.close()
        offs = [off for off in left if off.turns_off]
        assert left == offs + self.others
        for off in offs:
            self.check(off)
        assert not self.offs
        assert not self.parts
        self.others, self.is_open = [], False

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
        if made.command.state is False:
            assert superseded == [j for j in self.others if j.turns_on and j.indices & made.indices]
            self.others = [j for j in self.others if j not in superseded]
        else:
            assert superseded == []
        if made.turns_off:
            self.offs.append(made)
        else:
            self.others.append(made)
            if made.rides_on_off:
                self.parts.append(set(made.indices))

    @precondition(lambda self: self.is_open)
    @rule()
    def take(self) -> None:
        taken = self.box.next_off()
        if taken is None:
            assert not self.offs
            assert not self.parts
            taken = self.box.next_waiting()
            assert taken is (self.others.pop(0) if self.others else None)
        elif taken.rides_on_off:
            assert taken is self.others.pop(0)
            self.parts.remove(set(taken.indices))
        else:
            self.check(taken)

    @invariant()
    def knows_whom_an_off_waits_for(self) -> None:
        waiting = [*(off.indices for off in self.offs), *self.parts]
        assert self.box.has_off() == bool(waiting)
        for index in (1, 2, 3):
            assert self.box.off_waits_for({index}) == any(index in indices for indices in waiting)


TestInboxMachine = InboxMachine.TestCase
TestInboxMachine.settings = examples(100)  # type: ignore[assignment]

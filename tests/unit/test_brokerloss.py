"""The loss of the broker: each output is turned off once a loss, when its time is up, and tried again until it is off."""

from __future__ import annotations

import math
import time
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.instruments.driver import Write
from agent.unit import brokerloss
from agent.unit.brokerloss import LAST_RETRY, BrokerLoss
from agent.unit.limits.channel import DefaultSettings
from tests.lab import wait_until
from tests.properties import examples
from tests.unit.fakedriver import FakeDriver, TalkingDriver, Unit, is_write


def policy() -> BrokerLoss:
    return BrokerLoss(
        {
            1: DefaultSettings(),
            2: DefaultSettings(on_broker_loss="off", broker_loss_after=10),
            3: DefaultSettings(on_broker_loss="off", broker_loss_after=20),
        }
    )


def test_each_when_its_time_is_up_and_once() -> None:
    loss = policy()
    assert (loss.due(1000.0), loss.next_due()) == ([], math.inf)
    assert loss.tell(100.0)
    assert not loss.tell(100.0)
    assert (loss.due(109.9), loss.next_due()) == ([], 110.0)
    assert (loss.due(110.0), loss.next_due()) == ([2], 120.0)
    assert loss.gone_for(110.0) == 10.0
    assert loss.due(119.0) == []
    assert (loss.due(500.0), loss.next_due()) == ([3], math.inf)
    assert loss.due(501.0) == []


def test_a_moment_that_is_corrected_is_the_same_loss() -> None:
    loss = policy()
    loss.tell(100.0)
    assert loss.due(111.0) == [2]
    loss.tell(98.0)
    assert loss.due(112.0) == []
    assert loss.due(118.0) == [3]


def test_a_loss_whose_end_nobody_saw_is_another_one() -> None:
    """The broker was back for less time than the worker took for a message."""
    loss = policy()
    loss.tell(100.0)
    assert loss.due(130.0) == [2, 3]
    loss.tell(None)
    loss.tell(131.0)
    assert loss.due(140.0) == []
    assert loss.due(141.0) == [2]


def test_the_end_of_a_loss() -> None:
    loss = policy()
    loss.tell(100.0)
    loss.tell(None)
    assert (loss.due(1000.0), loss.next_due(), loss.gone_for(1000.0)) == ([], math.inf, 0.0)


def test_one_that_a_broken_link_kept_on_is_due_again_at_once() -> None:
    loss = policy()
    loss.tell(100.0)
    assert loss.due(130.0) == [2, 3]
    loss.interrupted({3})
    assert loss.next_due() == 120.0
    assert loss.due(131.0) == [3]


def test_one_that_did_not_go_off_is_due_again_after_pauses_that_grow() -> None:
    loss = policy()
    loss.tell(100.0)
    now = 130.0
    assert loss.due(now) == [2, 3]
    for pause in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        assert loss.failed({3}, now) == pause
        assert loss.due(now + pause - 0.1) == []
        now += pause
        assert loss.due(now) == [3]
    loss.failed({3}, now)
    loss.tell(None)
    loss.tell(now)
    assert loss.next_due() == now + 10
    assert loss.due(now + 10) == [2]
    assert loss.failed({2}, now) == 1.0


def test_one_that_a_command_turned_on_meanwhile_is_due_again_after_its_time() -> None:
    loss = policy()
    loss.tell(100.0)
    assert loss.due(115.0) == [2]
    loss.turned_on({1, 2, 3}, 116.0)
    assert loss.next_due() == 120.0  # the time of 3, which was not off yet, is not put off
    assert loss.due(125.9) == [3]
    assert loss.due(126.0) == [2]
    loss.tell(None)
    loss.turned_on({2}, 130.0)
    assert loss.next_due() == math.inf


def test_a_reason_is_news_once_a_loss() -> None:
    loss = policy()
    loss.tell(100.0)
    assert loss.due(130.0) == [2, 3]
    assert [loss.is_news(reason) for reason in ("a", "b", "a")] == [True, True, False]
    loss.tell(None)
    loss.tell(200.0)
    assert loss.due(210.0) == [2]
    assert loss.is_news("a")


def test_without_a_policy_nothing_is_due() -> None:
    loss = BrokerLoss({1: DefaultSettings()})
    loss.tell(0.0)
    assert (loss.due(1e9), loss.next_due()) == ([], math.inf)


def test_it_is_due_by_the_clock_without_being_asked_for_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = policy()
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert not loss.is_due()
    loss.tell(100.0)
    assert not loss.is_due()
    now[0] = 110.0
    assert loss.is_due()
    assert loss.is_due_for({2, 1})
    assert not loss.is_due_for({1, 3})
    loss.due(now[0])
    assert not loss.is_due()


class BrokerLossMachine(RuleBasedStateMachine):
    """In a loss that lasts each channel is tried when its time is up, and again within `LAST_RETRY` until it went off."""

    AFTER = MappingProxyType({2: 10.0, 3: 20.0})

    def __init__(self) -> None:
        super().__init__()
        self.loss = policy()
        self.now = 1000.0
        self.since: float | None = None
        self.off: set[int] = set()  # went off in this loss
        self.deadlines: dict[int, float] = {}

    def begin(self) -> None:
        assert self.since is not None
        self.off.clear()
        self.deadlines = {index: self.since + after for index, after in self.AFTER.items()}

    @precondition(lambda self: self.since is None)
    @rule(ago=st.floats(0, 30))
    def lose(self, ago: float) -> None:
        self.since = self.now - ago
        self.loss.tell(self.since)
        self.begin()

    @rule()
    def find(self) -> None:
        self.since = None
        self.loss.tell(None)
        assert self.loss.due(self.now) == []

    @precondition(lambda self: self.since is not None)
    @rule(ago=st.floats(0, 30))
    def flap(self, ago: float) -> None:
        """The end of one loss that the worker does not see, and the next."""
        self.loss.tell(None)
        self.since = self.now - ago
        self.loss.tell(self.since)
        self.begin()

    @rule(seconds=st.floats(0.01, 15))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(outcome=st.sampled_from(["off", "refused", "interrupted"]))
    def work(self, outcome: str) -> None:
        due = self.loss.due(self.now)
        if self.since is None:
            assert due == []
            return
        for index in (2, 3):
            if self.now >= self.deadlines[index] and index not in self.off:
                assert index in due
        for index in due:
            assert index not in self.off
            assert self.now >= self.since + self.AFTER[index]
        if outcome == "off":
            self.off.update(due)
        elif due and outcome == "refused":
            pause = self.loss.failed(due, self.now)
            assert 1 <= pause <= LAST_RETRY
            assert not set(self.loss.due(self.now)) & set(due)
            self.deadlines.update((index, self.now + LAST_RETRY) for index in due)
        elif due:
            self.loss.interrupted(due)

    @rule(index=st.sampled_from([1, 2, 3]))
    def turn_on(self, index: int) -> None:
        self.loss.turned_on({index}, self.now)
        if index in self.off:
            self.off.discard(index)
            self.deadlines[index] = self.now + self.AFTER[index]

    @invariant()
    def the_next_moment_is_never_too_late(self) -> None:
        left = [self.deadlines[index] for index in (2, 3) if self.since is not None and index not in self.off]
        assert self.loss.next_due() <= min(left, default=math.inf)
        if not left:
            assert self.loss.next_due() == math.inf


TestBrokerLossMachine = BrokerLossMachine.TestCase
TestBrokerLossMachine.settings = examples(100)  # type: ignore[assignment]


# On a unit in memory.

OFF_1 = Write("state", (1,), False)


def held(unit: Unit) -> Any:
    """The unit hangs in a poll until this is released."""
    hold = unit.driver.hold("poll")
    unit.supply.poll_now()
    hold.wait()
    return hold


def policies(*indices: int) -> dict[int, Any]:
    return {index: DefaultSettings(on_broker_loss="off", broker_loss_after=0.03) for index in indices}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokerloss, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(brokerloss, "LAST_RETRY", 0.02)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("way", ["refuses", "ignores"])
def test_a_unit_that_does_not_go_off_is_asked_again_and_told_of_once(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    driver = TalkingDriver()
    left = [5]

    def stubborn(write: Write) -> str | None:
        if write.setting == "state" and 1 in write.channels and left[0] > 0:
            left[0] -= 1
            return '-221,"Settings conflict"'
        return None

    driver.answer = stubborn
    if way == "ignores":
        complaints = driver.complaints
        driver.complaints = lambda: complaints()[:0]  # type: ignore[method-assign]
        inspect = driver.inspect
        driver.inspect = lambda *a, **k: inspect(*a, **k).__class__(dict(driver.readings))  # type: ignore[method-assign]
    with Unit(driver, channels=policies(1, 2)) as unit:
        unit.set_at_the_panel(1, state=True)
        unit.set_at_the_panel(2, state=True)
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: ("state", True, False, "agent", None) in unit.sheet.changes(), "off at last, read back")
        assert driver.writes[0] == Write("state", (1, 2), False)
        assert driver.writes[-1].channels in ((1,), (1, 2))
        assert left == [0]
        told = [record.getMessage() for record in caplog.records if "still on" in record.getMessage()]
        assert len(told) == 1
        assert unit.sheet.responses == []
        # Once it is off it is left alone.
        count = len(driver.writes)
        unit.set_at_the_panel(1, state=True)
        assert unit.ask(2, "set", voltage_limit=1) == "ok"
        assert [w.setting for w in driver.writes[count:]] == ["voltage_limit"]


@pytest.mark.usefixtures("impatient")
def test_only_what_stayed_on_is_tried_again() -> None:
    driver = FakeDriver()
    stuck = [True]

    def stay_on(call: Any) -> None:
        if call == "poll" and stuck[0]:
            unit.set_at_the_panel(1, state=True)

    with Unit(driver, channels=policies(1, 2)) as unit:
        driver.script = stay_on
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: len(driver.writes) > 3, "some tries")
        stuck[0] = False
        wait_until(lambda: driver.readings[1].state is False, "off at last")
        assert driver.writes[0] == Write("state", (1, 2), False)
        assert set(driver.writes[1:]) == {OFF_1}


def test_a_loss_that_ends_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokerloss, "FIRST_RETRY", math.inf)
    driver = FakeDriver()
    with Unit(driver, channels=policies(1)) as unit:
        driver.script = lambda call: unit.set_at_the_panel(1, state=True) if call == "poll" else None
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: driver.writes, "a try")
        unit.supply.broker_gone(None)
        assert unit.ask(2, "set", voltage_limit=1) == "ok"
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: driver.writes.count(OFF_1) == 2, "the next loss")


def test_the_policy_goes_before_all_that_waits_and_what_waits_for_its_outputs_is_refused() -> None:
    with Unit(channels=policies(1, 2)) as unit:
        unit.send(2, "cycle", cycle=1000)
        unit.send(3, "ramp", voltage_limit=6, ramp=0.001)
        wait_until(lambda: len(unit.driver.writes) >= 2, "both under way")
        hold = held(unit)
        for number in range(20):
            unit.send(3, f"other {number}", voltage_limit=1)
        unit.send(3, "off", state=False)
        unit.send(1, "set", voltage_limit=1)
        unit.send(1, "on", state=True)
        unit.send(2, "both", state=False, voltage_limit=1)
        count = len(unit.driver.writes)
        unit.supply.broker_gone(time.monotonic() - 1)
        hold.release()
        codes = {name: unit.sheet.code(name) for name in ("set", "on", "both", "cycle", "off", "other 19", "ramp")}
        assert codes == {
            "set": "superseded",
            "on": "superseded",
            "both": "superseded",
            "cycle": "superseded",
            "off": "ok",
            "other 19": "ok",
            "ramp": "superseded",  # by the off of its own output
        }
        assert unit.sheet.response("both").result.state is False  # type: ignore[union-attr]
        assert unit.driver.writes[count] == Write("state", (1, 2), False)
        assert Write("state", (1,), True) not in unit.driver.writes


def test_a_command_of_many_messages_gives_way_to_the_policy() -> None:
    """It must not wait for the end of a plan on a slow unit."""
    driver = FakeDriver()
    with Unit(driver, channels=policies(1)) as unit:

        def lose(call: Any) -> None:
            if is_write("voltage_limit")(call):
                unit.supply.broker_gone(time.monotonic() - 1)

        driver.script = lose
        assert unit.ask(2, "long", voltage_limit=1, current_limit=1, voltage_protection=6, state=True) == "ok"
        assert [w.setting for w in driver.writes[:2]][-1] in ("voltage_limit", "state")
        position = driver.writes.index(OFF_1)
        assert driver.writes[position - 1].setting == "voltage_limit"
        assert driver.writes[-1] == Write("state", (2,), True)


def test_a_poll_of_many_messages_gives_way_to_the_policy() -> None:
    driver = FakeDriver(messages=10)
    with Unit(driver, channels=policies(1)) as unit:
        hold = driver.hold("message")
        unit.supply.poll_now()
        hold.wait()
        mark = len(driver.calls)
        unit.supply.broker_gone(time.monotonic() - 1)
        hold.release()
        wait_until(lambda: OFF_1 in driver.writes, "the policy")
        assert driver.calls[mark:][:2] == ["dropped", OFF_1]


def test_an_output_that_a_command_turned_on_in_a_loss_goes_off_again() -> None:
    """A connection that never lasts may bring commands; the loss goes on."""
    with Unit(channels=policies(1)) as unit:
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: unit.driver.writes == [OFF_1], "the policy")
        assert unit.ask(1, "on", state=True) == "ok"
        wait_until(lambda: unit.driver.writes.count(OFF_1) == 2, "the policy again")
        assert not unit.driver.readings[1].state
        wait_until(lambda: ("state", True, False, "agent", None) in unit.sheet.changes(), "the event")


def test_a_policy_for_a_channel_that_the_unit_lacks_holds_up_nothing() -> None:
    with Unit(channels=policies(9)) as unit:
        unit.supply.broker_gone(time.monotonic() - 1)
        assert unit.ask(1, "set", voltage_limit=1, current_limit=1) == "ok"
        assert unit.ask(1, "off", state=False) == "ok"

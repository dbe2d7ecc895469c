"""The worker on a driver in memory: links that break, the loss of the broker, the end; and the order of the reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.instruments.driver import Identity, IdentityError, LinkError, Profile, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.report import Report
from agent.unit.admission import Admission
from agent.unit.job import Job
from agent.unit.limits import DefaultSettings
from tests.lab import wait_until
from tests.unit.fakedriver import Breaks, Call, FakeDriver, Sheet, Unit, is_write, output

pytestmark = pytest.mark.usefixtures("quick")

OFF_1 = Write("state", (1,), False)


def is_poll(call: Call) -> bool:
    return call == "poll"


def codes(unit: Unit) -> list[str]:
    return ["ok" if r.error is None else r.error.code for r in unit.sheet.responses]


# Connecting and the loss of the link.


def test_the_states_come_before_the_unit_is_told_online() -> None:
    with Unit() as unit:
        waiting, states, online = unit.sheet.reports
        assert waiting.info is not None
        assert (waiting.info.online, waiting.info.reason) == (False, "not connected yet")
        assert states.info is None
        assert [state.online for state in states.states] == [True] * 3
        assert online.info is not None
        assert (online.info.online, online.info.reason, online.info.serial) == (True, None, "SN1")
        assert online.states == ()
        assert unit.supply.online
        assert unit.driver.calls == ["connect", "poll"]


def test_a_unit_that_is_not_there_says_why_once_and_its_channels_are_unknown() -> None:
    driver = FakeDriver()
    driver.script = breaks = Breaks(lambda call: call == "connect", times=4, reason="refused")
    with Unit(driver, online=False) as unit:
        wait_until(lambda: breaks.left == 0, "the tries")
        unit.wait_online()
        offline = unit.sheet.reports[1]
        assert offline.info is not None
        assert (offline.info.online, offline.info.reason, offline.info.serial) == (False, "refused", None)
        assert [(s.online, s.state, s.voltage, s.seq) for s in offline.states] == [(False, None, None, 1)] * 3
        # The same reason again is no news.
        assert [report.info.online for report in unit.sheet.reports if report.info is not None] == [False, False, True]
        assert unit.supply.counters.errors == 4
        assert unit.supply.counters.reconnects == 0


def test_a_link_that_breaks_in_a_poll(quick: None) -> None:
    driver = FakeDriver()
    with Unit(driver, poll_interval=0.005) as unit:
        told = len(unit.sheet.reports)
        driver.script = Breaks(lambda call: call in ("poll", "connect"), times=2)
        wait_until(lambda: len([info for info in unit.sheet.infos if info.online]) == 2, "the healing")
        lost = next(report for report in unit.sheet.reports[told:] if report.info is not None)
        assert lost.info is not None
        assert (lost.info.online, lost.info.reason) == (False, "no answer: timeout")
        assert [state.online for state in lost.states] == [False] * 3  # in one report
        assert driver.calls.count("close") >= 2
        assert unit.supply.counters.reconnects == 2
        seqs = [state.seq for state in unit.sheet.states if state.index == 1]
        assert seqs == list(range(1, len(seqs) + 1))


def test_what_changed_while_it_was_away_is_told() -> None:
    driver = FakeDriver()
    with Unit(driver, poll_interval=0.005) as unit:
        driver.script = breaks = Breaks(lambda call: call in ("poll", "connect"), times=3)
        wait_until(lambda: not unit.supply.online, "the loss")
        unit.set_at_the_panel(1, voltage_limit=2.0)
        wait_until(lambda: breaks.left == 0, "the healing")
        wait_until(unit.sheet.changes, "the event")
        assert unit.sheet.changes() == [("voltage_limit", 0.0, 2.0, "panel", None)]


def test_an_exchanged_unit_is_not_taken_for_changes_of_the_old_one() -> None:
    driver = FakeDriver()
    with Unit(driver, poll_interval=0.005) as unit:
        assert unit.ask(1, "a", voltage_limit=3) == "ok"
        assert len(unit.sheet.changes()) == 1

        def exchange(call: Call) -> None:
            if call == "poll":
                driver.profile = Profile("FAKE2", (output(1),), Identity("Maker", "FAKE2", "SN2", "1.0"))
                driver.readings = {1: driver.readings[2]._replace(voltage_limit=1.0)}
                driver.script = lambda call: None
                raise LinkError("unplugged")

        driver.script = exchange
        wait_until(lambda: unit.sheet.infos[-1].serial == "SN2", "the other unit")
        assert (unit.sheet.infos[-1].model, len(unit.sheet.infos[-1].channels)) == ("FAKE2", 1)
        assert unit.sheet.states[-1].model == "FAKE2"
        assert len(unit.sheet.changes()) == 1


def test_another_unit_at_the_address_gets_no_command() -> None:
    def refuse(call: Call) -> None:
        if call == "connect":
            raise IdentityError("is number SN2, not SN1; it gets no commands")

    driver = FakeDriver()
    driver.script = refuse
    with Unit(driver, online=False) as unit:
        wait_until(lambda: driver.calls.count("connect") > 2, "tries")
        with pytest.raises(Refusal, match="SN2, not SN1") as refusal:
            unit.send(1, "a", state=False)
        assert refusal.value.code == "offline"
        assert set(driver.calls) == {"connect", "close"}


def test_a_setting_that_the_link_breaks_in_is_uncertain_and_who_did_it_is_known() -> None:
    driver = FakeDriver()

    def broken(call: Call) -> None:
        if is_write("voltage_limit")(call):
            driver.script = lambda call: None
            unit.set_at_the_panel(1, voltage_limit=3.0)  # it did happen
            raise LinkError("no answer: timeout")

    with Unit(driver) as unit:
        driver.script = broken
        assert unit.ask(1, "a", voltage_limit=3) == "uncertain"
        wait_until(unit.sheet.changes, "the event")
        assert unit.sheet.changes() == [("voltage_limit", 0.0, 3.0, "command", "a")]
        assert driver.writes == [Write("voltage_limit", (1,), 3.0)]


def test_a_setting_before_which_the_link_breaks_did_not_happen() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        driver.script = Breaks(is_poll)
        assert unit.ask(1, "a", voltage_limit=3) == "offline"
        unit.wait_online()
        assert driver.writes == []


def test_off_is_tried_once_more_at_once() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        unit.set_at_the_panel(1, state=True)
        driver.script = Breaks(is_write("state"))
        mark = len(driver.calls)
        assert unit.ask(1, "off", state=False) == "ok"
        assert driver.calls[mark : mark + 5] == [OFF_1, "close", "connect", "poll", OFF_1]
        assert driver.readings[1].state is False


def test_off_fails_twice_or_finds_no_link_and_is_told() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        driver.script = Breaks(is_write("state"), times=2)
        assert unit.ask(1, "twice", state=False) == "uncertain"
        unit.sheet.infos.clear()
        wait_until(lambda: unit.supply.online, "the healing")
        driver.script = Breaks(lambda call: is_write("state")(call) or call == "connect", times=3)
        assert unit.ask(1, "no link", state=False) == "uncertain"
        wait_until(lambda: unit.supply.online, "the healing")
        assert codes(unit) == ["uncertain", "uncertain"]  # nothing is kept for later


def test_an_off_that_waits_when_the_link_breaks_is_carried_out_on_the_next_one() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        hold = driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "setting", voltage_limit=1)
        unit.send(1, "off", state=False)
        hold.release(LinkError("no answer: timeout"))
        assert unit.sheet.code("off") == "ok"
        assert unit.sheet.code("setting") == "offline"
        assert driver.writes == [OFF_1]
        with_it = [report for report in unit.sheet.reports if report.response is not None]
        assert [report.response.id for report in with_it if report.response is not None] == ["setting", "off"]


def test_states_of_a_command_that_the_link_ends_come_before_the_loss() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        told = len(unit.sheet.reports)
        driver.script = Breaks(is_write("voltage_limit"))
        assert unit.ask(1, "a", voltage_limit=1) == "uncertain"
        found, lost, answered = unit.sheet.reports[told : told + 3]
        assert [state.online for state in found.states] == [True] * 3
        assert lost.info is not None
        assert [state.online for state in lost.states] == [False] * 3
        assert answered.response is not None


def test_a_fault_of_our_own_is_logged_with_its_traceback_and_does_not_spin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = FakeDriver()

    def fault(call: Call) -> None:
        if call == "poll":
            raise AttributeError("nothing like that")

    with caplog.at_level(logging.ERROR), Unit(driver) as unit:
        driver.script = fault
        unit.supply.poll_now()
        wait_until(lambda: not unit.supply.online, "the loss")
        assert "see its log" in (unit.sheet.infos[-1].reason or "")
        count = driver.calls.count("connect")
        begun = time.monotonic()
        wait_until(lambda: driver.calls.count("connect") >= count + 4, "more tries")
        assert time.monotonic() - begun > 0.05  # 10, 20, 40 ms and more
        driver.script = lambda call: None
        wait_until(lambda: unit.supply.online, "the healing")
    assert any(record.exc_info and "nothing like that" in str(record.exc_info[1]) for record in caplog.records)


def test_a_unit_waits_for_its_turn_and_an_off_does_not() -> None:
    admission = Admission(slots=1, lease=3600.0)
    first, second = FakeDriver(), FakeDriver()
    hold = first.hold("connect")
    with Unit(first, online=False, admission=admission) as one:
        hold.wait()
        with Unit(second, online=False, admission=admission) as two:
            assert two.supply.alive(1000.0)
            assert second.calls == []
            hold.release()
            one.wait_online()
            two.wait_online()
            again = first.hold(lambda call: call == "connect" and not one.supply.online)
            script = first.script

            def unplug(call: Call) -> None:
                if call == "poll" and one.supply.online:
                    raise LinkError("unplugged")
                script(call)

            first.script = unplug
            one.supply.poll_now()
            again.wait()  # it has the only slot
            second.script = Breaks(is_write("state"))
            assert two.ask(1, "off", state=False) == "ok"
            again.release()


def test_one_that_waits_for_its_turn_can_be_stopped() -> None:
    admission = Admission(slots=1, lease=3600.0)
    first = FakeDriver()
    hold = first.hold("connect")
    with Unit(first, online=False, admission=admission):
        hold.wait()
        with Unit(online=False, admission=admission) as two:
            wait_until(lambda: two.sheet.infos, "its start")
        assert two.driver.calls == ["close"]
        hold.release()


# The loss of the broker.


def policies(**changed: Any) -> dict[int, Any]:
    return {1: DefaultSettings(on_broker_loss="off", broker_loss_after=0.03, **changed), 2: DefaultSettings()}


def test_without_a_broker_an_output_is_turned_off_once() -> None:
    with Unit(channels=policies()) as unit:
        unit.set_at_the_panel(1, state=True)
        unit.supply.poll_now()
        wait_until(unit.sheet.changes, "the poll")
        unit.supply.broker_gone(time.monotonic())
        wait_until(lambda: ("state", True, False, "agent", None) in unit.sheet.changes(), "the event")
        assert unit.sheet.responses == []
        unit.set_at_the_panel(1, state=True)  # somebody is there
        unit.supply.poll_now()
        wait_until(lambda: unit.sheet.changes()[-1][3] == "panel", "the poll")
        assert unit.driver.writes == [OFF_1]
        unit.supply.broker_gone(None)
        unit.supply.broker_gone(time.monotonic())
        wait_until(lambda: len(unit.driver.writes) == 2, "the next loss")


def test_the_policy_goes_before_what_waits_and_supersedes_what_would_turn_on() -> None:
    with Unit(channels=policies()) as unit:
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "setting", voltage_limit=1)
        unit.send(1, "on", state=True)
        unit.supply.broker_gone(time.monotonic() - 1)
        hold.release()
        assert unit.sheet.code("setting") == "ok"
        assert unit.sheet.code("on") == "superseded"
        assert unit.driver.writes == [OFF_1, Write("voltage_limit", (2,), 1.0)]


def test_the_policy_ends_a_plan_in_progress() -> None:
    with Unit(channels=policies()) as unit:
        unit.send(1, "cycle", cycle=1000)
        wait_until(lambda: unit.driver.writes, "the cycle")
        unit.supply.broker_gone(time.monotonic())
        assert unit.sheet.code("cycle") == "superseded"
        assert "turned off" in str(unit.sheet.response("cycle").error)


def test_the_policy_is_kept_to_when_the_link_is_back() -> None:
    driver = FakeDriver()
    with Unit(driver, channels=policies()) as unit:
        unit.set_at_the_panel(1, state=True)
        driver.script = Breaks(lambda call: is_write("state")(call) or call == "connect", times=4)
        unit.supply.broker_gone(time.monotonic() - 1)
        wait_until(lambda: driver.readings[1].state is False, "off after all")


# Outlets.


def test_every_outlet_gets_every_report_and_the_first_whatever_the_others_do(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        congested = False

        def report(self, report: Report) -> None:
            raise KeyError("of its own")

    first, last = Sheet(), Sheet()
    with Unit(outlets=(first, Broken(), last), online=False) as unit:
        wait_until(lambda: last.infos and last.infos[-1].online, "the connection")
        unit.send(1, "a", state=True)
        assert first.code("a") == last.code("a") == "ok"
        assert first.reports == last.reports
    assert any("Broken" in record.message and record.exc_info for record in caplog.records)


def test_a_congested_outlet_slows_down_a_unit_that_is_polled_without_a_pause() -> None:
    class Ahead(FakeDriver):
        asked = False
        was_asked = 0

        def poll_ahead(self) -> bool:
            self.asked = True
            self.was_asked += 1
            return True

        @property
        def is_poll_under_way(self) -> bool:
            return self.asked

        def poll(self, give_way: Callable[[], bool]) -> Any:
            self.asked = False
            return super().poll(give_way)

        def write(self, write: Write) -> None:
            assert not self.asked  # it has to be read before anything else is said
            super().write(write)

    driver = Ahead()
    with Unit(driver, poll_interval=0.0) as unit:
        wait_until(lambda: driver.was_asked > 5, "polls ahead")
        assert unit.ask(1, "a", voltage_limit=1, state=True) == "ok"
        assert unit.ask(1, "off", state=False) == "ok"
        unit.sheet.congested = True
        unit.supply.poll_now()
        polls = driver.calls.count("poll")
        wait_until(lambda: driver.calls.count("poll") > polls + 3, "polls")
        asked = driver.was_asked
        wait_until(lambda: driver.calls.count("poll") > polls + 9, "polls")
        assert driver.was_asked == asked


# The end.


def test_the_end_answers_what_is_left_and_changes_no_output() -> None:
    with Unit() as unit:
        unit.set_at_the_panel(2, state=True)
        unit.send(1, "cycle", cycle=1000)
        wait_until(lambda: unit.driver.writes, "the cycle")
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(2, "waits", voltage_limit=1)
        unit.supply.stop("its configuration has changed")
        with pytest.raises(Refusal, match="not served any more: its configuration has changed"):
            unit.send(2, "late", state=False)
        hold.release()
        assert unit.supply.join(10)
        assert [unit.sheet.code(name) for name in ("cycle", "waits")] == ["superseded", "superseded"]
        assert unit.driver.writes == [OFF_1]
        assert unit.driver.calls[-1] == "close"
        assert unit.driver.hurried
        assert not unit.supply.online
        assert unit.sheet.reports[-1].info is not None
        assert unit.sheet.reports[-1].info.reason == "its configuration has changed"
        assert [state.online for state in unit.sheet.reports[-1].states] == [False] * 3


def test_an_abandoned_unit_says_no_more_and_gets_no_more() -> None:
    with Unit() as unit:
        hold = unit.driver.hold(is_write("voltage_limit"))
        unit.send(1, "running", voltage_limit=1, current_limit=1, state=True)
        hold.wait()
        unit.send(1, "waits", voltage_limit=2)
        unit.supply.stop()
        assert not unit.supply.join(0.01)
        unit.supply.abandon()
        assert codes(unit) == ["uncertain", "superseded"]
        assert not unit.supply.online
        last = unit.sheet.reports[-1]
        assert last.info is not None
        assert last.info.online is False
        assert [state.online for state in last.states] == [False] * 3
        told = len(unit.sheet.reports)
        hold.release()
        assert unit.supply.join(10)
        assert len(unit.sheet.reports) == told
        assert unit.driver.writes == [Write("voltage_limit", (1,), 1.0)]
        assert unit.driver.calls[-1] == "close"


def test_one_that_is_abandoned_while_it_connects_does_not_come_online() -> None:
    driver = FakeDriver()
    hold = driver.hold("connect")
    with Unit(driver, online=False) as unit:
        hold.wait()
        unit.supply.stop()
        unit.supply.abandon()
        told = len(unit.sheet.reports)
        hold.release()
        assert unit.supply.join(10)
        assert not unit.supply.online
        assert len(unit.sheet.reports) == told


def test_each_command_is_answered_once_whoever_is_first() -> None:
    with Unit() as unit:
        job = Job(Command(state=True, id="a"), (unit.supply.channel("1"),))
        assert job.claim_answer()
        assert not job.claim_answer()


def test_a_successor_goes_on_counting() -> None:
    with Unit() as unit:
        assert unit.ask(1, "a", state=True) == "ok"
        last = [state.seq for state in unit.sheet.states if state.index == 1][-1]
    with Unit(unit.driver, predecessor=unit.supply) as successor:
        assert successor.supply.counters is unit.supply.counters
        assert [s.seq for s in successor.sheet.states if s.index == 1] == [last + 2]  # one told that it was stopped


def test_signs_of_life() -> None:
    with Unit() as unit:
        assert unit.supply.alive(0.5)  # it sleeps until the next poll, an hour from now, and that is as it should be
        hold = unit.driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        wait_until(lambda: not unit.supply.alive(0.01), "the silence")
        hold.release()
        wait_until(lambda: unit.supply.alive(0.5), "more signs of life")
    assert not unit.supply.alive(1000)

"""Links that are not there, that break, and that come back, on a driver in memory; and the order of the reports."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest

from agent.instruments.driver import Identity, IdentityError, LinkError, Profile, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.unit import connecting
from agent.unit.admission import Admission
from agent.unit.job import Job
from tests.lab import wait_until
from tests.unit.fakedriver import Breaks, Call, FakeDriver, Unit, is_write, output

pytestmark = pytest.mark.usefixtures("quick")

OFF_1 = Write("state", (1,), False)


def is_poll(call: Call) -> bool:
    return call == "poll"


def codes(unit: Unit) -> list[str]:
    return ["ok" if r.error is None else r.error.code for r in unit.sheet.responses]


# Connecting and the loss of the link.


def test_the_first_states_are_told_together_with_the_unit_being_online() -> None:
    with Unit() as unit:
        waiting, online = unit.sheet.reports
        assert waiting.info is not None
        assert (waiting.info.online, waiting.info.reason) == (False, "not connected yet")
        assert online.info is not None
        assert (online.info.online, online.info.reason, online.info.serial) == (True, None, "SN1")
        assert [state.online for state in online.states] == [True] * 3
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
        unit.wait_offline()
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


def test_an_off_that_the_link_broke_in_and_that_has_expired_since_is_uncertain() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        job = Job(Command(state=False, id="off"), (unit.supply.channel("1"),), expires=time.monotonic() + 3600)

        def breaks(call: Call) -> None:
            if isinstance(call, Write):
                job.expires = time.monotonic() - 1
                raise LinkError("no answer: timeout")

        driver.script = breaks
        unit.supply.submit(job)
        assert unit.sheet.code("off") == "uncertain"
        assert driver.calls.count(OFF_1) == 1


def test_an_off_turns_off_the_outputs_that_are_left_when_the_unit_is_back_with_fewer() -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        unit.set_at_the_panel(1, state=True)
        hold = driver.hold("poll")
        unit.supply.poll_now()
        hold.wait()
        unit.send(None, "off", state=False)
        driver.profile = replace(driver.profile, outputs=driver.profile.outputs[:2])
        del driver.readings[3]
        hold.release(LinkError("other channels than before"))
        assert unit.sheet.code("off") == "unknown_channel"
        wait_until(lambda: unit.sheet.states[-1].state is False and driver.readings[1].state is False, "the off")
        assert driver.writes == [Write("state", (1, 2), False)]
        assert driver.calls.count("connect") == 2


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
        unit.wait_offline()
        assert "see its log" in (unit.sheet.infos[-1].reason or "")
        begun = time.monotonic()  # before the count, or tries between the two would count and take no time
        count = driver.calls.count("connect")
        wait_until(lambda: driver.calls.count("connect") >= count + 4, "more tries")
        assert time.monotonic() - begun > 0.05  # 10, 20, 40 ms and more
        driver.script = lambda call: None
        wait_until(lambda: unit.supply.online, "the healing")
    assert any(record.exc_info and "nothing like that" in str(record.exc_info[1]) for record in caplog.records)


def test_an_off_is_not_delayed_by_the_pause_after_a_fault_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    with Unit(driver) as unit:
        monkeypatch.setattr(connecting, "FIRST_RETRY", 3600.0)
        monkeypatch.setattr(connecting, "LAST_RETRY", 3600.0)
        hold = driver.hold(is_write("state"))
        unit.send(1, "off", state=False)
        hold.wait()
        hold.release(AttributeError("nothing like that"))
        assert unit.sheet.code("off") == "ok"
        assert driver.writes == [OFF_1, OFF_1]


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

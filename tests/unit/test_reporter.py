"""One report a step, one response a command."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from agent.protocol.commands import Command
from agent.protocol.messages import ChannelState, utc_now
from agent.protocol.report import ReplyTo, Report
from agent.unit.job import Job
from agent.unit.limits.channel import Channel
from agent.unit.reporter import Reporter
from agent.unit.status import Counters
from tests.unit.fakedriver import Call, Sheet, TalkingDriver, Unit, output

CHANNEL = Channel("psu1", "CH1", output(1))


def state(seq: int) -> ChannelState:
    return ChannelState(
        time=utc_now(), seq=seq, agent="bench", psu="psu1", index=1, name="CH1", model="FAKE3", online=True
    )


def job(**arguments: object) -> Job:
    return Job(Command(id="a", state=True), (CHANNEL,), reply_to=ReplyTo("answers", b"1"), **arguments)  # type: ignore[arg-type]


@pytest.fixture
def sheet() -> Sheet:
    return Sheet()


@pytest.fixture
def reporter(sheet: Sheet) -> Reporter:
    return Reporter("psu1", (sheet,), Counters())


def test_what_was_added_goes_with_what_is_sent(reporter: Reporter, sheet: Sheet) -> None:
    reporter.add([state(1)], [])
    assert sheet.reports == []
    reporter.send(states=[state(2)])
    reporter.send()
    assert [[s.seq for s in report.states] for report in sheet.reports] == [[1, 2]]


def test_a_response_takes_along_what_was_added(reporter: Reporter, sheet: Sheet) -> None:
    reporter.add([state(1)], [])
    reporter.refuse(job(), "unsupported", "it can not")
    (report,) = sheet.reports
    assert [s.seq for s in report.states] == [1]
    assert report.reply_to == ReplyTo("answers", b"1")
    assert report.response is not None
    assert report.response.error is not None
    assert reporter.counters.refusals == 1


def test_the_agents_own_jobs_are_not_answered(reporter: Reporter, sheet: Sheet) -> None:
    own = job(by="agent")
    reporter.add([state(1)], [])
    reporter.confirm(own, [state(1)])
    reporter.refuse(own, "uncertain", "who knows")
    reporter.refuse_at_once(own, "superseded", "the end")
    assert [report.response for report in sheet.reports] == [None]
    assert reporter.counters.refusals == 0


@pytest.mark.parametrize("second", ["confirm", "refuse"])
def test_a_job_that_another_thread_answered_is_not_answered_again(
    reporter: Reporter, sheet: Sheet, second: str
) -> None:
    asked = job()
    reporter.refuse_at_once(asked, "superseded", "the output was turned off")
    reporter.refuse_at_once(asked, "superseded", "again")
    reporter.add([state(1)], [])
    if second == "confirm":
        reporter.confirm(asked, [state(1)])
    else:
        reporter.refuse(asked, "uncertain", "who knows")
    assert [r.error.code for r in sheet.responses if r.error is not None] == ["superseded"]
    assert [s.seq for s in sheet.states] == [1]  # which is news all the same
    assert reporter.counters.refusals == 1


def test_after_the_end_only_the_last_words_go_out(reporter: Reporter, sheet: Sheet) -> None:
    reporter.close()
    running = job()
    reporter.refuse_at_once(running, "uncertain", "the agent has stopped")
    reporter.send(states=[state(1)])
    reporter.add([state(1)], [])
    reporter.confirm(running, [state(1)])
    reporter.last_words(None, [state(2)])
    reporter.last_words(None, [])
    assert [report.response is not None for report in sheet.reports] == [True, False]


def test_a_job_that_the_end_did_not_find_has_its_response_from_the_worker(reporter: Reporter, sheet: Sheet) -> None:
    running = job()
    reporter.close()
    reporter.add([state(1)], [])
    reporter.confirm(running, [state(1)])
    reporter.refuse_at_once(running, "uncertain", "the agent has stopped")
    assert [(response.ok, response.error) for response in sheet.responses] == [(True, None)]
    assert sheet.states == []


@pytest.mark.parametrize("worker", ["confirm", "refuse"])
def test_the_end_in_the_middle_of_a_response_answers_exactly_once(worker: str) -> None:
    """The worker has just claimed the response when another thread gives the unit up."""
    entered, may_go_on = threading.Event(), threading.Event()

    class Slow(Sheet):
        def report(self, report: Report) -> None:
            if not entered.is_set():
                entered.set()
                assert may_go_on.wait(10)
            super().report(report)

    sheet = Slow()
    reporter = Reporter("psu1", (sheet,), Counters())
    running = job()
    act: Callable[[], None] = {
        "confirm": lambda: reporter.confirm(running, [state(1)]),
        "refuse": lambda: reporter.refuse(running, "unsupported", "it can not"),
    }[worker]

    def give_up() -> None:
        reporter.close()
        reporter.refuse_at_once(running, "uncertain", "the agent has stopped")

    threads = [threading.Thread(target=act), threading.Thread(target=give_up)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    may_go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(sheet.responses) == 1


def test_congestion_is_any_outlets() -> None:
    one, other = Sheet(), Sheet()
    reporter = Reporter("psu1", (one, other), Counters())
    assert not reporter.congested
    other.congested = True
    assert reporter.congested


def test_a_refusal_says_what_the_unit_was_left_with() -> None:
    """A command that trips its own output, and one that the unit refuses."""
    driver = TalkingDriver()
    with Unit(driver) as unit:
        for index in (1, 2):
            unit.set_at_the_panel(index, state=True, mode="CV")

        def trip(call: Call) -> None:
            if call == "inspect []":
                driver.readings[1] = driver.readings[1]._replace(state=False, mode="OFF", tripped="OVP")

        driver.script = trip
        assert unit.ask(1, "trips", voltage_limit=3) == "readback_mismatch"
        result = unit.sheet.response("trips").result
        assert isinstance(result, ChannelState)
        assert (result.index, result.state, result.tripped, result.voltage_limit) == (1, False, "OVP", 3.0)
        driver.answer = lambda write: '-222,"Data out of range"'
        assert unit.ask(2, "refused", voltage_limit=3) == "instrument_error"
        result = unit.sheet.response("refused").result
        assert isinstance(result, ChannelState)
        assert (result.index, result.state, result.voltage_limit) == (2, True, 0.0)
        assert unit.ask(None, "stays on", state=False) == "instrument_error"
        results = unit.sheet.response("stays on").result
        assert isinstance(results, list)
        assert [(state.index, state.state) for state in results] == [(1, False), (2, True), (3, False)]


def test_a_refusal_without_a_look_after_the_last_write_has_no_result() -> None:
    driver = TalkingDriver()
    with Unit(driver) as unit:
        driver.answer = lambda write: '-222,"Data out of range"'
        assert unit.ask(1, "two", voltage_limit=3, current_limit=0.5) == "instrument_error"
        assert unit.sheet.response("two").result is None
        unit.set_at_the_panel(1, tripped="OVP")
        assert unit.ask(1, "before", state=True) != "ok"
        assert unit.sheet.response("before").result is None

"""What leaves an agent about a unit that it serves, that another one claims too, or whose name is another one's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from agent.mqtt.item import Serializable
from agent.protocol.messages import Conflict, Response, UnitInfo, utc_now
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from agent.service.fleet.outlet import FleetOutlet, Origin
from agent.service.fleet.standings import Standings
from agent.unit.standing import ALONE, Part, Standing
from tests.lab import wait_until
from tests.mqtt.reports import channel_info, info
from tests.unit.fakedriver import Sheet, Unit

WHY = "agent bench2 on host2 serves another supply as psu1; give one of the two another name"
OTHER = Conflict(agent="bench2", instance="i2", host="host2", unit="psu1", why="name")
MUTED = Standing(Part.YIELDS_NAME, WHY, OTHER, is_muted=True)
KEEPS = Standing(Part.SERVES, None, OTHER)


@dataclass
class Session:
    """The session's side: reports, what is passed on unretained, what is forgotten."""

    sheet: Sheet = field(default_factory=Sheet)
    passed: list[tuple[str, Any]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def passing(self, topic: str, message: Serializable) -> None:
        self.passed.append((topic, message))


def make(session: Session, **arguments: Any) -> FleetOutlet:
    return FleetOutlet(
        (session.sheet,),
        topics=Topics("psu"),
        origin=Origin("i1", "host1", 20.0),
        forget=session.forgotten.append,
        passing=session.passing,
        **arguments,
    )


def an_info(*, online: bool = True, reason: str | None = None, channels: int = 1) -> UnitInfo:
    known = [channel_info(index) for index in range(1, channels + 1)]
    return info(online).model_copy(update={"reason": reason, "channels": known})


def a_response() -> Response:
    return Response(id="a", ok=True, time=utc_now(), psu="psu1", index=1)


def last(session: Session) -> UnitInfo:
    return session.sheet.infos[-1]


def test_an_info_says_who_serves_the_unit() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info()))
    told = last(session)
    assert (told.instance, told.host, told.settings_for) == ("i1", "host1", 20.0)
    assert (told.serves, told.conflict, told.online, told.reason) == (True, None, True, None)
    assert told.since is not None


def test_settings_may_arrive_as_late_as_an_exchange_takes() -> None:
    session = Session()
    outlet = make(session, longest_exchange=lambda unit: {"psu1": 30.0}[unit])
    outlet.report(Report(an_info()))
    assert last(session).settings_for == 50.0


def test_an_agent_that_ends_serves_the_unit_no_more() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info(online=False, reason="the agent has stopped").model_copy(update={"serves": False})))
    assert last(session).serves is False


def test_a_conflict_is_told_at_once_and_once() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info()))
    since = last(session).since
    outlet.stand("psu1", KEEPS)
    outlet.stand("psu1", KEEPS)
    assert [info.conflict for info in session.sheet.infos] == [None, OTHER]
    assert last(session).since == since
    outlet.stand("psu1", ALONE)
    assert last(session).conflict is None


def test_undecided_says_nothing_new() -> None:
    session = Session()
    outlet = make(session, initial=Standing(Part.UNDECIDED))
    outlet.report(Report(an_info()))
    outlet.stand("psu1", ALONE)
    assert len(session.sheet.infos) == 1
    assert last(session).serves


@pytest.mark.parametrize(
    ("online", "reason", "told"), [(True, None, WHY), (False, "no answer: timeout", "no answer: timeout")]
)
def test_a_contested_unit_gives_the_reason_that_matters(online: bool, reason: str | None, told: str) -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info(online=online, reason=reason)))
    outlet.stand("psu1", Standing(Part.CONTESTED, WHY, OTHER))
    assert (last(session).online, last(session).reason, last(session).serves) == (online, told, True)


def test_a_unit_without_its_supply_is_offline_whatever_its_link_does() -> None:
    session = Session()
    outlet = make(session)
    outlet.stand("psu1", Standing(Part.YIELDS_SUPPLY, WHY, OTHER))
    outlet.report(Report(an_info()))  # while an off is done
    assert (last(session).online, last(session).reason, last(session).serves) == (False, WHY, False)


def test_on_topics_of_another_agent_nothing_is_published_but_responses() -> None:
    with Unit() as unit:
        reports = list(unit.sheet.reports)
    states = next(report.states for report in reports if report.states)
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info(channels=2)))
    outlet.stand("psu1", MUTED)
    assert {
        "psu/psu1/status",
        "psu/psu1/info",
        "psu/psu1/1/state",
        "psu/psu1/2/state",
        "psu/psu1/1/homeassistant",
        "psu/psu1/2/homeassistant",
        "psu/psu1/lease",
        "psu/psu1/1/lease",
        "psu/psu1/2/lease",
    } == set(session.forgotten)
    before = len(session.sheet.reports)
    outlet.report(Report(None, states))
    outlet.report(Report(an_info(online=False, reason="no answer")))
    outlet.report(Report())
    assert len(session.sheet.reports) == before
    outlet.report(Report(None, states, (), a_response()))
    outlet.report(Report(an_info(), states, (), a_response()))
    assert [(r.info, list(r.states), r.response is not None) for r in session.sheet.reports[before:]] == [
        (None, [], True)
    ] * 2


def test_those_who_listen_are_told_once_by_a_message_that_is_not_retained() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info()))
    outlet.stand("psu1", MUTED)
    outlet.report(Report(an_info()))
    outlet.stand("psu1", MUTED)
    ((topic, message),) = session.passed
    assert topic == "psu/psu1/info"
    assert (message.online, message.serves, message.reason, message.conflict) == (False, False, WHY, OTHER)
    outlet.tell("psu1")
    assert len(session.passed) == 2


def test_channels_that_become_known_later_are_forgotten_too() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info(channels=0)))
    outlet.stand("psu1", MUTED)
    outlet.report(Report(an_info(channels=1)))
    assert "psu/psu1/1/state" in session.forgotten


def test_the_name_is_this_agents_again() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info()))
    since = last(session).since
    outlet.stand("psu1", MUTED)
    outlet.stand("psu1", ALONE)
    told = last(session)
    assert (told.online, told.serves, told.conflict) == (True, True, None)
    assert told.since is not None
    assert since is not None
    assert told.since >= since
    assert len(session.sheet.infos) == 2


def test_the_info_is_told_again() -> None:
    session = Session()
    outlet = make(session)
    outlet.tell("psu1")  # nothing is known of it yet
    outlet.report(Report(an_info()))
    outlet.tell("psu1")
    assert len(session.sheet.infos) == 2


def test_another_claim_time_is_told() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info()))
    moment = utc_now() + timedelta(seconds=1)
    outlet.stand("psu1", ALONE, moment)
    assert last(session).since == moment


def test_the_units_own_info_is_heard_before_it_is_published() -> None:
    session = Session()
    heard: list[tuple[str, int]] = []
    outlet = make(session, heard=lambda unit, info: heard.append((unit, len(session.sheet.infos))))
    outlet.report(Report(an_info()))
    assert heard == [("psu1", 0)]


def test_of_a_unit_that_was_dropped_nothing_is_told() -> None:
    session = Session()
    outlet = make(session)
    outlet.report(Report(an_info()))
    outlet.drop("psu1")
    outlet.tell("psu1")
    assert len(session.sheet.infos) == 1


def test_one_outlet_that_fails_keeps_no_other_from_its_report(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Sheet):
        def report(self, report: Report) -> None:
            raise KeyError("of its own")

    session, sheet = Session(), Sheet()
    outlet = FleetOutlet(
        (Broken(), sheet),
        topics=Topics("psu"),
        origin=Origin("i1", "host1"),
        forget=session.forgotten.append,
        passing=session.passing,
    )
    outlet.report(Report(an_info()))
    assert len(sheet.infos) == 1
    assert any("Broken" in record.message for record in caplog.records)
    sheet.congested = True
    assert outlet.congested


@pytest.fixture
def served() -> Iterator[tuple[Session, Standings, Unit]]:
    session = Session()
    outlet = make(session)
    unit = Unit(outlets=(outlet,), online=False)
    standings = Standings(lambda: {"psu1": unit.supply}, outlet)
    with unit:
        wait_until(lambda: session.sheet.infos and session.sheet.infos[-1].online, "the connection")
        yield session, standings, unit


def test_a_unit_and_what_is_told_of_it_change_together(served: tuple[Session, Standings, Unit]) -> None:
    session, standings, unit = served
    standings.stand("psu1", MUTED)
    assert unit.supply.standing is MUTED
    polls, told = unit.driver.calls.count("poll"), len(session.sheet.reports)
    unit.supply.poll_now()
    wait_until(lambda: unit.driver.calls.count("poll") > polls, "the poll")
    assert len(session.sheet.reports) == told
    standings.stand("psu1", ALONE)
    wait_until(lambda: session.sheet.reports[-1].states, "states again")
    standings.stand("nobody", ALONE)


def test_a_unit_that_hangs_is_told_of_at_once(served: tuple[Session, Standings, Unit]) -> None:
    session, standings, unit = served
    hold = unit.driver.hold("poll")
    unit.supply.poll_now()
    hold.wait()
    standings.stand("psu1", KEEPS)
    assert last(session).conflict == OTHER
    hold.release()


def test_nothing_follows_the_end() -> None:
    """A report in another thread is published wholly before the unit is muted, or not at all."""
    with Unit() as unit:
        states = next(report.states for report in unit.sheet.reports if report.states)

    class Slow(Sheet):
        def report(self, report: Report) -> None:
            if report.states:
                reached.set()
                assert go_on.wait(10)
            super().report(report)

    reached, go_on, session = threading.Event(), threading.Event(), Session()
    session.sheet = Slow()
    outlet = make(session)
    outlet.report(Report(an_info()))
    reporting = threading.Thread(target=outlet.report, args=(Report(None, states),))
    muting = threading.Thread(target=outlet.stand, args=("psu1", MUTED))
    reporting.start()
    assert reached.wait(10)
    muting.start()
    assert session.forgotten == []
    go_on.set()
    muting.join(10)
    reporting.join(10)
    assert session.sheet.states
    assert session.forgotten

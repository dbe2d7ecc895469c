"""The E36300 series by literal transcripts, on the driver alone: what each model is sent, word for word, and how it is read."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from agent.instruments.driver import Identity, IdentityError, LinkError, MalformedAnswerError, Write
from agent.instruments.text.driver import TextDriver
from tests.instruments.e36300 import (
    LISTS,
    MODELS,
    NO_ERROR,
    OFF,
    POLL,
    REFUSED,
    SINGLES,
    TOGETHER,
    UNKNOWN,
    all_guards,
    by_single_channels,
    connected,
    connecting,
    guards,
    idn,
    joined,
    make_driver,
    never,
    one_by_one,
    poll,
)
from tests.instruments.transcript import Line, Transcript


@pytest.mark.parametrize("model", MODELS)
def test_a_connection_and_a_poll(model: str) -> None:
    answer = (
        "+4.99982E+00,+1.20013E+01,+3.30010E+00;+1.20300E-01,+2.00010E-01,+0.00000E+00;"
        "+5.00000E+00,+1.20000E+01,+3.30000E+00;+1.00000E+00,+2.00000E-01,+5.00000E-01;1,1,0;"
        "+6.60000E+00,+2.75000E+01,+2.00000E+01;0,0,1;0,1,0;0,0,0;+2;+1;+512"
    )
    link = Transcript(connecting(model, (POLL, answer)))
    driver = make_driver(link, model)
    profile = driver.connect()
    assert (profile.model, profile.effort) == (model, "one message")
    assert profile.identity == Identity("Keysight Technologies", model, "MY61004803", "1.0.4-1.0.0-1.00")
    assert [output.index for output in profile.outputs] == [1, 2, 3]
    readings = driver.poll(never)
    assert readings is not None
    one, two, three = (readings[index] for index in (1, 2, 3))
    assert (one.state, one.mode, one.tripped) == (True, "CV", None)
    assert (one.voltage, one.current, one.voltage_limit, one.current_limit) == (4.99982, 0.1203, 5.0, 1.0)
    assert (one.voltage_protection, one.current_protection) == (6.6, False)
    assert (two.state, two.mode, two.current_protection) == (True, "CC", True)
    assert (three.state, three.mode, three.tripped) == (False, "OFF", "OVP")
    link.check()
    driver.close()
    assert not link.is_open


def test_what_is_known_before_it_has_answered() -> None:
    assert make_driver(Transcript(), "E36313A").expected.model == "E36313A"
    series = make_driver(Transcript(), "E36300").expected
    assert series.model is None
    assert [output.index for output in series.outputs] == [1, 2, 3]


def test_older_units_call_their_maker_agilent() -> None:
    lines = connecting()[:-1]
    lines[0] = ("*IDN?", "Agilent Technologies,E36313A,MY1,1.0")
    link = Transcript(lines)
    identity = make_driver(link, "E36300").connect().identity
    assert identity is not None
    assert identity.manufacturer == "Agilent Technologies"
    link.check()


def test_errors_that_stood_in_the_queue_are_taken_out_first(caplog: pytest.LogCaptureFixture) -> None:
    lines = connecting()[:-1]
    lines[1:2] = [("SYST:ERR?", '-222,"Data out of range"'), ("SYST:ERR?", '-113,"Undefined header"'), NO_ERROR]
    link = Transcript(lines)
    with caplog.at_level(logging.WARNING):
        make_driver(link).connect()
    link.check()
    assert [record.getMessage() for record in caplog.records] == [
        'psu1: the unit reports an earlier error: -222,"Data out of range"',
        'psu1: the unit reports an earlier error: -113,"Undefined header"',
    ]


def test_a_queue_that_never_ends_is_left() -> None:
    """One entry may come by each question as long as nothing else is asked."""
    lines = connecting()[:-1]
    lines[1:2] = [("SYST:ERR?", '-350,"Error queue overflow"')] * 25
    link = Transcript(lines)
    make_driver(link).connect()
    link.check()


# Units that take less.


def test_a_unit_that_takes_no_compound_messages_is_polled_by_lists() -> None:
    lines = [idn(), NO_ERROR, (POLL, None), idn(), REFUSED, NO_ERROR, *LISTS, *all_guards(), *LISTS]
    link = Transcript(lines)
    driver = make_driver(link)
    assert driver.connect().effort == "12 messages"
    readings = driver.poll(never)
    assert readings is not None
    assert readings[3].voltage == -2e-05
    assert not driver.poll_ahead()
    link.check()


def test_a_unit_that_takes_no_channel_lists_is_polled_one_by_one() -> None:
    link, driver = by_single_channels()
    link.expect(SINGLES)
    readings = driver.poll(never)
    assert readings is not None
    assert readings[1].voltage == 0.00011
    link.check()
    # A reconnection does not try again what it has refused.
    link.expect([idn(), NO_ERROR, *SINGLES, *one_by_one(all_guards())])
    driver.connect()
    link.check()


def test_a_poll_gives_way_between_two_messages_and_leaves_no_answer_behind() -> None:
    link, driver = by_single_channels()
    wishes = iter([False, False, True])
    link.expect(SINGLES[:3])
    assert driver.poll(lambda: next(wishes)) is None
    link.check()
    link.expect([("OUTP 0,(@1)", None), *SINGLES])
    driver.write(Write("state", (1,), False))
    assert driver.poll(never)
    link.check()


def test_a_poll_of_one_message_is_not_dropped() -> None:
    link, driver = connected()
    link.expect([OFF])
    assert driver.poll(lambda: True)
    link.check()


def test_a_unit_that_was_silent_once_and_refused_nothing_is_not_asked_in_smaller_messages() -> None:
    link = Transcript([idn(), NO_ERROR, (POLL, None), idn(), NO_ERROR, *connecting()[2:-1]])
    make_driver(link).connect()
    link.check()


@pytest.mark.parametrize("messages", [1, 2, 3, 4, 5])
def test_an_inspection_of_several_messages_gives_way_between_them(messages: int) -> None:
    link = Transcript([idn(), NO_ERROR, OFF, (TOGETHER[0], None), idn(), REFUSED, NO_ERROR, *all_guards()])
    driver = make_driver(link)
    driver.connect()
    asked = [line for line in guards("clear_protection") if line[0].startswith(("VOLT", "CURR", "OUTP"))]
    link.expect([NO_ERROR, *asked, OFF][:messages])
    sent = len(link.sent)
    inspection = driver.inspect((1,), lambda: len(link.sent) == sent + messages, ["clear_protection"])
    assert (inspection.readings == {}) is (messages < 5)
    link.check()
    link.expect([NO_ERROR, OFF])
    assert driver.inspect(()).readings != {}
    link.check()


# The identity.


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Keysight Technologies,E36312A,MY61004803,1.0", "is a Keysight Technologies E36312A, not a E36313A"),
        ("Rigol,DP832,1,1", "is a Rigol DP832, not a E36313A"),
        ("Keysight Technologies,E36313A,MY7,1.0", "is number MY7, not MY61004803"),
        ("5.0", "is no answer to [*]IDN"),
    ],
)
def test_another_unit_than_the_configured_one_gets_no_other_message(answer: str, said: str) -> None:
    link = Transcript([("*IDN?", answer)])
    driver = make_driver(link, serial="MY61004803")
    with pytest.raises(IdentityError, match=said) as error:
        driver.connect()
    link.check()
    assert not link.is_open
    identity = error.value.identity
    assert (identity is None) == (answer == "5.0")
    assert identity is None or answer.startswith(f"{identity.manufacturer},{identity.model},{identity.serial}")


@pytest.mark.parametrize(
    "begun", [[(POLL, None)], [OFF, (TOGETHER[0], None)], [OFF, (TOGETHER[0], None), idn(), *UNKNOWN, ("OUTP:TRAC:STAT?", None)]]
)  # fmt: skip
def test_another_unit_behind_a_failed_probe_gets_no_other_message(begun: list[Line]) -> None:
    """The unit is exchanged while the link is opened again (DHCP, a plug): what was found of the first does not hold."""
    link = Transcript([idn(), NO_ERROR, *begun, idn(serial="MY2")])
    driver = make_driver(link)
    with pytest.raises(IdentityError, match=r"is E36313A MY2 now, and was E36313A MY61004803 a moment ago"):
        driver.connect()
    link.check()
    assert not link.is_open


# Settings, and what is asked around them.


def test_settings_are_one_message_each() -> None:
    link, driver = connected()
    for write, message in [
        (Write("state", (1, 2, 3), False), "OUTP 0,(@1,2,3)"),
        (Write("voltage_limit", (1,), 3.3), "VOLT 3.3,(@1)"),
        (Write("current_limit", (2,), 0.5), "CURR 0.5,(@2)"),
        (Write("voltage_protection", (3,), 20.0), "VOLT:PROT 20,(@3)"),
        (Write("current_protection", (3,), True), "CURR:PROT:STAT 1,(@3)"),
        (Write("clear_protection", (1, 3), True), "OUTP:PROT:CLE (@1,3)"),
    ]:
        link.expect([(message, None)])
        driver.write(write)
        link.check()


def test_an_inspection_is_one_message() -> None:
    link, driver = connected()
    coupled = guards("voltage_limit", channel=2, changed={"TRAC": "1", "PAIR": '"ser"'})
    link.expect([joined(NO_ERROR, *guards("voltage_limit"), OFF), joined(NO_ERROR, *coupled, OFF)])
    link.expect([joined(NO_ERROR, *guards("voltage_limit", channel=3), OFF)])
    assert driver.inspect((1,), never, ["voltage_limit"]).bars == []
    bars = driver.inspect((1, 2), never, ["voltage_limit"]).bars
    assert [bar[:22] for bar in bars] == ["outputs 2 and 3 track ", "outputs 2 and 3 are pa"]
    inspection = driver.inspect((3,), never, ["voltage_limit"])
    assert (inspection.bars, inspection.complaints) == ([], [])
    assert inspection.readings[2].voltage_protection == 27.5
    link.check()


def test_what_came_with_an_error_is_asked_anew_when_the_queue_has_been_read() -> None:
    link, driver = connected()
    old: Line = ("SYST:ERR?", '-410,"Query INTERRUPTED"')
    new: Line = ("SYST:ERR?", '-222,"Data out of range"')
    later = poll(outp="1,0,0")
    link.expect([joined(old, OFF), old, NO_ERROR, joined(new, later)])
    inspection = driver.inspect(())
    assert inspection.complaints == ['-410,"Query INTERRUPTED"', '-410,"Query INTERRUPTED"', '-222,"Data out of range"']
    assert inspection.readings[1].state is True
    link.check()


def test_complaints_are_the_units_own_words() -> None:
    link, driver = connected()
    link.expect([("SYST:ERR?", '-221,"Settings conflict;VOLT ""3"""'), NO_ERROR, NO_ERROR])
    assert driver.complaints() == ['-221,"Settings conflict;VOLT ""3"""']
    assert driver.complaints() == []
    link.check()


# A poll ahead.


def test_a_poll_that_was_asked_for_ahead() -> None:
    link, driver = connected()
    assert driver.poll_ahead()
    assert driver.is_poll_under_way
    link.expect([poll(outp="0,1,0")])
    readings = driver.poll(lambda: True)
    assert readings is not None
    assert readings[2].state is True
    assert not driver.is_poll_under_way
    link.check()


def test_a_poll_under_way_is_read_before_the_link_is_closed() -> None:
    link, driver = connected()
    assert driver.poll_ahead()
    link.expect([OFF])
    driver.close()
    link.check()
    assert not link.is_open
    assert not driver.is_poll_under_way
    driver.close()


def test_a_poll_that_fails_ends_the_link() -> None:
    link, driver = connected()
    assert driver.poll_ahead()
    link.expect([(POLL, None)])
    with pytest.raises(LinkError):
        driver.poll(never)
    assert not link.is_open
    assert not driver.is_poll_under_way
    driver.close()
    link.check()


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ((POLL, "5"), lambda driver: driver.poll(never)),
        (("SYST:ERR?", "5"), lambda driver: driver.complaints()),
        ((joined(NO_ERROR, OFF)[0], "5"), lambda driver: driver.inspect(())),
        ((joined(NO_ERROR, OFF)[0], '+0,"No error";5'), lambda driver: driver.inspect(())),
    ],
)
def test_an_answer_of_another_form_ends_the_link(line: Line, call: Callable[[TextDriver], object]) -> None:
    link, driver = connected()
    link.expect([line])
    with pytest.raises(MalformedAnswerError):
        call(driver)
    link.check()
    assert not link.is_open

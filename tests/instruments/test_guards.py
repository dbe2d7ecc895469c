"""The questions on settings at the unit, by literal transcripts: which unit is asked, and what one that does not answer loses."""

from __future__ import annotations

import pytest

from agent.instruments.driver import LinkError, MalformedAnswerError
from tests.instruments.e36300 import (
    NO_ERROR,
    OFF,
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
    individually,
    joined,
    make_driver,
    never,
    one_by_one,
    together_but,
)
from tests.instruments.transcript import Line, Transcript


def test_a_unit_that_is_asked_one_by_one_is_asked_for_the_outputs_that_are_set() -> None:
    link, driver = by_single_channels()
    asked = [
        line for line in one_by_one(guards("voltage_protection", channel=2)) if "(@" not in line[0] or "(@2)" in line[0]
    ]
    link.expect([NO_ERROR, *asked[:-1], ("VOLT:PROT:STAT? (@2)", "0"), *SINGLES])
    (bar,) = driver.inspect([2], never, ["voltage_protection"]).bars
    assert bar.startswith("the over-voltage protection of output 2 is switched off")
    link.check()


def test_questions_that_the_unit_does_not_know_are_given_up_with_a_warning_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unknown = ("OUTP:PAIR?", "DIG:PIN2:FUNC?")
    lines = [
        idn(),
        NO_ERROR,
        OFF,
        (TOGETHER[0], None),
        idn(),
        *UNKNOWN,
        *individually(*unknown),
        together_but(*unknown),
    ]
    link = Transcript(lines)
    driver = make_driver(link)
    driver.connect()
    link.check()
    for question in unknown:
        (warning,) = (
            record.getMessage() for record in caplog.records if f"does not know {question}" in record.getMessage()
        )
        assert "psu1: the unit (MY61004803 at " in warning
        assert "carried out without this check" in warning
    left = [line for line in guards("voltage_limit", channel=2) if line[0] not in unknown]
    link.expect([joined(NO_ERROR, *left, OFF)])
    assert driver.inspect((2,), never, ["voltage_limit"]).bars == []
    # A reconnection does not spend the time again.
    link.expect([idn(), NO_ERROR, OFF, together_but(*unknown)])
    driver.connect()
    link.check()


@pytest.mark.parametrize("errors", [[], ['-410,"Query INTERRUPTED"'], ['-420,"Query UNTERMINATED"']])
def test_a_coupling_goes_on_being_asked_for_where_the_unit_did_not_refuse_to_tell(errors: list[str]) -> None:
    """The unit reports nothing for it, or an error of the link's own making: it is asked once more."""
    queue: list[Line] = [*(("SYST:ERR?", error) for error in errors), NO_ERROR]
    link = Transcript([idn(), NO_ERROR, OFF, (TOGETHER[0], None), idn(), *queue])
    driver = make_driver(link)
    link.expect([("OUTP:TRAC:STAT?", None), idn(), *queue, *all_guards()] if errors else [TOGETHER])
    driver.connect()
    link.check()
    tracked = guards("voltage_limit", channel=3, changed={"TRAC": "1"})
    link.expect([NO_ERROR, *tracked, OFF] if errors else [joined(NO_ERROR, *tracked, OFF)])
    (bar,) = driver.inspect([3], never, ["voltage_limit"]).bars
    assert bar.startswith("outputs 2 and 3 track each other")
    link.check()


def test_a_silence_and_a_refusal_by_accident_take_no_check_away() -> None:
    """Neither is told twice: the connection is tried again."""
    before: list[Line] = []
    for line in all_guards():
        if line[0] == "OUTP:COUP:CHAN?":
            break
        before.append(line)
    silence: list[Line] = [("OUTP:COUP:CHAN?", None), idn(), NO_ERROR]
    accident: list[Line] = [
        ("OUTP:COUP:CHAN?", None),
        idn(),
        *UNKNOWN,
        ("OUTP:COUP:CHAN?", None),
        ("SYST:ERR?", "NONE"),
    ]
    link = Transcript([idn(), NO_ERROR, OFF, (TOGETHER[0], None), idn(), *UNKNOWN, *before, *silence, *accident])
    link.expect([idn(), NO_ERROR])
    driver = make_driver(link)
    with pytest.raises(LinkError):
        driver.connect()
    link.check()


def test_one_refusal_by_accident_takes_no_check_away() -> None:
    """A late answer of another question, or a message that was garbled once, looks like an unknown question."""
    once: list[Line] = []
    again: list[Line] = [("SYST:ERR?", "NONE"), idn(), NO_ERROR]  # the answer comes in place of the error
    for ask, answer in all_guards():
        refused = [(ask, None), idn(), *UNKNOWN, (ask, None), *again] if ask == "OUTP:COUP:CHAN?" else []
        once += [*refused, (ask, answer)]
    lines = [idn(), NO_ERROR, OFF, (TOGETHER[0], None), idn(), *UNKNOWN, *once]
    link = Transcript(lines)
    driver = make_driver(link)
    driver.connect()
    link.check()
    asked = guards("state", changed={"COUP": "ALL"})
    link.expect([NO_ERROR, *asked, OFF])
    assert driver.inspect([1], never, ["state"]).conditions.coupled == {1, 2, 3}
    link.check()


@pytest.mark.parametrize("answer", [None, "CH1;2", "FOUR", "CH7,CH8"])
def test_commands_are_refused_where_the_unit_is_silent_on_what_they_would_do(answer: str | None) -> None:
    """It neither answers in the guide's form nor refuses: polls and offs go on, and it is asked again at the next connection."""
    silence: list[Line] = [("OUTP:COUP:CHAN?", answer), idn(), NO_ERROR]
    twice: list[Line] = [(TOGETHER[0], None), idn(), NO_ERROR] * 2
    lines: list[Line] = []
    for ask, known in all_guards():
        if ask == "OUTP:COUP:CHAN?":
            break
        lines.append((ask, known))
    rest = all_guards()[len(lines) + 1 :]
    link = Transcript([idn(), NO_ERROR, OFF, *twice, *lines, *silence, *silence, *rest])
    link.expect([together_but("OUTP:COUP:CHAN?")])
    driver = make_driver(link)
    driver.connect()
    link.check()
    left = [line for line in guards("state") if line[0] != "OUTP:COUP:CHAN?"]
    link.expect([joined(NO_ERROR, *left, OFF), joined(NO_ERROR, *guards("voltage_limit"), OFF)])
    assert driver.inspect([1], never, ["state"]).silent == ["OUTP:COUP:CHAN? was not answered"]
    assert driver.inspect([1], never, ["voltage_limit"]).silent == []
    link.expect(connecting()[:-1])
    driver.connect()
    link.expect([joined(NO_ERROR, *guards("state"), OFF)])
    assert driver.inspect([1], never, ["state"]).silent == []
    link.check()


def test_a_unit_that_is_silent_on_three_questions_is_not_asked_the_others() -> None:
    """Each takes two timeouts, and an off that comes meanwhile waits for all of them."""
    twice: list[Line] = [(TOGETHER[0], None), idn(), NO_ERROR] * 2
    silence: list[Line] = []
    for ask, _ in all_guards()[:3]:
        silence += [(ask, None), idn(), NO_ERROR] * 2
    link = Transcript([idn(), NO_ERROR, OFF, *twice, *silence, joined(NO_ERROR, OFF)])
    driver = make_driver(link)
    driver.connect()
    link.check()
    link.expect([joined(NO_ERROR, OFF)])
    assert len(driver.inspect([2], never, ["state", "voltage_limit"]).silent) > 3
    link.check()


def test_an_answer_about_the_unit_in_another_form_closes_the_link() -> None:
    forms: list[dict[str, str]] = [{"COUP": "CH1,CH9"}, {"RISE": "1,2"}, {"FALL": "soon,0,0"}, {"VOLT:MODE": "FIX"}]
    for changed in forms:
        link, driver = connected()
        link.expect([joined(NO_ERROR, *guards("state", changed=changed), OFF)])
        with pytest.raises(MalformedAnswerError):
            driver.inspect([1], never, ["state"])
        assert not link.is_open


@pytest.mark.parametrize("it_tells", [True, False])
def test_a_unit_that_takes_no_other_question_beside_a_poll_is_asked_one_by_one(it_tells: bool) -> None:
    hello = [idn(), NO_ERROR, OFF, (TOGETHER[0], None), idn()]
    link = Transcript([*hello, REFUSED, NO_ERROR] if it_tells else [*hello, NO_ERROR])
    driver = make_driver(link)
    if not it_tells:
        link.expect([(TOGETHER[0], None), idn(), NO_ERROR])
    link.expect(all_guards())
    driver.connect()
    asked = guards("current_limit", channel=2)
    link.expect([NO_ERROR, *asked, OFF])
    inspection = driver.inspect((1, 2), never, ["current_limit"])
    assert (inspection.complaints, inspection.bars, inspection.readings[1].state) == ([], [], False)
    link.expect([NO_ERROR, OFF])
    driver.inspect(())
    link.check()

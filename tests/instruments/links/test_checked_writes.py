"""A setting and the question for errors in one message, by literal transcripts: also where the unit drops the question."""

from __future__ import annotations

import pytest

from agent.instruments.driver import LinkClosedError, LinkError, MalformedAnswerError, Write
from agent.instruments.text.driver import TextDriver
from tests.instruments.e36300 import (
    NO_ERROR,
    OFF,
    by_single_channels,
    checked,
    connected,
    connecting,
    idn,
    make_driver,
)
from tests.instruments.transcript import Line, Transcript
from tests.support import inside

VOLT = Write("voltage_limit", (1,), 3.0)
REFUSAL: Line = ("SYST:ERR?", '-113,"Undefined header"')
RANGE: Line = ("SYST:ERR?", '-222,"Data out of range"')
DROPPED: Line = (checked("VOLT 3,(@1)")[0], None)


def test_a_setting_and_the_question_for_errors_are_one_message() -> None:
    link, driver = connected()
    link.expect([checked("VOLT 3,(@1)")])
    assert driver.write_checked(VOLT) == []
    link.expect([checked("CURR:PROT:STAT 1,(@2)")])
    assert driver.write_checked(Write("current_protection", (2,), True)) == []
    link.check()


def test_a_refusal_empties_the_queue() -> None:
    link, driver = connected()
    link.expect([checked("VOLT 3,(@1)", RANGE), REFUSAL, NO_ERROR])
    assert driver.write_checked(VOLT) == ['-222,"Data out of range"', '-113,"Undefined header"']
    link.check()


def test_an_off_is_a_message_of_its_own() -> None:
    link, driver = connected()
    link.expect([("OUTP 0,(@1,2)", None)])
    assert driver.write_checked(Write("state", (1, 2), False)) is None
    link.check()


def test_a_unit_that_takes_no_compound_messages_is_asked_by_itself() -> None:
    link, driver = by_single_channels()
    link.expect([("VOLT 3,(@1)", None)])
    assert driver.write_checked(VOLT) is None
    link.check()


@pytest.mark.parametrize("beside", [[], [("SYST:ERR?", '-420,"Query UNTERMINATED"')]])
def test_a_unit_that_drops_the_question_with_the_setting_gets_two_messages_from_then_on(
    beside: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    link, driver = connected()
    link.expect([DROPPED, idn(), REFUSAL, *beside, NO_ERROR])
    assert driver.write_checked(VOLT) == ['-113,"Undefined header"']
    assert link.is_open
    link.expect([("VOLT 3,(@1)", None), OFF])
    assert driver.write_checked(VOLT) is None
    assert driver.poll(lambda: False)
    # Neither a reconnection makes it forget that, nor does it tell it again.
    link.expect([*connecting()[:-1], ("VOLT 3,(@1)", None)])
    driver.connect()
    assert driver.write_checked(VOLT) is None
    # It holds for no other unit.
    link.expect([idn(serial="MY2"), *connecting()[1:-1], checked("VOLT 3,(@1)")])
    driver.connect()
    assert driver.write_checked(VOLT) == []
    link.check()
    assert sum("two messages each" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("error", [None, '-410,"Query INTERRUPTED"', '-420,"Query UNTERMINATED"', '-500,"Power on"'])
def test_no_answer_and_no_refusal_is_a_broken_link(error: str | None) -> None:
    """The setting may or may not have been carried out; the next one goes with its question again."""
    link, driver = connected()
    link.expect([DROPPED, idn(), *([("SYST:ERR?", error)] if error else []), NO_ERROR])
    with pytest.raises(LinkError, match="no answer: timeout"):
        driver.write_checked(VOLT)
    assert not link.is_open
    link.expect([*connecting()[:-1], checked("VOLT 3,(@1)")])
    driver.connect()
    assert driver.write_checked(VOLT) == []
    link.check()


@pytest.mark.parametrize("after", [[idn(serial="MY2")], [("*IDN?", None)], [idn(), ("SYST:ERR?", None)]])
def test_a_unit_that_can_not_be_asked_again_is_a_broken_link(after: list[Line]) -> None:
    link, driver = connected()
    link.expect([DROPPED, *after])
    with pytest.raises(LinkError, match="no answer: timeout"):
        driver.write_checked(VOLT)
    assert not link.is_open
    link.check()


def test_an_answer_of_another_form_closes_the_link() -> None:
    link, driver = connected()
    link.expect([checked("VOLT 3,(@1)", ("SYST:ERR?", "5"))])
    with pytest.raises(MalformedAnswerError):
        driver.write_checked(VOLT)
    assert not link.is_open
    link.check()


class Closing(Transcript):
    """A unit that closes the link at a message, which may have got there."""

    def ask(self, message: str, length: tuple[int, int] | None = None) -> str:
        if message == DROPPED[0]:
            self._next(message)
            self.close()
            raise LinkClosedError("the unit closed the connection", sent=True)
        return super().ask(message, length)


def test_a_setting_is_not_sent_again_on_a_link_that_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the queue asked for a refusal: the unit may have been switched off and on."""
    inside.reopen_at_once(monkeypatch.setattr)
    link = Closing([*connecting()[:-1], DROPPED])
    driver: TextDriver = make_driver(link)
    driver.connect()
    with pytest.raises(LinkClosedError):
        driver.write_checked(VOLT)
    assert link.sent.count(DROPPED[0]) == 1
    link.check()

"""The text driver beside the shipped series: commands for one output each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.instruments.catalogue import models_of
from agent.instruments.catalogue.schema import Series
from agent.instruments.driver import LinkError, Write
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.catalogue.test_models import ONE_BY_ONE, guarded
from tests.instruments.e36300 import (
    NO_ERROR,
    joined,
)
from tests.instruments.transcript import Line, Transcript

# A series whose commands take one output.


@pytest.fixture
def one_by_one() -> tuple[Transcript, TextDriver]:
    return connected_to(ONE_BY_ONE)


_QUESTIONS = [("MEAS:VOLT?", "1.0"), ("MEAS:CURR?", "0.1"), ("VOLT?", "1.0"), ("CURR?", "1.0"), ("OUTP?", "1")]
POLL = joined(*((f"{ask} CH{n}", answer) for ask, answer in _QUESTIONS for n in (1, 2, 3)))


def connected_to(series: dict[str, Any], *conditions: Line) -> tuple[Transcript, TextDriver]:
    """A driver of a series, connected to a unit that is asked for these conditions."""
    (model,) = models_of(Series.model_validate(series))
    link = Breaking([("*IDN?", "Test,T100,1,1"), NO_ERROR, POLL, joined(NO_ERROR, *conditions, POLL)])
    driver = TextDriver(link, name="psu1", models=(model,), knowledge=Knowledge())
    outputs = driver.connect().outputs
    assert tuple(replace(output, tells=None) for output in outputs) == model.outputs
    link.check()
    return link, driver


def test_a_condition_of_one_output_a_question_goes_with_the_poll_too() -> None:
    series = guarded(ask="LOCK? CH{ch}", expect=["0"], text="output {channel} is locked", remedy="unlock it")
    link, driver = connected_to(series, *((f"LOCK? CH{n}", "0") for n in (1, 2, 3)))
    link.expect([joined(NO_ERROR, ("LOCK? CH2", "1"), POLL)])
    assert driver.inspect([2]).bars == ["output 2 is locked; unlock it"]
    link.check()


def test_a_unit_wide_off_goes_to_every_output(one_by_one: tuple[Transcript, TextDriver]) -> None:
    link, driver = one_by_one
    link.expect([("OUTP CH1,0", None), ("OUTP CH2,0", None), ("OUTP CH3,0", None)])
    driver.write(Write("state", (1, 2, 3), False))
    link.check()
    link.expect([("CH2:VOLT 3.3", None)])
    driver.write(Write("voltage_limit", (2,), 3.3))
    link.check()


def test_a_complaint_about_one_output_keeps_the_off_from_none_of_the_others(
    one_by_one: tuple[Transcript, TextDriver],
) -> None:
    link, driver = one_by_one
    link.expect([("OUTP CH1,0", None), ("OUTP CH2,0", None), ("OUTP CH3,0", None)])
    link.expect([("SYST:ERR?", '-222,"CH1 is locked"'), NO_ERROR])
    driver.write(Write("state", (1, 2, 3), False))
    assert driver.complaints() == ['-222,"CH1 is locked"']
    link.check()


class Breaking(Transcript):
    """A link that some messages break, as often as they stand in ``breaks``."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__(lines)
        self.breaks: list[str] = []

    def tell(self, message: str) -> None:
        if message in self.breaks:
            self.breaks.remove(message)
            self.sent.append(message)
            self.close()
            raise LinkError("not sent: the link broke")
        super().tell(message)


@pytest.mark.parametrize(
    ("breaks", "sent"),
    [
        ([1], [1, "*IDN?", 1, 2, 3]),
        ([1, 1], [1, "*IDN?", 1, "*IDN?", 2, 3]),
        ([2, 2, 3, 3], [1, 2, "*IDN?", 2, "*IDN?", 3, "*IDN?", 3]),
        ([1, 1, 2, 2, 3, 3], [1, "*IDN?", 1, "*IDN?", 2, "*IDN?", 2, "*IDN?", 3, "*IDN?", 3]),
    ],
)
def test_an_off_that_breaks_the_link_reaches_the_other_outputs(
    one_by_one: tuple[Transcript, TextDriver], breaks: list[int], sent: list[int | str]
) -> None:
    link, driver = one_by_one
    assert isinstance(link, Breaking)
    messages = [message if isinstance(message, str) else f"OUTP CH{message},0" for message in sent]
    link.breaks = [f"OUTP CH{index},0" for index in breaks]
    told, left = len(link.sent), list(link.breaks)
    for message in messages:
        if message in left:
            left.remove(message)
        else:
            link.expect([(message, "Test,T100,1,1" if message == "*IDN?" else None)])
    with pytest.raises(LinkError, match="the link broke"):
        driver.write(Write("state", (1, 2, 3), False))
    assert link.sent[told:] == messages
    assert not link.is_open


def test_another_setting_that_breaks_the_link_is_sent_to_no_other_output(
    one_by_one: tuple[Transcript, TextDriver],
) -> None:
    link, driver = one_by_one
    assert isinstance(link, Breaking)
    link.breaks = ["OUTP CH1,1"]
    told = len(link.sent)
    with pytest.raises(LinkError, match="the link broke"):
        driver.write(Write("state", (1, 2, 3), True))
    assert link.sent[told:] == ["OUTP CH1,1"]


class Pausing(Transcript):
    """A unit that needs a pause before each message, and an off that comes in the pause of the ``off_in``-th one."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__(lines)
        self.off_in = 0
        self.pauses_made = 0

    def wait_until_ready(self) -> bool:
        self.pauses_made += 1
        return True

    def off_waits(self) -> bool:
        return self.off_in != 0 and self.pauses_made >= self.off_in


@pytest.mark.parametrize("off_in", [1, 2, 3])
def test_an_off_that_comes_in_a_pause_before_a_message_of_a_poll_goes_instead_of_it(off_in: int) -> None:
    (model,) = models_of(Series.model_validate({**ONE_BY_ONE, "link": {"compound": "no"}}))
    poll: list[Line] = [(f"{ask} CH{n}", answer) for ask, answer in _QUESTIONS for n in (1, 2, 3)]
    link = Pausing([("*IDN?", "Test,T100,1,1"), NO_ERROR, *poll])
    driver = TextDriver(link, name="psu1", models=(model,), knowledge=Knowledge())
    driver.connect()
    link.check()
    link.off_in, link.pauses_made = off_in, 0
    link.expect(poll[: off_in - 1])
    assert driver.poll(link.off_waits) is None
    link.check()
    link.off_in = 0
    link.expect(poll)
    assert driver.poll(link.off_waits) is not None
    link.check()

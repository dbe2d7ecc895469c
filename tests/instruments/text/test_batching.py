"""Several questions in one message: which units get them, by literal transcripts of made-up units."""

from __future__ import annotations

from typing import Any

import pytest

from agent.instruments.catalogue import Series, models_of
from agent.instruments.driver import MalformedAnswerError, never
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.text.made_up import IDN, driver_of, series
from tests.instruments.transcript import Line, Transcript

TWO = [{"ask": "V?", "answer": "{voltage}"}, {"ask": "I?", "answer": "{current}"}]


def test_a_file_that_allows_one_question_a_message_is_believed() -> None:
    link, driver = driver_of(series(polls=TWO), [IDN, ("V?", "1.0"), ("I?", "0.1")])
    link.expect([("V?", "2.0"), ("I?", "0.2")])
    readings = driver.poll(never)
    assert readings is not None
    assert readings[1][:2] == (2.0, 0.2)
    link.check()


@pytest.mark.parametrize("answer", ["1.0", "1.0;", "1.0;ERR", None])
def test_a_unit_that_reports_no_errors_comes_online_though_it_takes_no_large_message(answer: str | None) -> None:
    """Some answer the first question only, some nothing. None of them has an error queue that would say so."""
    data = series(polls=TWO, link={"compound": "probe"})
    driver_of(data, [IDN, ("V?;:I?", answer), IDN, ("V?", "1.0"), ("I?", "0.1")])


def test_a_unit_whose_errors_say_nothing_of_a_large_message_is_asked_twice_before_it_gets_smaller_ones() -> None:
    data = series(polls=TWO, link={"compound": "probe"}, errors={"ask": "ERR?", "none": "0"})
    silence: list[Line] = [("V?;:I?", None), IDN, ("ERR?", "0")]
    link = Transcript([IDN, ("ERR?", "0"), *silence, *silence, ("V?", "1.0"), ("I?", "0.1")])
    driver = TextDriver(link, name="psu1", models=models_of(Series.model_validate(data)), knowledge=Knowledge())
    driver.connect()
    link.check()


@pytest.mark.parametrize("errors", [{}, {"errors": {"ask": "ERR?", "none": "0"}}])
def test_a_unit_that_answered_a_large_message_is_asked_in_no_smaller_ones_when_it_answers_anything(
    errors: dict[str, Any],
) -> None:
    """Its answers are garbled then: those to single questions have the same forms, and might be taken for each other's."""
    none: list[Line] = [("ERR?", "0")] if errors else []
    data = series(polls=TWO, link={"compound": "probe"}, **errors)
    link, driver = driver_of(
        data, [IDN, *none, ("V?;:I?", "1.0;0.1"), *([("ERR?;:V?;:I?", "0;1.0;0.1")] if errors else [])]
    )
    for _ in range(3):
        link.expect([IDN, *none, ("V?;:I?", "1.0"), IDN, *none])
        with pytest.raises(MalformedAnswerError):
            driver.connect()
        link.check()


def test_messages_are_no_longer_than_the_unit_takes() -> None:
    polls = [{"ask": f"Q{n}?", "answer": "{_}{voltage}" if n == 1 else "{_}{current}"} for n in (1, 2)]
    polls += [{"ask": "VSET?", "answer": "{voltage_limit}"}, {"ask": "ISET?", "answer": "{current_limit}"}]
    by_length: list[Line] = [IDN, ("Q1?;:Q2?", "1;2"), ("VSET?", "3"), ("ISET?", "4")]
    driver_of(series(polls=polls, link={"compound": "yes", "longest": 10}), by_length)
    by_parts: list[Line] = [IDN, ("Q1?;:Q2?;:VSET?", "1;2;3"), ("ISET?", "4")]
    driver_of(series(polls=polls, link={"compound": "yes", "parts": 3}), by_parts)

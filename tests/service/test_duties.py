"""Duties of the main thread: none ends the daemon, none keeps another from its turn, the end has its order."""

from __future__ import annotations

import logging

import pytest

from agent.service.duties import Duty, in_order


def test_a_duty_is_called_at_its_interval() -> None:
    calls: list[float] = []
    duty = Duty("metrics", calls.append, interval=10.0)
    for now in (100.0, 101.0, 109.9, 110.0, 111.0, 125.0):
        duty.run(now)
    assert calls == [100.0, 110.0, 125.0]


def test_a_duty_without_an_interval_is_called_each_time() -> None:
    calls: list[float] = []
    duty = Duty("the reload", calls.append)
    for now in (1.0, 1.0, 1.25):
        duty.run(now)
    assert calls == [1.0, 1.0, 1.25]


def test_a_duty_that_could_not_be_done_stays_due() -> None:
    calls: list[float] = []
    is_possible = False

    def act(now: float) -> bool:
        calls.append(now)
        return is_possible

    duty = Duty("metrics", act, interval=10.0)
    duty.run(100.0)
    duty.run(100.25)
    is_possible = True
    duty.run(100.5)
    duty.run(101.0)
    assert calls == [100.0, 100.25, 100.5]


def test_a_duty_that_fails_is_logged_with_its_traceback_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    def fail(now: float) -> None:
        raise KeyError(now)

    duty = Duty("Home Assistant's discovery", fail)
    for now in (0.0, 0.25, 59.0, 61.0):
        duty.run(now)
    assert duty.failures == 4
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2  # at most one traceback a minute
    for record in told:
        assert "Home Assistant's discovery failed" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[0] is KeyError


def test_no_exception_keeps_the_rest_of_the_end_from_being_done(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("b")
        raise RuntimeError("dictionary changed size during iteration")

    in_order([("a", lambda: done.append("a")), ("b", fail), ("c", lambda: done.append("c"))])
    assert done == ["a", "b", "c"]
    assert "b failed" in caplog.text
    assert "dictionary changed size" in caplog.text

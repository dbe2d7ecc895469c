"""The limit for lines of the log that come again and again."""

from __future__ import annotations

import logging

from hypothesis import given
from hypothesis import strategies as st

from agent.service.floods import MOST_ALIKE, MOST_KINDS, PERIOD, Floods


def record(
    *args: object, line: int = 1, level: int = logging.WARNING, text: str = "%s: refused: %s (%s)"
) -> logging.LogRecord:
    return logging.LogRecord("agent.x", level, "x.py", line, text, args, None)


def test_the_rest_of_a_flood_is_one_line() -> None:
    begun: list[bool] = []
    floods = Floods(lambda: begun.append(True))
    admitted = [floods.admits(record("psu1", number, "duplicate"), 100.0 + number / 100) for number in range(5000)]
    assert admitted == [True] * MOST_ALIKE + [False] * (5000 - MOST_ALIKE)
    assert begun == [True]
    assert floods.summaries(101.0) == ([], PERIOD - 1)
    (told,), due = floods.summaries(100.0 + PERIOD)
    assert told.getMessage() == f"{5000 - MOST_ALIKE} more lines like this in 60 s: psu1: refused: 4999 (duplicate)"
    assert (told.levelno, told.name, due) == (logging.WARNING, "agent.x", None)
    assert floods.admits(record("psu1", 1, "duplicate"), 101.0 + PERIOD)


def test_a_flood_leaves_no_other_line_out() -> None:
    """Neither of another unit, nor with another code, nor from another place."""
    floods = Floods()
    for number in range(1000):
        floods.admits(record("psu1", number, "duplicate"), 100.0)
    assert floods.admits(record("psu2", 1, "duplicate"), 100.0)
    assert floods.admits(record("psu1", 1, "instrument_error"), 100.0)
    assert floods.admits(record("psu1", 1, "duplicate", line=2), 100.0)
    assert not floods.admits(record("psu1", 1, "duplicate"), 100.0)


def test_debugging_and_the_end_are_never_left_out() -> None:
    floods = Floods()
    for level in (logging.DEBUG, logging.CRITICAL):
        assert all(floods.admits(record("psu1", level=level), 100.0) for _ in range(1000))


def test_what_comes_now_and_then_is_never_left_out() -> None:
    floods = Floods()
    assert all(floods.admits(record("psu1"), 100.0 + number * PERIOD / MOST_ALIKE) for number in range(1000))


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2 * PERIOD)), max_size=300))
def test_every_line_is_logged_or_counted(lines: list[tuple[int, float]]) -> None:
    floods = Floods()
    now, admitted, counted = 0.0, 0, 0
    for unit, later in lines:
        now += later / 20
        admitted += floods.admits(record(f"psu{unit}"), now)
        told, _ = floods.summaries(now)
        counted += sum(int(summary.args[0]) for summary in told if isinstance(summary.args, tuple))  # type: ignore[call-overload]
    told, due = floods.summaries(now + PERIOD)
    counted += sum(int(summary.args[0]) for summary in told if isinstance(summary.args, tuple))  # type: ignore[call-overload]
    assert (admitted + counted, due) == (len(lines), None)


def test_names_that_somebody_makes_up_take_no_memory() -> None:
    floods = Floods()
    admitted = sum(floods.admits(record(f"psu{number}"), 100.0) for number in range(3 * MOST_KINDS))
    assert admitted == MOST_KINDS + MOST_ALIKE
    assert len(floods._kinds) == MOST_KINDS + 1
    assert floods.admits(record("psu1"), 100.0 + 2 * PERIOD)


def test_arguments_of_any_shape() -> None:
    floods = Floods()
    shapes: list[tuple[object, ...]] = [(), (None,), (["list"],), ({"a": 1},), (b"bytes", {}), (1, ["x"], "offline")]
    for args in shapes:
        assert floods.admits(record(*args), 100.0)

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.recording.printing import clock, counted, summary
from agent.cli.recording.times import parse_duration, parse_moment
from agent.client.recording.runs import Missing
from agent.client.recording.statistics import Statistics
from agent.protocol.messages import ChannelState
from tests.client.test_fleet import state
from tests.properties import examples

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("2 d", 172_800),
        ("1.5H", 5400),
        ("250ms", 0.25),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 x", "-5s", "0", "0s", "1e3", "1,5h", "inf", "nan", "99999d", "10m5"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration; give|is out of range; give"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "right"), [("1,5h", "1.5h"), (" 0,5 ", "0.5"), ("2,5 min", "2.5 min")])
def test_a_decimal_comma_is_told_with_what_to_write(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"; write {right}, with a point"):
        parse_duration(text)


@given(st.text())
@examples()
def test_any_text_is_a_duration_or_told_to_be_none(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) > 0


@given(st.text())
@examples()
def test_any_text_is_a_moment_to_come_or_told_to_be_none(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_moment(text, NOW) > NOW


def test_moments() -> None:
    assert parse_moment("2026-11-26T12:30Z", NOW) == NOW + timedelta(minutes=30)
    assert parse_moment("2026-11-26T13:30+01:00", NOW) == NOW + timedelta(minutes=30)
    local = NOW.astimezone() + timedelta(minutes=5)
    assert parse_moment(local.strftime("%H:%M"), NOW) == local
    assert parse_moment(local.strftime("%Y-%m-%dT%H:%M"), NOW) == local
    past = NOW.astimezone() - timedelta(minutes=5)
    assert parse_moment(past.strftime("%H:%M:%S"), NOW) == past + timedelta(days=1)
    for text in ("2026-11-26", "25:00", "12:61"):
        with pytest.raises(ValueError, match="; give "):
            parse_moment(text, NOW)


def test_what_people_read() -> None:
    assert (clock(3 * 3600 + 59.9), clock(2 * 86400)) == ("03:00:59", "2d 00:00:00")
    assert (counted(1, "sample"), counted(2000, "sample"), counted(0, "event")) == (
        "1 sample",
        "2,000 samples",
        "0 events",
    )


def test_the_summary_fits_a_terminal_and_names_what_is_missing() -> None:
    figures = Statistics()
    for seq in range(100):
        payload = state(
            "a-unit-with-a-long-name",
            1,
            seq=seq,
            name="A\x1b[31mlong name",
            voltage=-599.123456,
            current=99.1,
            power=1e4,
        )
        figures.add(ChannelState.model_validate_json(payload), seq * 100_000, figures, late=seq == 50)
    key = ("a-unit-with-a-long-name", 1)
    gaps = [Missing(7, 7, None, 5000), Missing(9, 12, 5000, 6000), *(Missing(n, n, 1, 2) for n in range(20, 30))]
    lines = summary({key: figures}, {key: gaps}, 1)
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert "1 event of these channels." in lines
    assert "1 sample came late, out of the order of time (column late)." in lines
    start = lines.index("a-unit-with-a-long-name/1: 15 samples missing:")
    assert lines[start + 1 :] == [
        "  seq 7 (before 00:00:05.000 UTC)",
        "  seq 9 to 12 (after 00:00:05.000 before 00:00:06.000 UTC)",
        "  seq 20 (after 00:00:00.001 before 00:00:00.002 UTC)",
        "  seq 21 (after 00:00:00.001 before 00:00:00.002 UTC)",
        "  seq 22 (after 00:00:00.001 before 00:00:00.002 UTC)",
        "  and 7 more gaps",
    ]

"""Each benchmark for a moment: that it runs, and that its figures can be what they say. No figure is judged here."""

from __future__ import annotations

import math
import shutil
import sys
from xml.etree import ElementTree as ET

import pytest

from benchmarks import command, fleet, off, outage, plainloop, polling, psudaemon, scale, slowline
from benchmarks.offparts.cases import CASES, Case
from benchmarks.rig import POLL_MESSAGE
from benchmarks.scaleparts import load
from tests.support.figures import Figure, table
from tests.support.frozen import NoFrozenDiskError

pytestmark = pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None or not sys.platform.startswith("linux"),
    reason="the benchmarks need mosquitto_sub and /proc",
)


@pytest.mark.parametrize("canned", [False, True])
def test_polling(canned: bool) -> None:
    for _ in range(5):  # they are measured one after the other, on a machine that others use
        result = polling.against_bare_loop(canned=canned, rounds=1, seconds=0.5)
        if result.agent < result.rival:
            break
    assert 0 < result.agent < result.rival
    assert result.ratio == pytest.approx(result.agent / result.rival)
    assert 1 <= result.messages_per_poll < 1.5
    assert 0 < result.cpu_per_poll < 0.1


def test_psudaemon() -> None:
    result = psudaemon.measure(rounds=1, seconds=0.5, latency=0.002)
    assert result.ratio == pytest.approx(result.agent / result.rival)
    assert result.ratio > 1  # one message against fifteen, each of which waits for the unit
    assert result.agent < 1 / 0.002
    assert result.rival < 1 / (15 * 0.002)


def test_command() -> None:
    result = command.measure(rounds=1, count=5, latency=0.002)
    assert POLL_MESSAGE in result.messages[-1]  # it reads back
    assert "VOLT 1,(@1)" in result.messages
    # Both are measured at other moments of a machine that others use, so one may be longer than the other; but each waits for the
    # unit, which takes 2 ms for an answer.
    answers = len([message for message in result.messages if "?" in message])
    assert answers > 0
    assert min(result.scpi, result.command) >= answers * 0.002
    assert result.echo > 0


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "quiet1"], ids=lambda case: case.name)
def test_off(case: Case) -> None:
    try:
        result = off.measure(case, count=2)
    except NoFrozenDiskError as error:
        pytest.skip(str(error))
    assert 0 < len(result.others) <= len(result.offs) <= 2
    assert all(0 < seconds < 5 for seconds in result.others)
    if not result.unanswered:
        assert all(0 < seconds < 5 for seconds in result.offs)
    assert result.said


def test_percentiles() -> None:
    values = [n / 1000 for n in range(1, 201)]
    assert off.percentile(values, 50) == 0.1
    assert off.percentile(values, 99) == 0.198
    assert off.percentile([1.0, math.inf], 99) == math.inf
    assert off.shown([0.001, math.inf]) == "1.0 / never / never"


def test_fleet() -> None:
    result = fleet.measure(count=5, seconds=1.0, interval=0.2)
    assert result.missing == 0
    assert result.ambiguous == 0
    assert result.states > 5 * 3 * 5
    assert 5e6 < result.resident_bytes <= result.peak_bytes < 1e9
    assert 0 < result.cores < 2


@pytest.mark.parametrize("unanswered", [False, True])
def test_start(unanswered: bool) -> None:
    result = outage.start(6, refusing=1, silent=1, unanswered=unanswered, seconds=0.5)
    assert result.seconds is not None
    assert (result.polled, result.offline) == (4, 2)
    assert 5e6 < result.cost.resident_bytes < 1e9


def test_return() -> None:
    result = outage.lose_and_return(4, away=0.5, seconds=0.5)
    assert result.noticed is not None
    assert result.seconds is not None
    assert result.polled == 4


def test_scale() -> None:
    results = [load.measure(count, 0.2, seconds=0.5, commands=3) for count in (1, 4)]
    for result in results:
        assert 0 < result.processor < 0.1
        assert 0 < result.cores < 2
        assert all(0 < part < 2 for part in result.rig)
        assert 5e6 < result.memory < 1e9
        assert 0 < result.command(50) <= result.command(99) < 5
        assert 0 < result.echo(50) <= result.echo(99) < 5
        assert len(result.commands) == len(result.echos) == 3
    assert scale.rows(results, plain=0.001).count("\n| ") == 2
    picture = ET.fromstring(scale.plot(results))
    assert len(picture.findall("{*}polyline")) == 5
    assert len(picture.findall("{*}circle")) == 5 * len(results) - 1


def test_busy() -> None:
    result = scale.busy(2, 1, commands=2, seconds=0.2)
    assert result.median == pytest.approx(result.many.command(50) / result.one.command(50))
    assert result.p99 == pytest.approx(result.many.command(99) / result.one.command(99))
    assert [figure.reached for figure in scale.of_busy(result, "x")] == [result.median <= 2, result.p99 <= 5]


def test_plainloop() -> None:
    result = plainloop.measure(rounds=1, seconds=0.5)
    assert 0 < result.agent < 0.1
    assert 0 < result.plain < 0.1
    assert result.ratio == pytest.approx(result.agent / result.plain)


def test_slowline() -> None:
    result = slowline.measure(seconds=1.5, count=3)
    assert 0.1 < result.ratio < 2
    assert all("?" in message for message in result.messages)
    assert len(result.messages) == len(set(result.messages)) > 1
    assert len(result.between) == 3
    assert all(0 < seconds < 5 for seconds in result.seconds)


def test_table() -> None:
    assert table([Figure("a", "1", "> 0", True), Figure("b c", "2", "< 1", False), Figure("d", "3")]).splitlines() == [
        "| figure | measured | target |            |",
        "|--------|----------|--------|------------|",
        "| a      | 1        | > 0    | reached    |",
        "| b c    | 2        | < 1    | **missed** |",
        "| d      | 3        |        |            |",
    ]

"""Dashboards of a lab of 300 channels ask for little."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack.grafana import ALL, DASHBOARDS, fill_in
from tests.stack.services import Store

from .points import event, figures, info, sample, status

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

UNITS, HOUR = 100, 3600


def lab() -> Iterator[Iterator[str]]:
    """Twenty minutes of 300 channels at 1 Hz, after a month with a sample each three hours; some thousand lines at a time."""
    places = [f"bench{unit // 25}/psu{unit:03}/{channel}" for unit in range(UNITS) for channel in (1, 2, 3)]
    yield (status("agent", f"bench{number}", HOUR, "online") for number in range(4))
    yield (status("unit", f"psu{unit:03}", HOUR, "online") for unit in range(UNITS))
    yield (info(f"bench{unit // 25}", f"psu{unit:03}", HOUR) for unit in range(UNITS))
    yield (figures(f"bench{number}", ago) for number in range(4) for ago in range(0, HOUR, 10))
    yield (
        event(place, ago, "mode", "mode CV → CC by the unit itself")
        for place in places[:5]
        for ago in range(0, HOUR, 2)
    )
    for ago in range(29 * 24 * HOUR, HOUR, -3 * HOUR):
        yield (sample(place, ago) for place in places)
    for start in range(1200, 0, -30):
        yield (sample(place, ago) for ago in range(start, start - 30, -1) for place in places)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("large")) as store:
        for lines in lab():
            store.write(lines)
        yield store


def processor_time(pid: int) -> float:
    """s that the process has computed, whatever else the machine does."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def answers(store: Store, name: str) -> dict[tuple[str, str], int]:
    """How many series each query of the dashboard gets, one after another."""
    one_unit = {"agent": "bench0", "psu": "psu003"} if name == "unit" else {}
    found = {}
    for panel in DASHBOARDS[name]["panels"]:
        interval = panel.get("interval", "10s" if name == "agents" else "1s")
        for target in panel["targets"]:
            if "query" in target:
                text = fill_in(target["query"], **ALL | one_unit | {"__interval": interval})
                found[panel["title"], target["refId"]] = len(store.query(text))
    return found


#: Each sample of the last twenty minutes read once: what no answer about all of them can be cheaper than.
FLOOR = (
    'SELECT mean("voltage") FROM "psu_channel" WHERE time > now() - 20m GROUP BY time(1m), "agent", "psu", "channel"'
)


def least(store: Store, work: Callable[[], object]) -> float:
    """The s of processor that the store takes for it: the least of three times, as a busy machine makes every one longer."""
    times = []
    for _ in range(3):
        before = processor_time(store.pid)
        work()
        times.append(processor_time(store.pid) - before)
    return min(times)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_of_300_channels_takes_less_than_two_seconds(store: Store, name: str) -> None:
    """It takes three quarters of that where the floor takes 0.067 s, and in proportion on a slower processor."""
    floor = (
        least(store, lambda: [store.query(FLOOR) for _ in range(10)]) / 10
    )  # as the clock of a process has steps of 10 ms
    taken = least(store, lambda: answers(store, name))
    print(f"{name}: {taken:.2f} s, {taken / floor:.1f} times the floor of {floor:.3f} s")
    assert taken / floor < 1.5 / 0.067
    assert name != "fleet" or answers(store, name)["Channels", "last"] == 300

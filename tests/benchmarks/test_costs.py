"""The costs of fleets: the arithmetic, and that the page shows what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.scaleparts.costs import PAGE, Assumptions, computed, fleet, shown

SIZES: dict[str, Any] = {
    "packet_bytes": 400,
    "store_bytes": 10.0,
    "broker_seconds": 50e-6,
    "telegraf_seconds": 100e-6,
    "store_seconds": 10e-6,
}
SCALE = [
    {"units": 1, "processor": 0.002, "memory": 50_000_000},
    {"units": 100, "processor": 0.001, "memory": 60_000_000},
]


def test_a_fleet_of_a_thousand() -> None:
    found = fleet(1000, SIZES, SCALE, Assumptions(interval=0.5, raw_days=1, mean_days=10))
    assert found.samples == 6000
    assert found.traffic == 2_400_000
    assert (found.agents, found.agent_memory) == (10, 60_000_000)
    assert found.agent_cores == pytest.approx(2)
    assert (found.brokers, found.telegrafs) == (1, 2)
    assert found.store_cores == pytest.approx(0.06)
    assert found.series == 3000
    assert found.raw_year == pytest.approx(6000 * 86_400 * 365 * 10)
    assert found.kept == pytest.approx(6000 * 86_400 * 10 + 3000 * 1440 * 10 * 10)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.0, "12 B"), (2_400_000.0, "2.4 MB"), (29e9, "29 GB"), (2.9e12, "2.9 TB"), (2.9e15, "2,900 TB")],
)
def test_bytes_are_shown_in_the_unit_that_suits(value: float, text: str) -> None:
    assert shown(value) == text


def test_the_page_shows_what_was_measured() -> None:
    assert f"<!-- costs -->\n\n{computed()}\n\n<!-- /costs -->" in PAGE.read_text(encoding="utf-8"), (
        "run python -m benchmarks.scaleparts.costs --write"
    )

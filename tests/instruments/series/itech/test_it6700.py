"""IT6700: the few words that several drivers confirm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

IT6722 = Supply(
    series="IT6700",
    models={
        "ITECH Ltd., IT6722, 802260080000000001,  1.17-1.04": "IT6722",
        "ITECH Ltd., IT6724C, 802260080000000002,  1.11-1.04": "IT6724C",
    },
    answers={
        "MEAS:VOLT?": "12.001",
        "MEAS:CURR?": "1.2005",
        "VOLT?": "12.000",
        "CURR?": "5.0000",
        "OUTP?": "1",
    },
    poll=["MEAS:VOLT?", "MEAS:CURR?", "VOLT?", "CURR?", "OUTP?"],
    readings={1: reading(voltage=12.001, current=1.2005, voltage_limit=12.0, current_limit=5.0, state=True)},
    settings=[
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(IT6722)


def test_it_has_a_pause_after_each_setting_and_gets_its_panel_back() -> None:
    driver, unit, _ = connected(IT6722)
    driver.write(Write("state", (1,), True))
    assert unit.pauses == [0.1]
    driver.close()
    assert unit.sent[-1] == "SYST:LOC"

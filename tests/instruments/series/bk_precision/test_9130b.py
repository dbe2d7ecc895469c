"""9130B: measurements by name, settings of all outputs in one answer, a switch of each output."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

BK9130B = Supply(
    series="BK 9130B",
    models={
        "B&K Precision, 9130B, 802360010000000001, 1.10-1.04": "9130B",
        "B&K Precision, 9129B, 802360010000000002, 1.10-1.04": "9129B",
    },
    answers={
        "MEAS:VOLT? CH1": "5.0003",
        "MEAS:VOLT? CH2": "0.0002",
        "MEAS:VOLT? CH3": "3.3001",
        "MEAS:CURR? CH1": "0.1202",
        "MEAS:CURR? CH2": "0.0000",
        "MEAS:CURR? CH3": "0.5000",
        "APP:VOLT?": "5.000, 12.000, 3.300",
        "APP:CURR?": "1.000, 0.500, 0.500",
        "SOUR:CHAN:OUTP:STAT?": {1: "1", 2: "0", 3: "1"},
    },
    poll=[
        "MEAS:VOLT? CH1",
        "MEAS:VOLT? CH2",
        "MEAS:VOLT? CH3",
        "MEAS:CURR? CH1",
        "MEAS:CURR? CH2",
        "MEAS:CURR? CH3",
        "APP:VOLT?",
        "APP:CURR?",
        "INST CH1",
        "SOUR:CHAN:OUTP:STAT?",
        "INST CH2",
        "SOUR:CHAN:OUTP:STAT?",
        "INST CH3",
        "SOUR:CHAN:OUTP:STAT?",
    ],
    readings={
        1: reading(voltage=5.0003, current=0.1202, voltage_limit=5.0, current_limit=1.0, state=True),
        2: reading(voltage=0.0002, current=0.0, voltage_limit=12.0, current_limit=0.5, state=False),
        3: reading(voltage=3.3001, current=0.5, voltage_limit=3.3, current_limit=0.5, state=True),
    },
    settings=[
        (1, "voltage_limit", 30, ["INST CH1", "VOLT 30"]),
        (3, "current_limit", 0.25, ["INST CH3", "CURR 0.25"]),
        (2, "state", True, ["INST CH2", "CHAN:OUTP 1"]),
        (2, "state", False, ["INST CH2", "CHAN:OUTP 0"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(BK9130B)


def test_an_output_is_switched_by_itself_never_by_the_switch_for_all() -> None:
    driver, unit, profile = connected(BK9130B)
    assert profile.together == ()
    driver.write(Write("state", (1, 3), False))
    assert unit.sent == ["INST CH1", "CHAN:OUTP 0", "INST CH3", "CHAN:OUTP 0"]


def test_remote_mode_is_entered_and_left() -> None:
    driver, unit, _ = connected(BK9130B)
    driver.connect()
    assert "SYST:REM" in unit.sent
    driver.close()
    assert unit.sent[-1] == "SYST:LOC"

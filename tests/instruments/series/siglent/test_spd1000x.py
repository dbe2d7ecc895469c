"""SPD1000X: one output, its mode and state in a register."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

SPD1168X = Supply(
    series="SPD1000X",
    models={
        "Siglent Technologies,SPD1168X,SPD13DCC000001,2.1.1.8,V1.0": "SPD1168X",
        "Siglent Technologies,SPD1168X,SPD1XEA000002,2.1.1.9R1,V1.0": "SPD1168X",
        "Siglent Technologies,SPD1305X,SPD13DC000003,1.0.1.16R4": "SPD1305X",
    },
    answers={
        "MEAS:VOLT? CH1": "5.001",
        "MEAS:CURR? CH1": "0.032",
        "CH1:VOLT?": "5.000",
        "CH1:CURR?": "0.500",
        "SYST:STAT?": "0x10",
        "SYST:ERR?": "+0,No Error",
    },
    poll=["MEAS:VOLT? CH1", "MEAS:CURR? CH1", "CH1:VOLT?", "CH1:CURR?", "SYST:STAT?"],
    readings={1: reading(voltage=5.001, current=0.032, voltage_limit=5.0, current_limit=0.5, state=True, mode="CV")},
    settings=[
        (1, "voltage_limit", 15.999, ["CH1:VOLT 15.999"]),
        (1, "current_limit", 8.0, ["CH1:CURR 8"]),
        (1, "state", True, ["OUTP CH1,ON"]),
        (1, "state", False, ["OUTP CH1,OFF"]),
    ],
    refusal=("-222,Data out of range", "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(SPD1168X)


def test_bits_tell_the_mode_and_the_switch() -> None:
    assert SPD1168X.reading({"SYST:STAT?": "0x31"}).mode == "CC"
    off = SPD1168X.reading({"SYST:STAT?": "0x0"})
    assert (off.state, off.mode) == (False, "OFF")


def test_a_setting_is_given_time() -> None:
    driver, unit, _ = connected(SPD1168X)
    driver.write(Write("voltage_limit", (1,), 1.0))
    assert unit.pauses == [0.1]

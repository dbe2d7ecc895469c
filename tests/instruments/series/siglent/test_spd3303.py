"""SPD3303X: one hexadecimal register for the unit, a third output that nothing tells of, one query a message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

SPD3303X = Supply(
    series="SPD3303",
    models={
        "Siglent Technologies,SPD3303X,SPD00001130025,1.01.01.01.02,V3.0": "SPD3303X",
        "Siglent Technologies,SPD3303X-E,SPD3XJG000001,1.01.01.03.12R1 V6.2": "SPD3303X-E",
        "Siglent Technologies,SPD3303C,SPD3ED0000001,1.02.01.01.03R2": "SPD3303C",
    },
    answers={
        "MEAS:VOLT? CH1": "0.000",
        "MEAS:VOLT? CH2": "30.000",
        "MEAS:CURR? CH1": "0.000",
        "MEAS:CURR? CH2": "3.000",
        "CH1:VOLT?": "25.000",
        "CH2:VOLT?": "30.000",
        "CH1:CURR?": "0.500",
        "CH2:CURR?": "3.200",
        "SYST:STAT?": "0x0224",
        "SYST:ERR?": "0  No Error",
    },
    poll=[
        "MEAS:VOLT? CH1",
        "MEAS:VOLT? CH2",
        "MEAS:CURR? CH1",
        "MEAS:CURR? CH2",
        "CH1:VOLT?",
        "CH2:VOLT?",
        "CH1:CURR?",
        "CH2:CURR?",
        "SYST:STAT?",
    ],
    readings={
        1: reading(voltage=0.0, current=0.0, voltage_limit=25.0, current_limit=0.5, state=False, mode="OFF"),
        2: reading(voltage=30.0, current=3.0, voltage_limit=30.0, current_limit=3.2, state=True, mode="CV"),
        3: reading(),
    },
    settings=[
        (1, "voltage_limit", 3.3, ["CH1:VOLT 3.3"]),
        (2, "current_limit", 0.25, ["CH2:CURR 0.25"]),
        (1, "current_limit", 0.25, ["CH1:CURR 0.25"]),
        (1, "state", True, ["OUTP CH1,ON"]),
        (2, "state", False, ["OUTP CH2,OFF"]),
        (3, "state", True, ["OUTP CH3,ON"]),
        (3, "state", False, ["OUTP CH3,OFF"]),
    ],
    refusal=("-222,Data out of range", "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(SPD3303X)


@pytest.mark.parametrize("answer", ["0x34", "0x0034", "0x0035", "0x36", "0x37"])
def test_bits_of_one_register_tell_each_output(answer: str) -> None:
    bits = int(answer, 16)
    for channel, bit in ((1, 1), (2, 2)):
        told = SPD3303X.reading({"SYST:STAT?": answer}, channel)
        assert (told.state, told.mode) == (True, "CC" if bits & bit else "CV")


def test_nothing_of_the_third_output_is_told_or_can_be_set_but_its_switch() -> None:
    _, _, profile = connected(SPD3303X)
    assert profile.outputs[2].settings == {"state"}
    assert profile.outputs[2].ranges == {}


@pytest.mark.parametrize(
    ("answer", "is_free"), [("0x0004", True), ("0x0008", False), ("0x000c", False), ("0x10", False)]
)
def test_outputs_that_are_not_told_to_be_independent_are_not_set(answer: str, is_free: bool) -> None:
    driver, _, _ = connected(SPD3303X, answers={"SYST:STAT?": answer})
    for channel in (1, 2):
        assert (driver.inspect((channel,)).bars == []) is is_free
    assert driver.inspect((3,)).bars == []


@pytest.mark.parametrize("none", ["0  No Error", "0 No Error", "+0,No Error", '0,"No error"', "0"])
def test_every_form_of_no_error(none: str) -> None:
    driver, unit, _ = connected(SPD3303X)
    unit.answers["SYST:ERR?"] = none
    driver.write(Write("state", (1,), False))
    assert driver.complaints() == []


def test_messages_keep_a_distance_and_the_panel_is_free_afterwards() -> None:
    link = series_of("SPD3303").link
    assert link.compound == "no"
    assert link.gap >= 0.01
    driver, unit, _ = connected(SPD3303X)
    driver.close()
    assert unit.sent == ["*UNLOCK"]

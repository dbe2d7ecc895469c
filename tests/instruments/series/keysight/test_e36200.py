"""E36200: channel lists for models with two outputs, none for those with one; mode and trips are not known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

NO_ERROR = {"SYST:ERR?": '+0,"No error"'}
E36233A = Supply(
    series="E36200",
    models={
        "Keysight Technologies,E36233A,MY59001234,1.0.0-1.0.2-1.00": "E36233A",
        "Keysight Technologies,E36234A,MY59001235,1.0.6-1.0.3-1.01": "E36234A",
    },
    answers={
        "MEAS:VOLT? (@1,2)": "+5.00012000E+00,+1.00000000E-03",
        "MEAS:CURR? (@1,2)": "+1.20000000E+00,+0.00000000E+00",
        "VOLT? (@1,2)": "+5.00000000E+00,+3.00000000E+00",
        "CURR? (@1,2)": "+2.00000000E+00,+1.00000000E+00",
        "OUTP? (@1,2)": "1,0",
        "VOLT? MAX,(@1,2)": "+3.09000000E+01,+3.09000000E+01",
        "OUTP:PAIR?": "OFF",
        **NO_ERROR,
    },
    poll=["MEAS:VOLT? (@1,2);:MEAS:CURR? (@1,2);:VOLT? (@1,2);:CURR? (@1,2);:OUTP? (@1,2)"],
    readings={
        1: reading(voltage=5.00012, current=1.2, voltage_limit=5.0, current_limit=2.0, state=True),
        2: reading(voltage=0.001, current=0.0, voltage_limit=3.0, current_limit=1.0, state=False),
    },
    settings=[
        (1, "voltage_limit", 30.9, ["VOLT 30.9,(@1)"]),
        (2, "current_limit", 0.5, ["CURR 0.5,(@2)"]),
        (2, "state", True, ["OUTP 1,(@2)"]),
        (2, "state", False, ["OUTP 0,(@2)"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)
E36231A = Supply(
    series="E36200",
    models={"Keysight Technologies,E36231A,MY59001236,1.0.6-1.0.3-1.01": "E36231A"},
    answers={
        "MEAS:VOLT?": "+5.00012000E+00",
        "MEAS:CURR?": "+1.20000000E+00",
        "VOLT?": "+5.00000000E+00",
        "CURR?": "+2.00000000E+00",
        "OUTP?": "1",
        **NO_ERROR,
    },
    poll=["MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP?"],
    readings={1: reading(voltage=5.00012, current=1.2, voltage_limit=5.0, current_limit=2.0, state=True)},
    settings=[
        (1, "voltage_limit", 30, ["VOLT 30"]),
        (1, "current_limit", 0.5, ["CURR 0.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("supply", [E36233A, E36231A], ids=["two outputs", "one output"])
@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(supply: Supply, check: Callable[[Supply], None]) -> None:
    check(supply)


def test_a_pair_forbids_settings() -> None:
    for answer in ("SER", "PAR"):
        driver, _, _ = connected(E36233A, answers={"OUTP:PAIR?": answer})
        assert f"outputs 1 and 2 are paired ({answer})" in driver.inspect((1,)).bars[0]


def test_the_unit_tells_its_highest_voltage_and_both_settings_may_be_at_their_ends() -> None:
    _, _, profile = connected(E36233A)
    for output in profile.outputs:
        assert output.range("voltage_limit") == Range(0, 30.9)
        assert output.range("current_limit") == Range(0, 20)
        assert output.power_max is None  # the unit takes both, and then limits the power

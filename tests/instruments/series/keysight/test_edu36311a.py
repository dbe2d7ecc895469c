"""EDU36311A: channel lists, three positive outputs. Answers of the forms that were recorded from a unit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

_COMMON = {"voltage_protection": 33.0, "current_protection": False}
EDU36311A = Supply(
    series="EDU36311A",
    models={"Keysight Technologies,EDU36311A,CN61131234,K-01.08.03-01.00-01.08-02.00": "EDU36311A"},
    answers={
        "MEAS:VOLT? (@1,2,3)": "+9.99749200E-01,+1.20000000E+01,+1.00000000E-04",
        "MEAS:CURR? (@1,2,3)": "-1.81949100E-04,+5.00000000E-01,+0.00000000E+00",
        "VOLT? (@1,2,3)": "+1.00000000E+00,+1.20000000E+01,+5.00000000E+00",
        "CURR? (@1,2,3)": "+1.00000000E+00,+5.00000000E-01,+1.00000000E+00",
        "OUTP? (@1,2,3)": "1,1,0",
        "VOLT:PROT? (@1,2,3)": "+6.60000000E+00,+3.30000000E+01,+3.30000000E+01",
        "VOLT:PROT:TRIP? (@1,2,3)": "0,0,0",
        "CURR:PROT:STAT? (@1,2,3)": "1,0,0",
        "CURR:PROT:TRIP? (@1,2,3)": "0,0,0",
        "STAT:QUES:INST:ISUM1:COND?": "+2",
        "STAT:QUES:INST:ISUM2:COND?": "+1",
        "STAT:QUES:INST:ISUM3:COND?": "+0",
        "OUTP:TRAC?": "0",
        "CURR:PROT:DEL? (@1,2,3)": "+5.00000000E-02,+5.00000000E-02,+5.00000000E-02",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        (
            "MEAS:VOLT? (@1,2,3);:MEAS:CURR? (@1,2,3);:VOLT? (@1,2,3);:CURR? (@1,2,3);:OUTP? (@1,2,3);:VOLT:PROT? (@1,2,3);"
            ":VOLT:PROT:TRIP? (@1,2,3);:CURR:PROT:STAT? (@1,2,3);:CURR:PROT:TRIP? (@1,2,3);"
            ":STAT:QUES:INST:ISUM1:COND?;:STAT:QUES:INST:ISUM2:COND?;:STAT:QUES:INST:ISUM3:COND?"
        )
    ],
    readings={
        1: reading(
            voltage=0.9997492,
            current=-0.0001819491,
            voltage_limit=1.0,
            current_limit=1.0,
            state=True,
            mode="CV",
            voltage_protection=6.6,
            current_protection=True,
        ),
        2: reading(voltage=12.0, current=0.5, voltage_limit=12.0, current_limit=0.5, state=True, mode="CC", **_COMMON),
        3: reading(
            voltage=0.0001, current=0.0, voltage_limit=5.0, current_limit=1.0, state=False, mode="OFF", **_COMMON
        ),
    },
    settings=[
        (1, "voltage_limit", 3.3, ["VOLT 3.3,(@1)"]),
        (3, "voltage_limit", 30.9, ["VOLT 30.9,(@3)"]),
        (1, "current_limit", 0.002, ["CURR 0.002,(@1)"]),
        (1, "state", True, ["OUTP 1,(@1)"]),
        (1, "state", False, ["OUTP 0,(@1)"]),
        (2, "voltage_protection", 1.5, ["VOLT:PROT 1.5,(@2)"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1,(@1)"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE (@1)"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(EDU36311A)


def test_trips() -> None:
    assert EDU36311A.reading({"VOLT:PROT:TRIP? (@1,2,3)": "1,0,0"}).tripped == "OVP"
    assert EDU36311A.reading({"CURR:PROT:TRIP? (@1,2,3)": "0,1,0"}, 2).tripped == "OCP"


def test_on_before_there_is_voltage_has_no_mode() -> None:
    assert EDU36311A.reading({"STAT:QUES:INST:ISUM1:COND?": "+0"}).mode is None


def test_the_current_limit_is_never_zero_and_no_output_is_negative() -> None:
    _, _, profile = connected(EDU36311A)
    ranges = [(output.range("current_limit"), output.range("voltage_limit")) for output in profile.outputs]
    assert all(current is not None and 0 not in current for current, _ in ranges)
    assert all(voltage is not None and voltage.min == 0 for _, voltage in ranges)


def test_tracking_forbids_a_setting_of_an_output_that_tracks() -> None:
    driver, _, _ = connected(EDU36311A, answers={"OUTP:TRAC?": "1"})
    assert "track each other" in driver.inspect((2,)).bars[0]
    assert driver.inspect((1,)).bars == []

"""N6700: outputs and ranges depend on the modules, so the unit tells them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

N6700B = Supply(
    series="N6700",
    models={
        "Agilent Technologies,N6700B,MY54011234,D.04.07": "N6700B",
        "Keysight Technologies,N6700C,MY56001234,E.02.03.3189": "N6700C",
        "Agilent Technologies,N6705B,MY53001234,D.01.08": "N6705B",
        "Keysight Technologies,N6705C,MY57001234,E.02.09.3271": "N6705C",
        "Keysight Technologies,N6702C,MY57001235,E.02.07.3231": "N6702C",
    },
    answers={
        "SYST:CHAN:COUN?": "2",
        "SYST:CHAN:MOD? (@1,2)": '"N6731B","N6752A"',
        "VOLT? MAX,(@1,2)": "+5.25000000E+00,+5.10000000E+01",
        "CURR? MAX,(@1,2)": "+1.02000000E+01,+1.02000000E+01",
        "VOLT:PROT? MAX,(@1,2)": "+7.50000000E+00,+6.00000000E+01",
        "MEAS:VOLT? (@1,2)": "+3.30010000E+00,+1.20000000E-03",
        "MEAS:CURR? (@1,2)": "+1.50000000E+00,+0.00000000E+00",
        "VOLT? (@1,2)": "+3.30000000E+00,+2.40000000E+01",
        "CURR? (@1,2)": "+2.00000000E+00,+1.00000000E+00",
        "OUTP? (@1,2)": "1,0",
        "VOLT:PROT? (@1,2)": "+7.50000000E+00,+6.00000000E+01",
        "CURR:PROT:STAT? (@1,2)": "0,1",
        "STAT:OPER:COND? (@1,2)": "1,4",
        "STAT:QUES:COND? (@1,2)": "0,0",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        (
            "MEAS:VOLT? (@1,2);:MEAS:CURR? (@1,2);:VOLT? (@1,2);:CURR? (@1,2);:OUTP? (@1,2);:VOLT:PROT? (@1,2);"
            ":CURR:PROT:STAT? (@1,2);:STAT:OPER:COND? (@1,2);:STAT:QUES:COND? (@1,2)"
        )
    ],
    readings={
        1: reading(
            voltage=3.3001,
            current=1.5,
            voltage_limit=3.3,
            current_limit=2.0,
            state=True,
            mode="CV",
            voltage_protection=7.5,
            current_protection=False,
        ),
        2: reading(
            voltage=0.0012,
            current=0.0,
            voltage_limit=24.0,
            current_limit=1.0,
            state=False,
            mode="OFF",
            voltage_protection=60.0,
            current_protection=True,
        ),
    },
    settings=[
        (1, "voltage_limit", 5.25, ["VOLT 5.25,(@1)"]),
        (2, "current_limit", 0.5, ["CURR 0.5,(@2)"]),
        (2, "state", True, ["OUTP 1,(@2)"]),
        (2, "state", False, ["OUTP 0,(@2)"]),
        (2, "voltage_protection", 55.0, ["VOLT:PROT 55,(@2)"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1,(@1)"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE (@1)"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(N6700B)


def test_ranges_are_those_of_the_modules() -> None:
    one, two = connected(N6700B)[2].outputs
    assert (one.range("voltage_limit"), two.range("voltage_limit")) == (Range(0, 5.25), Range(0, 51))
    assert (one.range("current_limit"), two.range("voltage_protection")) == (Range(0, 10.2), Range(0, 60))


@pytest.mark.parametrize(
    ("operation", "questionable", "mode", "tripped"),
    [
        (2, 0, "CC", None),
        (0, 1024, "UR", None),
        (0, 1, "OFF", "OVP"),
        (0, 64, "OFF", "OVP"),
        (0, 2, "OFF", "OCP"),
        (0, 4, "OFF", "AC"),
        (0, 16, "OFF", "OTP"),
        (0, 512, "OFF", "INHIBIT"),
        (0, 2048, "OFF", "OTHER"),
    ],
)
def test_mode_and_trips(operation: int, questionable: int, mode: str, tripped: str | None) -> None:
    found = N6700B.reading({"STAT:OPER:COND? (@1,2)": f"{operation},4", "STAT:QUES:COND? (@1,2)": f"{questionable},0"})
    assert (found.mode, found.tripped) == (mode, tripped)


@pytest.mark.parametrize("modules", ['"N6731B","N6791A"', "N6731B,N6781A"])
def test_a_module_that_can_take_current_is_not_set(modules: str) -> None:
    driver, _, _ = connected(N6700B, answers={"SYST:CHAN:MOD? (@1,2)": modules})
    assert "can also take current" in driver.inspect((2,)).bars[0]
    assert driver.inspect((1,)).bars == []

"""DP700: the words of the DP800 without a channel, over a serial line. Answers of the Programming Guide's form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

ASKS = [
    ":MEAS:ALL?",
    ":APPL? CH1",
    ":OUTP?",
    ":OUTP:MODE?",
    ":OUTP:OVP?",
    ":OUTP:OVP:VAL?",
    ":OUTP:OVP:QUES?",
    ":OUTP:OCP?",
    ":OUTP:OCP:VAL?",
    ":OUTP:OCP:QUES?",
]

DP711 = Supply(
    series="DP700",
    models={"RIGOL TECHNOLOGIES,DP711,DP7A242200001,00.01.05": "DP711"},
    answers={
        ":MEAS:ALL?": "2.00,0.05,0.10",
        ":APPL? CH1": "CH1:30V/5A,5.00,1.00",
        ":OUTP?": "ON",
        ":OUTP:MODE?": "CV",
        ":OUTP:OVP?": "OFF",
        ":OUTP:OVP:VAL?": "33.00",
        ":OUTP:OVP:QUES?": "NO",
        ":OUTP:OCP?": "ON",
        ":OUTP:OCP:VAL?": "5.50",
        ":OUTP:OCP:QUES?": "NO",
        ":SYST:ERR?": '0,"No error"',
    },
    poll=[";".join(ASKS)],
    readings={
        1: reading(
            voltage=2.0,
            current=0.05,
            voltage_limit=5.0,
            current_limit=1.0,
            state=True,
            mode="CV",
            voltage_protection=33.0,
            voltage_protection_state=False,
            current_protection=True,
            current_protection_level=5.5,
        )
    },
    settings=[
        (1, "voltage_limit", 3.3, [":SOUR:VOLT 3.3"]),
        (1, "current_limit", 0.5, [":SOUR:CURR 0.5"]),
        (1, "state", True, [":OUTP ON"]),
        (1, "state", False, [":OUTP OFF"]),
        (1, "voltage_protection", 5.5, [":OUTP:OVP:VAL 5.5"]),
        (1, "voltage_protection_state", True, [":OUTP:OVP ON"]),
        (1, "current_protection_level", 2.0, [":OUTP:OCP:VAL 2"]),
        (1, "current_protection", False, [":OUTP:OCP OFF"]),
        (1, "clear_protection", True, [":OUTP:OVP:CLEAR", ":OUTP:OCP:CLEAR"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(DP711)


def test_words_tell_trips() -> None:
    assert DP711.reading({":OUTP:OVP:QUES?": "YES"}).tripped == "OVP"
    assert DP711.reading({":OUTP:OCP:QUES?": "YES"}).tripped == "OCP"


def test_the_panel_is_free_again_when_the_agent_leaves() -> None:
    driver, unit, _ = connected(DP711)
    unit.uri = "ASRL/dev/ttyUSB0::INSTR"
    driver.connect()
    assert ":SYST:REM" in unit.sent
    driver.close()
    assert unit.sent[-1] == ":SYST:LOC"

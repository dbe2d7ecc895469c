"""2280S: current, voltage and time in one answer, with units. Answers of the form that its drivers expect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

K2280S = Supply(
    series="2280S",
    models={
        "KEITHLEY INSTRUMENTS,MODEL 2280S-60-3,1234567,01.08b": "2280S-60-3",
        "KEITHLEY INSTRUMENTS LLC,MODEL 2281S-20-6,1234567,01.08b": "2281S-20-6",
    },
    answers={
        "MEAS:VOLT?": "+1.200000E-01A,+5.000123E+00V,+1.234000E+00s",
        "VOLT?": "5.000000E+00",
        "CURR?": "1.000000E+00",
        "OUTP:STAT?": "1",
        "VOLT:PROT?": "6.600000E+01",
        "STAT:QUES:INST:ISUM:COND?": "66",
        "ENTR:FUNC?": "POWER",
        "SYST:ERR?": '0,"No error"',
    },
    poll=["MEAS:VOLT?;:VOLT?;:CURR?;:OUTP:STAT?;:VOLT:PROT?;:STAT:QUES:INST:ISUM:COND?"],
    readings={
        1: reading(
            voltage=5.000123,
            current=0.12,
            voltage_limit=5.0,
            current_limit=1.0,
            state=True,
            mode="CV",
            voltage_protection=66.0,
        )
    },
    settings=[
        (1, "voltage_limit", 12.5, ["VOLT 12.5"]),
        (1, "current_limit", 3.2, ["CURR 3.2"]),
        (1, "state", True, ["OUTP:STAT 1"]),
        (1, "state", False, ["OUTP:STAT 0"]),
    ],
    refusal=('-113,"Undefined header"', "Undefined header"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(K2280S)


@pytest.mark.parametrize(
    ("bits", "mode", "tripped"), [(65, "CC", None), (4, "OFF", "OCP"), (8, "OFF", "OVP"), (16, "OFF", "OTP")]
)
def test_one_register_has_mode_and_trips(bits: int, mode: str, tripped: str | None) -> None:
    told = K2280S.reading({"STAT:QUES:INST:ISUM:COND?": str(bits)})
    assert (told.mode, told.tripped) == (mode, tripped)


@pytest.mark.parametrize("function", ["TEST", "SIMULATOR"])
def test_a_battery_simulator_is_not_set(function: str) -> None:
    idn = "KEITHLEY INSTRUMENTS,MODEL 2281S-20-6,1234567,01.08b"
    driver, _, _ = connected(K2280S, idn, answers={"ENTR:FUNC?": function})
    assert "ENTR:FUNC POWER" in driver.inspect((1,)).bars[0]
    driver, _, _ = connected(K2280S, idn)
    assert driver.inspect((1,)).bars == []


def test_a_clear_that_nobody_confirmed_is_not_sent() -> None:
    assert "PROT:CLE" not in series_of("2280S").model_dump_json(include={"settings"})

"""E3640A to E3645A: two ranges of one output. Answers as they were recorded from an E3640A."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

E3640A = Supply(
    series="E3640A-45A",
    models={"Agilent Technologies,E3640A,0,1.8-5.0-1.0": "E3640A"},
    answers={
        "MEAS:VOLT?": "-3.40297500E-03",
        "MEAS:CURR?": "-5.55417500E-05",
        "VOLT?": "+1.00000000E+00",
        "CURR?": "+1.00000000E+00",
        "OUTP?": "0",
        "VOLT:PROT?": "+2.20000000E+01",
        "VOLT:PROT:STAT?": "1",
        "VOLT:PROT:TRIP?": "0",
        "STAT:QUES:COND?": "+0",
        "VOLT:RANG?": "P8V",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP?;:VOLT:PROT?",
        "VOLT:PROT:STAT?;:VOLT:PROT:TRIP?;:STAT:QUES:COND?",
    ],
    readings={
        1: reading(
            voltage=-0.003402975,
            current=-0.0000555417500,
            voltage_limit=1.0,
            current_limit=1.0,
            state=False,
            mode="OFF",
            voltage_protection=22.0,
            voltage_protection_state=True,
        )
    },
    settings=[
        (1, "voltage_limit", 8.24, ["VOLT 8.24"]),
        (1, "current_limit", 0.5, ["CURR 0.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_protection", 1.0, ["VOLT:PROT 1"]),
        (1, "voltage_protection_state", True, ["VOLT:PROT:STAT 1"]),
        (1, "clear_protection", True, ["VOLT:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(E3640A)


def test_a_trip_that_looks_healthy() -> None:
    # OUTP? says 1 and the register CV while it is tripped.
    tripped = E3640A.reading({"OUTP?": "1", "STAT:QUES:COND?": "+2", "VOLT:PROT:TRIP?": "1"})
    assert (tripped.tripped, tripped.mode) == ("OVP", "OFF")
    assert E3640A.reading({"OUTP?": "1", "STAT:QUES:COND?": "+2"}).mode == "CV"


@pytest.mark.parametrize(("name", "volts", "amps"), [("P8V", 8.24, 3.09), ("P20V", 20.6, 1.545)])
def test_a_setting_has_to_be_inside_the_present_range(name: str, volts: float, amps: float) -> None:
    driver, _, _ = connected(E3640A, answers={"VOLT:RANG?": name})
    present = driver.inspect((1,), settings=["current_limit"]).conditions.ranges[1]
    assert (present["voltage_limit"], present["current_limit"]) == (Range(0, volts), Range(0, amps))


def test_over_current_protection_is_refused_with_a_sentence() -> None:
    output = candidates("E3645A")[0].outputs[0]
    assert "current_protection" not in output.settings
    assert "no over-current protection" in output.unsupported["current_protection"]


def test_messages_on_a_serial_line_have_a_gap_and_are_short() -> None:
    link = series_of("E3640A-45A").link
    assert link.serial is not None
    assert (link.serial.gap, link.longest, link.serial.enter) == (0.05, 60, ("SYST:REM",))

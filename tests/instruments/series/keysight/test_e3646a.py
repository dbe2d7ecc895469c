"""E3646A to E3649A: two outputs that are selected, one switch for both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Range, Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

_COMMON = {"voltage_protection_state": True, "state": True}
E3647A = Supply(
    series="E3646A-49A",
    models={
        "Agilent Technologies,E3647A,0,1.7-5.0-1.0": "E3647A",
        "Agilent Technologies,E3648A,0,1.7-5.0-1.0": "E3648A",
        "Agilent Technologies,E3649A,0,1.4-5.0-1.0": "E3649A",
    },
    answers={
        "MEAS:VOLT?": {1: "+1.00000000E+00", 2: "+3.30000000E+01"},
        "MEAS:CURR?": {1: "+1.00000000E-01", 2: "+2.00000000E-01"},
        "VOLT?": {1: "+1.00000000E+00", 2: "+3.50000000E+01"},
        "CURR?": {1: "+5.00000000E-01", 2: "+2.00000000E-01"},
        "VOLT:PROT?": {1: "+6.60000000E+01", 2: "+5.00000000E+01"},
        "VOLT:PROT:STAT?": {1: "1", 2: "1"},
        "VOLT:PROT:TRIP?": {1: "0", 2: "0"},
        "VOLT:RANG?": {1: "P60V", 2: "P35V"},
        "OUTP?": "1",
        "STAT:QUES:INST:ISUM1:COND?": "+2",
        "STAT:QUES:INST:ISUM2:COND?": "+1",
        "OUTP:TRAC?": "0",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        "OUTP?;:STAT:QUES:INST:ISUM1:COND?",
        "STAT:QUES:INST:ISUM2:COND?;:INST:NSEL 1;:MEAS:VOLT?",
        "INST:NSEL 1;:MEAS:CURR?;:VOLT?;:CURR?;:VOLT:PROT?",
        "INST:NSEL 1;:VOLT:PROT:STAT?;:VOLT:PROT:TRIP?",
        "INST:NSEL 2;:MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?",
        "INST:NSEL 2;:VOLT:PROT?;:VOLT:PROT:STAT?;:VOLT:PROT:TRIP?",
    ],
    readings={
        1: reading(
            voltage=1.0,
            current=0.1,
            voltage_limit=1.0,
            current_limit=0.5,
            mode="CV",
            voltage_protection=66.0,
            **_COMMON,
        ),
        2: reading(
            voltage=33.0,
            current=0.2,
            voltage_limit=35.0,
            current_limit=0.2,
            mode="CC",
            voltage_protection=50.0,
            **_COMMON,
        ),
    },
    settings=[
        (1, "voltage_limit", 61.8, ["INST:NSEL 1;:VOLT 61.8"]),
        (2, "current_limit", 0.5, ["INST:NSEL 2;:CURR 0.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (2, "voltage_protection", 40.0, ["INST:NSEL 2;:VOLT:PROT 40"]),
        (2, "voltage_protection_state", False, ["INST:NSEL 2;:VOLT:PROT:STAT 0"]),
        (2, "clear_protection", True, ["INST:NSEL 2;:VOLT:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(E3647A)


def test_one_switch_acts_on_both_outputs() -> None:
    driver, unit, profile = connected(E3647A)
    assert profile.together == (frozenset({1, 2}),)
    driver.write(Write("state", (1, 2), True))
    assert unit.sent == ["OUTP 1"]


def test_a_trip_that_looks_healthy() -> None:
    tripped = E3647A.reading({"VOLT:PROT:TRIP?": {1: "0", 2: "1"}, "STAT:QUES:INST:ISUM2:COND?": "+2"}, 2)
    assert (tripped.tripped, tripped.mode) == ("OVP", "OFF")


def test_each_output_has_its_present_range() -> None:
    driver, _, _ = connected(E3647A)
    ranges = driver.inspect((1, 2), settings=["voltage_limit"]).conditions.ranges
    assert ranges[1]["voltage_limit"] == Range(0, 61.8)
    assert ranges[2]["voltage_limit"] == Range(0, 36.05)


def test_tracking_forbids_settings() -> None:
    driver, _, _ = connected(E3647A, answers={"OUTP:TRAC?": "1"})
    assert "output 2 tracks output 1" in driver.inspect((1,)).bars[0]


def test_mode_registers_are_enabled_at_each_connection() -> None:
    driver, unit, _ = connected(E3647A)
    driver.connect()
    first = [message for message in unit.sent if ":ENAB" in message]
    assert first == ["STAT:QUES:INST:ENAB 6", "STAT:QUES:INST:ISUM1:ENAB 3", "STAT:QUES:INST:ISUM2:ENAB 3"]

"""E3632A to E3634A: two ranges of one output, OVP and OCP with levels, switches and trips of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

E3633A = Supply(
    series="E3632A-34A",
    models={
        "HEWLETT-PACKARD,E3633A,0,1.7-5.0-1.0": "E3633A",
        "HEWLETT-PACKARD,E3634A,0,2.4-6.1-2.1": "E3634A",
    },
    answers={
        "MEAS:VOLT?": "+1.00000000E+00",
        "MEAS:CURR?": "+1.00000000E+00",
        "VOLT?": "+1.00000000E+00",
        "CURR?": "+2.00000000E+00",
        "OUTP?": "1",
        "VOLT:PROT?": "+2.20000000E+01",
        "VOLT:PROT:STAT?": "1",
        "VOLT:PROT:TRIP?": "0",
        "CURR:PROT?": "+2.20000000E+01",
        "CURR:PROT:STAT?": "0",
        "CURR:PROT:TRIP?": "0",
        "STAT:QUES:COND?": "+2",
        "VOLT:RANG?": "P8V",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP?;:VOLT:PROT?;:VOLT:PROT:STAT?;:VOLT:PROT:TRIP?",
        "CURR:PROT?;:CURR:PROT:STAT?;:CURR:PROT:TRIP?;:STAT:QUES:COND?",
    ],
    readings={
        1: reading(
            voltage=1.0,
            current=1.0,
            voltage_limit=1.0,
            current_limit=2.0,
            state=True,
            mode="CV",
            voltage_protection=22.0,
            voltage_protection_state=True,
            current_protection=False,
            current_protection_level=22.0,
        )
    },
    settings=[
        (1, "voltage_limit", 20.6, ["VOLT 20.6"]),
        (1, "current_limit", 0.5, ["CURR 0.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_protection", 9.5, ["VOLT:PROT 9.5"]),
        (1, "voltage_protection_state", False, ["VOLT:PROT:STAT 0"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1"]),
        (1, "current_protection_level", 7.5, ["CURR:PROT 7.5"]),
        (1, "clear_protection", True, ["VOLT:PROT:CLE", "CURR:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(E3633A)


@pytest.mark.parametrize(("name", "volts", "amps"), [("P8V", 8.24, 20.6), ("P20V", 20.6, 10.3)])
def test_a_setting_has_to_be_inside_the_present_range(name: str, volts: float, amps: float) -> None:
    driver, _, _ = connected(E3633A, answers={"VOLT:RANG?": name})
    present = driver.inspect((1,), settings=["voltage_limit"]).conditions.ranges[1]
    assert present["voltage_limit"] == Range(0, volts)
    assert present["current_limit"] == Range(0, amps)


@pytest.mark.parametrize(("ask", "trip"), [("VOLT:PROT:TRIP?", "OVP"), ("CURR:PROT:TRIP?", "OCP")])
def test_trips_are_read_where_they_are_told(ask: str, trip: str) -> None:
    assert E3633A.reading({ask: "1"}).tripped == trip


def test_the_modes() -> None:
    assert E3633A.reading({"STAT:QUES:COND?": "+1"}).mode == "CC"
    assert E3633A.reading({"STAT:QUES:COND?": "+0"}).mode == "UR"
    assert E3633A.reading({"STAT:QUES:COND?": "+3"}).mode is None  # a failure


def test_trip_levels_that_no_guide_names_are_asked_from_the_unit() -> None:
    told = {
        "VOLT:PROT? MIN": "+1.00000000E+00",
        "VOLT:PROT? MAX": "+5.50000000E+01",
        "CURR:PROT? MIN": "+0.00000000E+00",
        "CURR:PROT? MAX": "+7.50000000E+00",
        "VOLT:RANG?": "P25V",
    }
    _, _, profile = connected(E3633A, "HEWLETT-PACKARD,E3634A,0,2.4-6.1-2.1", told)
    assert profile.model == "E3634A"
    assert profile.outputs[0].range("voltage_protection") == Range(1, 55)
    assert profile.outputs[0].range("current_protection_level") == Range(0, 7.5)
    assert profile.outputs[0].range("voltage_limit") == Range(0, 51.5)

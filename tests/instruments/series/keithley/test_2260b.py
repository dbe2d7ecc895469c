"""2260B: the PSW under another name. No answer of a unit is public; numbers have the form of the PSW's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

K2260B = Supply(
    series="2260B",
    models={
        "KEITHLEY INSTRUMENTS,2260B-30-108,TW123456,01.00": "2260B-30-108",
        "KEITHLEY,Model 2260B-30-36,TW123456,01.00": "2260B-30-36",
    },
    answers={
        "MEAS:VOLT?": "+10.000",
        "MEAS:CURR?": "+0.500",
        "APPL?": "+10.000, +5.120",
        "OUTP?": "1",
        "SOUR:VOLT:PROT?": "+33.000",
        "SOUR:VOLT:PROT:TRIP?": "0",
        "SOUR:CURR:PROT?": "+118.800",
        "SOUR:CURR:PROT:STAT?": "1",
        "SOUR:CURR:PROT:TRIP?": "0",
        "SYST:ERR?": '0,"No error"',
    },
    poll=[
        (
            "MEAS:VOLT?;:MEAS:CURR?;:APPL?;:OUTP?;:SOUR:VOLT:PROT?;:SOUR:VOLT:PROT:TRIP?;"
            ":SOUR:CURR:PROT?;:SOUR:CURR:PROT:STAT?;:SOUR:CURR:PROT:TRIP?"
        )
    ],
    readings={
        1: reading(
            voltage=10.0,
            current=0.5,
            voltage_limit=10.0,
            current_limit=5.12,
            state=True,
            voltage_protection=33.0,
            current_protection=True,
            current_protection_level=118.8,
        )
    },
    settings=[
        (1, "voltage_limit", 12.0, ["SOUR:VOLT 12"]),
        (1, "current_limit", 1.5, ["SOUR:CURR 1.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "current_protection", False, ["SOUR:CURR:PROT:STAT 0"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(K2260B)


def test_trips_the_envelope_and_no_mode() -> None:
    assert K2260B.reading({"SOUR:VOLT:PROT:TRIP?": "1"}).tripped == "OVP"
    assert K2260B.reading({"SOUR:CURR:PROT:TRIP?": "1"}).tripped == "OCP"
    assert K2260B.reading({}).mode is None
    _, _, profile = connected(K2260B)
    assert profile.outputs[0].power_max == 1080

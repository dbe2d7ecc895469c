"""PSW: a wide range with a power envelope, one query on voltage and current together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

PSW30_72 = Supply(
    series="PSW",
    models={
        "GW-INSTEK,PSW30-72,GEW800010,02.53.20220419": "PSW30-72",
        "GW-INSTEK,PSW-3036,TW123456,01.00.20110101": "PSW30-36",
        "GW-INSTEK,PSW-30-72": "PSW30-72",
        "GW-INSTEK,PSW 30-108,TW123456,01.00": "PSW30-108",
    },
    answers={
        "MEAS:ALL?": "5.05,0.00",
        "APPL?": "+5.050, +1.100",
        "OUTP?": "1",
        "SOUR:VOLT:PROT?": "+33.000",
        "SOUR:CURR:PROT?": "+79.200",
        "SOUR:CURR:PROT:STAT?": "0",
        "SOUR:VOLT:PROT:TRIP?": "0",
        "OUTP:PROT:TRIP?": "0",
        "SYST:ERR?": '+0,"No error."',
    },
    poll=[
        "MEAS:ALL?;:APPL?;:OUTP?;:SOUR:VOLT:PROT?;:SOUR:CURR:PROT?;:SOUR:CURR:PROT:STAT?;:SOUR:VOLT:PROT:TRIP?;:OUTP:PROT:TRIP?"
    ],
    readings={
        1: reading(
            voltage=5.05,
            current=0.0,
            voltage_limit=5.05,
            current_limit=1.1,
            state=True,
            voltage_protection=33.0,
            current_protection=False,
            current_protection_level=79.2,
        )
    },
    settings=[
        (1, "voltage_limit", 12.0, ["VOLT 12"]),
        (1, "current_limit", 1.5, ["CURR 1.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_protection", 16.5, ["VOLT:PROT 16.5"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(PSW30_72)


def test_a_trip_that_is_not_over_voltage_is_another() -> None:
    assert PSW30_72.reading({"OUTP:PROT:TRIP?": "1", "SOUR:VOLT:PROT:TRIP?": "1"}).tripped == "OVP"
    assert PSW30_72.reading({"OUTP:PROT:TRIP?": "1"}).tripped == "OTHER"
    assert PSW30_72.reading({}).mode is None


def test_the_envelope_and_what_can_not_be_set() -> None:
    _, _, profile = connected(PSW30_72)
    assert profile.outputs[0].power_max == 720
    assert "set the over-current level at the unit" in profile.outputs[0].unsupported["current_protection_level"]

"""OWON SPE, SPM, P4000 and Kiprim: seven fields in one answer, and the word ERR that nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

SPE = Supply(
    series="SPE",
    models={
        "KIPRIM,DC605S,23090001,FV:V4.1.0": "DC605S",
        "OWON,SPE3102,26180001,FV:V5.2.0": "SPE3102",
        "OWON,P4603,2037001,FV:V1.6.0": "P4603",
        "OWON,P4305,1715040,FV:V1.0.2": "P4305",
        "KIPRIM,DC310S,25010001,FV:V5.2.0": "DC310S",
    },
    answers={
        "MEAS:ALL:INFO?": "57.430,0.059,3.390,OFF,OFF,OFF,1",
        "VOLT?": "57.400",
        "CURR?": "2.000",
        "OUTP?": "ON",
        "VOLT:LIM?": "62.000",
        "CURR:LIM?": "5.200",
    },
    poll=["MEAS:ALL:INFO?", "VOLT?", "CURR?", "OUTP?", "VOLT:LIM?", "CURR:LIM?"],
    readings={
        1: reading(
            voltage=57.43,
            current=0.059,
            voltage_limit=57.4,
            current_limit=2.0,
            state=True,
            voltage_protection=62.0,
            current_protection_level=5.2,
            mode="CV",
        )
    },
    settings=[
        (1, "state", True, ["OUTP ON"]),
        (1, "state", False, ["OUTP OFF"]),
        (1, "voltage_limit", 3.3, ["VOLT 3.300"]),
        (1, "current_limit", 0.25, ["CURR 0.250"]),
    ],
)
#: One whose ranges are known.
P4603 = Supply(
    series="SPE",
    models={"OWON,P4603,2037001,FV:V1.6.0": "P4603"},
    answers={**SPE.answers, "MEAS:ALL:INFO?": "0.002 0.000 0.000 0 0 0 0", "OUTP?": "0"},
    poll=SPE.poll,
    readings={1: SPE.readings[1]._replace(voltage=0.002, current=0.0, state=False, mode="OFF")},
    settings=[
        *SPE.settings,
        (1, "voltage_protection", 5.5, ["VOLT:LIM 5.500"]),
        (1, "current_protection_level", 0.5, ["CURR:LIM 0.500"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("supply", [SPE, P4603], ids=["DC605S", "P4603"])
def test_series(supply: Supply, check: Callable[[Supply], None]) -> None:
    check(supply)


@pytest.mark.parametrize(
    ("answer", "mode", "tripped"),
    [
        ("12.0,1.0,12.0,OFF,OFF,OFF,2", "CC", None),
        ("12.0,1.0,12.0,OFF,OFF,OFF,3", None, None),  # a failure that no source explains
        ("0.0,0.0,0.0,ON,OFF,OFF,0", "OFF", "OVP"),
        ("0.0,0.0,0.0,OFF,ON,OFF,0", "OFF", "OCP"),
        ("0.0 0.0 0.0 0 0 1 0", "OFF", "OTP"),
    ],
)
def test_modes_and_trips(answer: str, mode: str | None, tripped: str | None) -> None:
    told = SPE.reading({"MEAS:ALL:INFO?": answer})
    assert (told.mode, told.tripped) == (mode, tripped)


def test_err_is_a_complaint() -> None:
    """A refused command is answered with ERR, one that was taken with nothing."""
    assert [bool(re.fullmatch(one, "ERR")) for one in series_of("SPE").link.unasked] == [True]


def test_levels_whose_ranges_are_not_known_are_read_and_not_set() -> None:
    _, _, profile = connected(SPE)
    assert profile.outputs[0].settings == {"state", "voltage_limit", "current_limit"}


def test_power_envelope() -> None:
    _, _, profile = connected(SPE, idn="OWON,SPE6103,1,FV:V1.0.0")
    assert profile.outputs[0].power_max == 300

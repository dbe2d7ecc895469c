"""N5700: five fields of identity, 105 % of the ratings, outputs that come back after the mains."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

N5745A = Supply(
    series="N5700",
    models={
        "Agilent Technologies,N5745A,US25D1234E,A.01.08,REV:B": "N5745A",
        "Agilent Technologies,N5771A,US13L1234M,A.05.05,REV:E": "N5771A",
    },
    answers={
        "MEAS:VOLT?": "+1.19980000E+01",
        "MEAS:CURR?": "+4.02000000E+00",
        "VOLT?": "+1.20000000E+01",
        "CURR?": "+5.00000000E+00",
        "OUTP?": "1",
        "VOLT:PROT?": "+3.60000000E+01",
        "CURR:PROT:STAT?": "0",
        "STAT:OPER:COND?": "+256",
        "STAT:QUES:COND?": "+0",
        "OUTP:PON:STAT?": "RST",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=["MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP?;:VOLT:PROT?;:CURR:PROT:STAT?;:STAT:OPER:COND?;:STAT:QUES:COND?"],
    readings={
        1: reading(
            voltage=11.998,
            current=4.02,
            voltage_limit=12.0,
            current_limit=5.0,
            state=True,
            mode="CV",
            voltage_protection=36.0,
            current_protection=False,
        )
    },
    settings=[
        (1, "voltage_limit", 31.5, ["VOLT 31.5"]),
        (1, "current_limit", 26.25, ["CURR 26.25"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_protection", 33.0, ["VOLT:PROT 33"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(N5745A)


def test_the_fifth_field_is_no_firmware() -> None:
    _, _, profile = connected(N5745A, "Agilent Technologies,N5771A,US13L1234M,A.05.05,REV:E")
    assert profile.identity is not None
    assert (profile.identity.serial, profile.identity.firmware) == ("US13L1234M", "A.05.05")
    output = profile.outputs[0]
    assert output.range("voltage_limit") == Range(0, 315)
    assert output.range("voltage_protection") == Range(5, 330)


@pytest.mark.parametrize(
    ("operation", "questionable", "mode", "tripped"),
    [
        (1024, 0, "CC", None),
        (0, 1024, "UR", None),
        (0, 1, "OFF", "OVP"),
        (0, 2, "OFF", "OCP"),
        (0, 4, "OFF", "AC"),
        (0, 16, "OFF", "OTP"),
        (0, 512, "OFF", "INHIBIT"),
    ],
)
def test_mode_and_trips(operation: int, questionable: int, mode: str, tripped: str | None) -> None:
    found = N5745A.reading({"STAT:OPER:COND?": f"+{operation}", "STAT:QUES:COND?": f"+{questionable}"})
    assert (found.mode, found.tripped) == (mode, tripped)


def test_an_output_that_comes_back_after_the_mains_is_told() -> None:
    assert connected(N5745A)[2].power_up is None
    told = connected(N5745A, answers={"OUTP:PON:STAT?": "AUTO"})[2].power_up
    assert told is not None
    assert "come back" in told

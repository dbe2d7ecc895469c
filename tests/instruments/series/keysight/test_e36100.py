"""E36100 A and B: mode and trips in two registers, ranges from the unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

E36103B = Supply(
    series="E36100",
    models={"Keysight Technologies,E36103B,MY61001234,1.0.2-1.02": "E36103B"},
    answers={
        "MEAS:VOLT?": "+1.19998700E+01",
        "MEAS:CURR?": "+1.00120000E-01",
        "VOLT?": "+1.20000000E+01",
        "CURR?": "+5.00000000E-01",
        "OUTP?": "1",
        "VOLT:PROT?": "+2.20000000E+01",
        "VOLT:PROT:STAT?": "1",
        "CURR:PROT:STAT?": "0",
        "STAT:OPER:COND?": "+256",
        "STAT:QUES:COND?": "+0",
        "VOLT? MAX": "+2.06000000E+01",
        "CURR? MAX": "+2.06000000E+00",
        "VOLT:PROT? MAX": "+2.20000000E+01",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        (
            "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP?;:VOLT:PROT?;:VOLT:PROT:STAT?;:CURR:PROT:STAT?;"
            ":STAT:OPER:COND?;:STAT:QUES:COND?"
        )
    ],
    readings={
        1: reading(
            voltage=11.99987,
            current=0.10012,
            voltage_limit=12.0,
            current_limit=0.5,
            state=True,
            mode="CV",
            voltage_protection=22.0,
            voltage_protection_state=True,
            current_protection=False,
        )
    },
    settings=[
        (1, "voltage_limit", 20.6, ["VOLT 20.6"]),
        (1, "current_limit", 0.5, ["CURR 0.5"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_protection", 21.0, ["VOLT:PROT 21"]),
        (1, "voltage_protection_state", True, ["VOLT:PROT:STAT 1"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(E36103B)


@pytest.mark.parametrize(
    ("operation", "questionable", "mode", "tripped"),
    [
        (1024, 0, "CC", None),
        (256, 0, "CV", None),
        (0, 1024, "UR", None),
        (0, 0, None, None),
        (0, 1, "OFF", "OVP"),
        (0, 2, "OFF", "OCP"),
        (0, 16, "OFF", "OTP"),
        (256 + 32, 0, "CV", None),  # and waits for a trigger
    ],
)
def test_mode_and_trips_are_in_two_registers(
    operation: int, questionable: int, mode: str | None, tripped: str | None
) -> None:
    found = E36103B.reading({"STAT:OPER:COND?": f"+{operation}", "STAT:QUES:COND?": f"+{questionable}"})
    assert (found.mode, found.tripped) == (mode, tripped)


def test_the_unit_tells_its_ranges() -> None:
    _, _, profile = connected(E36103B)
    output = profile.outputs[0]
    assert output.range("voltage_limit") == Range(0, 20.6)
    assert output.range("current_limit") == Range(0, 2.06)
    assert output.range("voltage_protection") == Range(0, 22)
    # Before it has answered the ratings of the catalogue stand for them.
    assert candidates("E36106A")[0].outputs[0].range("voltage_limit") == Range(0, 100)


def test_ranges_that_the_unit_does_not_tell_are_the_ratings() -> None:
    told: list[str] = ["VOLT? MAX", "CURR? MAX", "VOLT:PROT? MAX"]
    silent = replace(E36103B, answers={ask: answer for ask, answer in E36103B.answers.items() if ask not in told})
    output = connected(silent)[2].outputs[0]
    assert output.range("voltage_limit") == Range(0, 20)
    assert "voltage_protection" not in output.settings

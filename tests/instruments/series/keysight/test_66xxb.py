"""66xxB and C: answers as they were recorded from a 6611C."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import identify
from agent.instruments.driver import Identity
from tests.instruments.series.on_paper import CHECKS, Supply, reading, series_of

HP6611C = Supply(
    series="66xxB",
    models={
        "HEWLETT-PACKARD,6611C,MY52001234,A.01.05": "6611C",
        "HEWLETT-PACKARD,6632B,0,A.01.04": "6632B",
        "HEWLETT-PACKARD,66332A,0,A.01.03": "66332A",
    },
    answers={
        "MEAS:VOLT?": "1.64398E-2",
        "MEAS:CURR?": "-5.76047E-4",
        "VOLT?": "5.10000E+0",
        "CURR?": "2.00000E+0",
        "OUTP:STAT?": "1",
        "VOLT:PROT?": "1.20000E+1",
        "CURR:PROT:STAT?": "0",
        "STAT:OPER:COND?": "+256",
        "STAT:QUES:COND?": "+0",
        "SYST:ERR?": '+0,"No error"',
    },
    poll=[
        (
            "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP:STAT?;:VOLT:PROT?;:CURR:PROT:STAT?;"
            ":STAT:OPER:COND?;:STAT:QUES:COND?"
        )
    ],
    readings={
        1: reading(
            voltage=0.0164398,
            current=-0.000576047,
            voltage_limit=5.1,
            current_limit=2.0,
            state=True,
            mode="CV",
            voltage_protection=12.0,
            current_protection=False,
        )
    },
    settings=[
        (1, "voltage_limit", 8.19, ["VOLT 8.19"]),
        (1, "current_limit", 0.5, ["CURR 0.5"]),
        (1, "state", True, ["OUTP:STAT 1"]),
        (1, "state", False, ["OUTP:STAT 0"]),
        (1, "voltage_protection", 9.0, ["VOLT:PROT 9"]),
        (1, "current_protection", True, ["CURR:PROT:STAT 1"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(HP6611C)


@pytest.mark.parametrize(
    ("operation", "questionable", "mode", "tripped"),
    [
        (1024, 0, "CC", None),
        (2048, 0, "CC", None),  # it takes current
        (0, 1024, "UR", None),
        (0, 1, "OFF", "OVP"),  # a trip that looks healthy: OUTP? still says 1
        (0, 2, "OFF", "OCP"),
        (0, 4, "OFF", "OTHER"),
        (0, 16, "OFF", "OTP"),
        (0, 512, "OFF", "INHIBIT"),
    ],
)
def test_mode_and_trips(operation: int, questionable: int, mode: str, tripped: str | None) -> None:
    found = HP6611C.reading({"STAT:OPER:COND?": f"+{operation}", "STAT:QUES:COND?": f"+{questionable}"})
    assert (found.state, found.mode, found.tripped) == (True, mode, tripped)


def test_a_measurement_that_overflows_is_null() -> None:
    assert HP6611C.reading({"MEAS:CURR?": "9.91000E+37"}).current is None


def test_a_66311b_is_none_of_them() -> None:
    # Its answer has a full stop where the comma behind the serial number should be.
    assert identify(Identity("HEWLETT-PACKARD", "66311B", "US38441234.A", "02.02")) is None


def test_remote_mode_is_entered_on_serial_lines_only() -> None:
    link = series_of("66xxB").link
    assert link.enter == ()
    assert link.serial is not None
    assert (link.serial.enter, link.serial.leave) == (("SYST:REM",), ("SYST:LOC",))

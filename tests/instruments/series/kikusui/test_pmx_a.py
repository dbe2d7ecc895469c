"""PMX-A: ratings in the model's name, protection that is always armed, numbers that begin with a point."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

PMX18 = Supply(
    series="PMX-A",
    models={"KIKUSUI,PMX18-5A,DR000001,IFC01.56.0015 IOC01.10.0070": "PMX18-5A"},
    answers={
        "MEAS:VOLT?": "-.0045",
        "MEAS:CURR?": ".0075",
        "VOLT?": "+1.2000E+01",
        "CURR?": "+5.0000E-01",
        "OUTP?": "1",
        "VOLT:PROT?": "+1.9800E+01",
        "CURR:PROT?": "+5.5000E+00",
        "STAT:QUES:COND?": "0",
        "VOLT:EXT:SOUR?": "NONE",
        "CURR:EXT:SOUR?": "NONE",
        "SYST:ERR?": '0,"No error"',
    },
    poll=["MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:OUTP?;:VOLT:PROT?;:CURR:PROT?;:STAT:QUES:COND?"],
    readings={
        1: reading(
            voltage=-0.0045,
            current=0.0075,
            voltage_limit=12.0,
            current_limit=0.5,
            state=True,
            voltage_protection=19.8,
            current_protection_level=5.5,
        )
    },
    settings=[
        (1, "voltage_limit", 18, ["VOLT 18"]),
        (1, "current_limit", 0.25, ["CURR 0.25"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(PMX18)


@pytest.mark.parametrize(("register", "trip"), [("1", "OVP"), ("2", "OCP"), ("4", "AC"), ("16", "OTHER"), ("8", None)])
def test_trips(register: str, trip: str | None) -> None:
    found = PMX18.reading({"STAT:QUES:COND?": register})
    assert (found.tripped, found.mode) == (trip, None)


@pytest.mark.parametrize("which", ["VOLT", "CURR"])
def test_outside_control_forbids_a_setting_that_would_not_be_used(which: str) -> None:
    driver, _, _ = connected(PMX18, answers={f"{which}:EXT:SOUR?": "VOLT"})
    assert "follows an outside signal (VOLT)" in driver.inspect((1,)).bars[0]


def test_the_name_tells_the_ratings_and_levels_without_a_known_range_are_only_read() -> None:
    output = candidates("PMX35-3A")[0].outputs[0]
    assert (output.range("voltage_limit"), output.range("current_limit")) == (Range(0, 35), Range(0, 3))
    assert not output.settings & {"voltage_protection", "current_protection_level", "current_protection"}

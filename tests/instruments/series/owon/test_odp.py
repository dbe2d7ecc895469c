"""OWON ODP6033: one answer tells all outputs, and a setting goes to the output that is selected before it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import models_of
from agent.instruments.driver import IdentityError, Write
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

ODP = Supply(
    series="ODP",
    models={"OWON,ODP6033,1715040,FV:V1.0.2": "ODP6033"},
    answers={
        "MEAS:VOLT:ALL?": "1.000, 2.000, 0.000",
        "MEAS:CURR:ALL?": "0.100, 0.200, 0.000",
        "APP:VOLT?": "1.001, 2.002, 3.003",
        "APP:CURR?": "1.100, 1.200, 1.300",
        "CHAN:OUTP:ALL?": "1, 1, 0",
        "VOLT:LIM:ALL?": "61.000, 60.500, 6.600",
        "CURR:LIM:ALL?": "3.100, 3.000, 2.900",
        "OUTP:TRAC?": "0",
        "OUTP:SER?": "0",
        "OUTP:PAR?": "0",
    },
    poll=[
        "MEAS:VOLT:ALL?",
        "MEAS:CURR:ALL?",
        "APP:VOLT?",
        "APP:CURR?",
        "CHAN:OUTP:ALL?",
        "VOLT:LIM:ALL?",
        "CURR:LIM:ALL?",
    ],
    readings={
        1: reading(
            voltage=1.0,
            current=0.1,
            voltage_limit=1.001,
            current_limit=1.1,
            state=True,
            voltage_protection=61.0,
            current_protection_level=3.1,
        ),
        2: reading(
            voltage=2.0,
            current=0.2,
            voltage_limit=2.002,
            current_limit=1.2,
            state=True,
            voltage_protection=60.5,
            current_protection_level=3.0,
        ),
        3: reading(
            voltage=0.0,
            current=0.0,
            voltage_limit=3.003,
            current_limit=1.3,
            state=False,
            voltage_protection=6.6,
            current_protection_level=2.9,
        ),
    },
    settings=[
        (1, "voltage_limit", 3.3, ["INST:NSEL 1", "VOLT 3.300"]),
        (2, "current_limit", 0.25, ["INST:NSEL 2", "CURR 0.250"]),
        (3, "voltage_protection", 5.5, ["INST:NSEL 3", "VOLT:LIM 5.500"]),
        (1, "current_protection_level", 0.5, ["INST:NSEL 1", "CURR:LIM 0.500"]),
        (2, "state", True, ["INST:NSEL 2", "CHAN:OUTP 1"]),
        (3, "state", False, ["INST:NSEL 3", "CHAN:OUTP 0"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
def test_series(check: Callable[[Supply], None]) -> None:
    check(ODP)


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        ("OUTP:TRAC?", "outputs 1 and 2 track each other"),
        ("OUTP:SER?", "outputs 1 and 2 are in series"),
        ("OUTP:PAR?", "outputs 1 and 2 are in parallel"),
    ],
)
def test_outputs_that_are_tied_to_each_other_are_not_set(ask: str, text: str) -> None:
    driver, _, _ = connected(ODP, answers={ask: "1"})
    for channel in (1, 2):
        assert any(text in bar for bar in driver.inspect((channel,)).bars)
    assert driver.inspect((3,)).bars == []


def test_remote_mode_is_entered_before_anything_else_is_asked_and_left_at_the_end() -> None:
    """In local mode the unit ignores all but the question for its identity."""
    unit = ODP.unit()
    driver = TextDriver(unit, name="psu1", models=models_of(series_of("ODP")), knowledge=Knowledge())
    driver.connect()
    assert unit.sent[:2] == ["*IDN?", "SYST:REM"]
    driver.close()
    assert unit.sent[-1] == "SYST:LOC"


def test_the_switch_of_all_outputs_is_never_sent() -> None:
    driver, unit, _ = connected(ODP)
    driver.write(Write("state", (1, 2, 3), False))
    assert unit.sent == [message for channel in "123" for message in (f"INST:NSEL {channel}", "CHAN:OUTP 0")]


def test_outputs_of_other_models_are_not_known() -> None:
    """Their ratings are in no source, so they get no commands."""
    with pytest.raises(IdentityError, match="not a ODP6033"):
        connected(ODP, idn="OWON,ODP3012,24320001,FV:V3.9.0")

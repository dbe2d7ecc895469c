"""2220, 2230, 2231A: measured by name, set by selection, three switches. Identities as units and the manual tell them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

K2230 = Supply(
    series="2230",
    models={
        "Keithley instruments, 2230G-30-1, 9203123, 1.16-1.04": "2230G-30-1",
        "Keithley Instruments, 2230G-30-6, 802901123456789012, 1.01-1.07": "2230G-30-6",
        "Keithley instruments, 2231A-30-3, 0123456789ABCDEFGH, 1.01-1.04": "2231A-30-3",
    },
    answers={
        "MEAS:VOLT? CH1": "5.0001",
        "MEAS:VOLT? CH2": "12.0003",
        "MEAS:VOLT? CH3": "0.0002",
        "MEAS:CURR? CH1": "0.1002",
        "MEAS:CURR? CH2": "0.0000",
        "MEAS:CURR? CH3": "0.0000",
        "VOLT?": {1: "5.0", 2: "12.0", 3: "3.3"},
        "CURR?": {1: "1.0", 2: "0.5", 3: "5.0"},
        "CHAN:OUTP:STAT?": {1: "1", 2: "1", 3: "0"},
        "OUTP:ENAB?": {1: "1", 2: "1", 3: "1"},
        "INST:COM?": "OFF",
        "SYST:ERR?": '0,"No error"',
    },
    poll=[
        (
            "MEAS:VOLT? CH1;:MEAS:VOLT? CH2;:MEAS:VOLT? CH3;:MEAS:CURR? CH1;:MEAS:CURR? CH2;:MEAS:CURR? CH3;"
            ":INST:NSEL 1;:VOLT?;:CURR?;:CHAN:OUTP:STAT?;"
            ":INST:NSEL 2;:VOLT?;:CURR?;:CHAN:OUTP:STAT?;"
            ":INST:NSEL 3;:VOLT?;:CURR?;:CHAN:OUTP:STAT?"
        )
    ],
    readings={
        1: reading(voltage=5.0001, current=0.1002, voltage_limit=5.0, current_limit=1.0, state=True),
        2: reading(voltage=12.0003, current=0.0, voltage_limit=12.0, current_limit=0.5, state=True),
        3: reading(voltage=0.0002, current=0.0, voltage_limit=3.3, current_limit=5.0, state=False),
    },
    settings=[
        (1, "voltage_limit", 12.5, ["INST:NSEL 1;:VOLT 12.5"]),
        (3, "current_limit", 4.5, ["INST:NSEL 3;:CURR 4.5"]),
        (1, "current_limit", 1.5, ["INST:NSEL 1;:CURR 1.5"]),
        (2, "state", True, ["INST:NSEL 2;:CHAN:OUTP 1"]),
        (1, "state", False, ["INST:NSEL 1;:CHAN:OUTP 0"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(K2230)


def test_the_switch_of_an_output_acts_on_it_alone() -> None:
    driver, unit, profile = connected(K2230)
    assert profile.together == ()
    driver.write(Write("state", (1, 3), True))
    assert unit.sent == ["INST:NSEL 1;:CHAN:OUTP 1", "INST:NSEL 3;:CHAN:OUTP 1"]


@pytest.mark.parametrize("answer", ["Series", "Parallel", "TRACK"])
def test_combined_outputs_are_not_set(answer: str) -> None:
    driver, _, _ = connected(K2230, answers={"INST:COM?": answer})
    assert "INST:COM:OFF" in driver.inspect((1,)).bars[0]
    assert "INST:COM:OFF" in driver.inspect((2,)).bars[0]
    assert driver.inspect((3,)).bars == []


def test_an_output_that_takes_no_part_is_not_turned_on() -> None:
    driver, _, _ = connected(K2230, answers={"OUTP:ENAB?": {1: "1", 2: "0", 3: "1"}})
    assert "OUTP:ENAB 1" in driver.inspect((2,), settings={"state"}).bars[0]
    assert driver.inspect((2,), settings={"voltage_limit"}).bars == []
    assert driver.inspect((1,), settings={"state"}).bars == []

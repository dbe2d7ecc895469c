"""EEZ BB3 and H24005: modules that the unit tells, three ways of addressing, short lines, a clear that may turn the output on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from agent.instruments.driver import Range, Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

OUTPUTS = (1, 2, 3)
#: One DCP405, and the two outputs of one DCM220.
BB3 = Supply(
    series="BB3",
    models={
        "Envox,EEZ BB3 (STM32F7),00001,v0.1": "EEZ BB3",
        "Envox,EEZ BB3 (STM32),00001,1.8": "EEZ BB3",
        "Envox,EEZ BB3 (Simulator),00001,1.8": "EEZ BB3",
    },
    answers={
        "SYST:CHAN:COUN?": "3",
        "SYST:CHAN:MOD? CH1": '"DCP405"',
        "SYST:CHAN:MOD? CH2": '"DCM220"',
        "SYST:CHAN:MOD? CH3": '"DCM220"',
        **{f"MEAS:VOLT? CH{ch}": f"{ch}.50" for ch in OUTPUTS},
        **{f"MEAS:CURR? CH{ch}": "1.23" for ch in OUTPUTS},
        **{f"SOUR{ch}:VOLT?": f"{ch}.50" for ch in OUTPUTS},
        **{f"SOUR{ch}:CURR?": "2.00" for ch in OUTPUTS},
        **{f"OUTP? CH{ch}": "1" for ch in OUTPUTS},
        **{f"SOUR{ch}:VOLT:PROT?": "40.00" for ch in OUTPUTS},
        **{f"SOUR{ch}:VOLT:PROT:STAT?": "1" for ch in OUTPUTS},
        **{f"SOUR{ch}:CURR:PROT:STAT?": "0" for ch in OUTPUTS},
        **{f"STAT:QUES:INST:ISUM{ch}:COND?": "2" for ch in OUTPUTS},
        **{f"OUTP:TRAC? CH{ch}": "0" for ch in OUTPUTS},
        "INST:COUP:TRAC?": "NONE",
        "SYST:ERR?": '0,"No error"',
        "SYST:PON:OUTP:DIS?": "1",
    },
    poll=[
        "MEAS:VOLT? CH1;:MEAS:VOLT? CH2;:MEAS:VOLT? CH3",
        "MEAS:CURR? CH1;:MEAS:CURR? CH2;:MEAS:CURR? CH3",
        "SOUR1:VOLT?;:SOUR2:VOLT?;:SOUR3:VOLT?",
        "SOUR1:CURR?;:SOUR2:CURR?;:SOUR3:CURR?;:OUTP? CH1",
        "OUTP? CH2;:OUTP? CH3;:SOUR1:VOLT:PROT?",
        "SOUR2:VOLT:PROT?;:SOUR3:VOLT:PROT?",
        "SOUR1:VOLT:PROT:STAT?;:SOUR2:VOLT:PROT:STAT?",
        "SOUR3:VOLT:PROT:STAT?;:SOUR1:CURR:PROT:STAT?",
        "SOUR2:CURR:PROT:STAT?;:SOUR3:CURR:PROT:STAT?",
        "STAT:QUES:INST:ISUM1:COND?",
        "STAT:QUES:INST:ISUM2:COND?",
        "STAT:QUES:INST:ISUM3:COND?",
    ],
    readings={
        ch: reading(
            voltage=ch + 0.5,
            current=1.23,
            voltage_limit=ch + 0.5,
            current_limit=2.0,
            state=True,
            voltage_protection=40.0,
            voltage_protection_state=True,
            current_protection=False,
            mode="CV",
        )
        for ch in OUTPUTS
    },
    settings=[
        (2, "state", True, ["OUTP 1,CH2"]),
        (1, "state", False, ["OUTP 0,CH1"]),
        (1, "voltage_limit", 3.3, ["SOUR1:VOLT 3.3"]),
        (3, "current_limit", 1.5, ["SOUR3:CURR 1.5"]),
        (1, "current_limit", 1.5, ["SOUR1:CURR 1.5"]),
        (1, "voltage_protection_state", True, ["SOUR1:VOLT:PROT:STAT 1"]),
        (1, "current_protection", True, ["SOUR1:CURR:PROT:STAT 1"]),
        (1, "clear_protection", True, ["OUTP 0,CH1", "OUTP:PROT:CLE CH1"]),
    ],
    refusal=('150,"Power limit exceeded"', "Power limit exceeded"),
)


H24005 = Supply(
    series="H24005",
    models={"Envox,EEZ H24005 (Simulator),0000000,v1.1.2": "H24005", "Envox,EEZ H24005 (Due),CS17001,v1.1": "H24005"},
    answers={
        **{
            ask: answer
            for ask, answer in BB3.answers.items()
            if "CH3" not in ask and "3:" not in ask and "MOD" not in ask
        },
        **{f"SYST:CHAN:INFO:VOLT? CH{ch}": "40.00" for ch in (1, 2)},
        **{f"SYST:CHAN:INFO:CURR? CH{ch}": "5.00" for ch in (1, 2)},
    },
    poll=[
        "MEAS:VOLT? CH1;:MEAS:VOLT? CH2;:MEAS:CURR? CH1",
        "MEAS:CURR? CH2;:SOUR1:VOLT?;:SOUR2:VOLT?",
        "SOUR1:CURR?;:SOUR2:CURR?;:OUTP? CH1;:OUTP? CH2",
        "SOUR1:VOLT:PROT?;:SOUR2:VOLT:PROT?",
        "SOUR1:VOLT:PROT:STAT?;:SOUR2:VOLT:PROT:STAT?",
        "SOUR1:CURR:PROT:STAT?;:SOUR2:CURR:PROT:STAT?",
        "STAT:QUES:INST:ISUM1:COND?",
        "STAT:QUES:INST:ISUM2:COND?",
    ],
    readings={ch: BB3.readings[ch] for ch in (1, 2)},
    settings=[line for line in BB3.settings if line[0] != 3],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("supply", [BB3, H24005], ids=["BB3", "H24005"])
def test_series(supply: Supply, check: Callable[[Supply], None]) -> None:
    check(supply)


def test_a_line_that_nobody_asked_for_is_told_from_answers() -> None:
    """H24005's firmware puts it on the link behind a refused command."""
    (line,) = series_of("H24005").link.unasked
    assert re.fullmatch(line, '**ERROR: -222,"Data out of range"')
    assert not re.fullmatch(line, '-222,"Data out of range"')


def test_a_smaller_board_tells_its_range() -> None:
    _, _, profile = connected(H24005, answers={"SYST:CHAN:INFO:VOLT? CH2": "30.00", "SYST:CHAN:INFO:CURR? CH2": "3.12"})
    assert profile.outputs[1].ranges == {"voltage_limit": Range(0, 30), "current_limit": Range(0, 3.12)}


def test_no_line_is_longer_than_the_input_buffer_of_the_manual() -> None:
    assert max(map(len, BB3.poll)) <= 48


@pytest.mark.parametrize(
    ("register", "mode", "tripped"),
    [
        (0, "OFF", None),
        (1, "CC", None),
        (2, "CV", None),
        (3, "UR", None),
        (1 << 4, "OFF", "OTP"),
        (1 << 8, "OFF", "OVP"),
        (1 << 9, "OFF", "OCP"),
        (1 << 10, "OFF", "OPP"),
    ],
)
def test_register(register: int, mode: str, tripped: str | None) -> None:
    told = BB3.reading({"STAT:QUES:INST:ISUM2:COND?": str(register)}, 2)
    assert (told.mode, told.tripped) == (mode, tripped)


def test_the_modules_tell_ranges_and_power() -> None:
    first, second, third = connected(BB3)[2].outputs
    assert (first.ranges["voltage_limit"], first.power_max) == (Range(0, 40), 155)
    assert (second.ranges["voltage_limit"], second.power_max) == (Range(1, 20), 80)
    assert third.ranges == second.ranges


def test_an_unknown_module_is_read_and_not_set() -> None:
    _, _, profile = connected(BB3, answers={"SYST:CHAN:MOD? CH3": '"DCX9"'})
    assert "voltage_limit" not in profile.outputs[2].settings
    assert "voltage_limit" in profile.outputs[0].settings


def test_a_clear_comes_behind_an_off() -> None:
    """By the manual it puts the output back to what it was before the trip."""
    driver, unit, _ = connected(BB3)
    driver.write(Write("clear_protection", (2,), True))
    assert unit.sent == ["OUTP 0,CH2", "OUTP:PROT:CLE CH2"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [({"OUTP:TRAC? CH1": "1"}, "tracks others"), ({"INST:COUP:TRAC?": "PAR"}, "outputs are coupled")],
)
def test_couplings(answers: dict[str, Any], words: str) -> None:
    driver, _, _ = connected(BB3, answers=answers)
    assert any(words in bar for bar in driver.inspect([1]).bars)
    assert connected(BB3)[0].inspect([1]).bars == []


@pytest.mark.parametrize("supply", [BB3, H24005])
def test_outputs_that_come_back_are_told(supply: Supply) -> None:
    assert connected(supply, answers={"SYST:PON:OUTP:DIS?": "1"})[2].power_up is None
    assert connected(supply, answers={"SYST:PON:OUTP:DIS?": "0"})[2].power_up is not None

"""HMC804x: a switch for each output and a master; VOLT:PROT is a switch; no mode, as sources contradict each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

_ASKS = [
    "MEAS:VOLT?",
    "MEAS:CURR?",
    "VOLT?",
    "CURR?",
    "OUTP?",
    "VOLT:PROT?",
    "VOLT:PROT:LEV?",
    "VOLT:PROT:TRIP?",
    "FUSE:STAT?",
    "FUSE:TRIP?",
]
_TOLD = dict(
    zip(_ASKS, ["5.0000E+00", "0.0000E+00", "5.000", "1.0000", "1", "0", "33.000", "0", "1", "0"], strict=True)
)
_READ = reading(
    voltage=5.0,
    current=0.0,
    voltage_limit=5.0,
    current_limit=1.0,
    state=True,
    voltage_protection=33.0,
    voltage_protection_state=False,
    current_protection=True,
)

HMC8043 = Supply(
    series="HMC804x",
    models={"Rohde&Schwarz,HMC8043,053112345,HW42000000,SW01.400": "HMC8043"},
    answers={**_TOLD, "OUTP:MAST?": "1", "SYST:ERR?": '0,"No error"'},
    poll=["OUTP:MAST?;:" + ";:".join(f"INST:NSEL {channel};:" + ";:".join(_ASKS) for channel in (1, 2, 3))],
    readings={1: _READ, 2: _READ, 3: _READ},
    settings=[
        (1, "voltage_limit", 12.345, ["INST:NSEL 1;:VOLT 12.345"]),
        (3, "current_limit", 2.5, ["INST:NSEL 3;:CURR 2.5"]),
        (1, "current_limit", 2.5, ["INST:NSEL 1;:CURR 2.5"]),
        (1, "state", True, ["INST:NSEL 1;:OUTP:CHAN ON"]),
        (2, "state", False, ["INST:NSEL 2;:OUTP:CHAN OFF"]),
        (1, "voltage_protection_state", True, ["INST:NSEL 1;:VOLT:PROT:STAT ON"]),
        (1, "current_protection", False, ["INST:NSEL 1;:FUSE:STAT OFF"]),
        (1, "clear_protection", True, ["INST:NSEL 1;:VOLT:PROT:CLE"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(HMC8043)


def test_an_output_is_on_only_behind_a_closed_master_switch() -> None:
    assert HMC8043.reading({"OUTP:MAST?": "0"}).state is False
    driver, _, _ = connected(HMC8043, answers={"OUTP:MAST?": "0"})
    assert "master switch of the unit is off" in driver.inspect((2,), settings={"state"}).bars[0]


def test_the_single_output_knows_neither_selection_nor_master() -> None:
    driver, unit, profile = connected(HMC8043, "Rohde&Schwarz,HMC8041,053112345,HW42000000,SW01.400")
    assert driver.poll(lambda: False) == {1: _READ}
    driver.write(Write("state", (1,), False))
    assert unit.sent == [";:".join(_ASKS), "OUTP OFF"]
    assert profile.identity is not None
    assert (profile.identity.serial, profile.identity.firmware) == ("053112345", "SW01.400")


def test_the_level_is_never_sent_to_the_switch_of_the_protection() -> None:
    file = series_of("HMC804x").model_dump_json(include={"settings"})
    assert "VOLT:PROT {" not in file
    assert "OUTP:MAST" not in file


def test_trips() -> None:
    assert HMC8043.reading({"VOLT:PROT:TRIP?": "1"}, 2).tripped == "OVP"
    assert HMC8043.reading({"FUSE:TRIP?": "1"}, 3).tripped == "OCP"

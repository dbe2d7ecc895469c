"""E3631A: outputs by name, one switch for all, no protection. Answers of the form that the User's Guide E3631-90002 gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

E3631A = Supply(
    series="E3631A",
    models={
        "HEWLETT-PACKARD,E3631A,0,3.2-6.0-2.0": "E3631A",
        "HEWLETT-PACKARD,E3631A,0,2.1-5.0-1.0": "E3631A",
    },
    answers={
        "MEAS:VOLT? P6V": "+5.00000000E+00",
        "MEAS:VOLT? P25V": "+1.19987000E+01",
        "MEAS:VOLT? N25V": "-1.20013000E+01",
        "MEAS:CURR? P6V": "+1.00000000E+00",
        "MEAS:CURR? P25V": "+2.00000000E-01",
        "MEAS:CURR? N25V": "+0.00000000E+00",
        "APPL? P6V": '"5.000000,1.000000"',
        "APPL? P25V": '"12.000000,0.200000"',
        "APPL? N25V": '"-12.000000,0.500000"',
        "OUTP?": "1",
        "STAT:QUES:INST:ISUM1:COND?": "+2",
        "STAT:QUES:INST:ISUM2:COND?": "+1",
        "STAT:QUES:INST:ISUM3:COND?": "+0",
        "OUTP:TRAC?": "0",
        "SYST:ERR?": '+0,"No error"',
    },
    # No message is longer than 90 characters: the input buffer takes about 100.
    poll=[
        "MEAS:VOLT? P6V;:MEAS:VOLT? P25V;:MEAS:VOLT? N25V;:MEAS:CURR? P6V;:MEAS:CURR? P25V",
        "MEAS:CURR? N25V;:APPL? P6V;:APPL? P25V;:APPL? N25V;:OUTP?;:STAT:QUES:INST:ISUM1:COND?",
        "STAT:QUES:INST:ISUM2:COND?;:STAT:QUES:INST:ISUM3:COND?",
    ],
    readings={
        1: reading(voltage=5.0, current=1.0, voltage_limit=5.0, current_limit=1.0, state=True, mode="CV"),
        2: reading(voltage=11.9987, current=0.2, voltage_limit=12.0, current_limit=0.2, state=True, mode="CC"),
        3: reading(voltage=-12.0013, current=0.0, voltage_limit=-12.0, current_limit=0.5, state=True, mode="UR"),
    },
    settings=[
        (1, "voltage_limit", 5.5, ["INST:NSEL 1;:VOLT 5.5"]),
        (3, "voltage_limit", -12.5, ["INST:NSEL 3;:VOLT -12.5"]),
        (2, "current_limit", 0.25, ["INST:NSEL 2;:CURR 0.25"]),
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(E3631A)


def test_one_switch_acts_on_all_outputs() -> None:
    driver, unit, profile = connected(E3631A)
    assert profile.together == (frozenset({1, 2, 3}),)
    driver.write(Write("state", (1, 2, 3), True))
    assert unit.sent == ["OUTP 1"]


def test_tracking_forbids_a_setting_of_an_output_that_tracks() -> None:
    driver, _, _ = connected(E3631A, answers={"OUTP:TRAC?": "1"})
    assert "N25V follows P25V" in driver.inspect((3,)).bars[0]
    assert driver.inspect((1,)).bars == []


def test_both_bits_are_a_fault_and_no_mode() -> None:
    assert E3631A.reading({"STAT:QUES:INST:ISUM1:COND?": "+3"}).mode is None


def test_the_negative_output_takes_negative_voltages_only() -> None:
    _, _, profile = connected(E3631A)
    limits = profile.outputs[2].range("voltage_limit")
    assert limits is not None
    assert -25.75 in limits
    assert 1.0 not in limits
    assert "OUTP:REL" not in series_of("E3631A").model_dump_json(include={"settings", "polls", "link"})

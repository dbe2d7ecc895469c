"""IT6300: outputs that are selected, each with a switch of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

IT6302 = Supply(
    series="IT6300",
    models={
        "ITECH Ltd., IT6302, 800071020000000001, 1.05-1.04": "IT6302",
        "ITECH Ltd., IT6332A, 802071090000000002, 1.11-1.08": "IT6332A",
        "ITECH Ltd., IT6333A, 800572020000000003, 1.11-1.08": "IT6333A",
    },
    answers={
        "MEAS:VOLT?": {1: "5.0003", 2: "0.0002", 3: "3.3001"},
        "MEAS:CURR?": {1: "0.1202", 2: "0.0000", 3: "0.5000"},
        "VOLT?": {1: "5.0000", 2: "12.0000", 3: "3.3000"},
        "CURR?": {1: "1.0000", 2: "0.5000", 3: "0.5000"},
        "CHAN:OUTP?": {1: "1", 2: "0", 3: "1"},
        "SYST:ERR?": "0,'No Error'",
    },
    poll=[
        "INST:NSEL 1",
        "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:CHAN:OUTP?",
        "INST:NSEL 2",
        "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:CHAN:OUTP?",
        "INST:NSEL 3",
        "MEAS:VOLT?;:MEAS:CURR?;:VOLT?;:CURR?;:CHAN:OUTP?",
    ],
    readings={
        1: reading(voltage=5.0003, current=0.1202, voltage_limit=5.0, current_limit=1.0, state=True),
        2: reading(voltage=0.0002, current=0.0, voltage_limit=12.0, current_limit=0.5, state=False),
        3: reading(voltage=3.3001, current=0.5, voltage_limit=3.3, current_limit=0.5, state=True),
    },
    settings=[
        (1, "voltage_limit", 30, ["INST:NSEL 1", "VOLT 30"]),
        (3, "current_limit", 0.25, ["INST:NSEL 3", "CURR 0.25"]),
        (2, "state", True, ["INST:NSEL 2", "CHAN:OUTP 1"]),
        (2, "state", False, ["INST:NSEL 2", "CHAN:OUTP 0"]),
    ],
    refusal=("120,'Parameter overflowed'", "Parameter overflowed"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(IT6302)


def test_an_output_is_switched_by_itself_never_by_the_switch_for_all() -> None:
    driver, unit, profile = connected(IT6302)
    assert profile.together == ()
    driver.write(Write("state", (1, 3), False))
    assert unit.sent == ["INST:NSEL 1", "CHAN:OUTP 0", "INST:NSEL 3", "CHAN:OUTP 0"]


def test_remote_mode_is_entered_and_left() -> None:
    driver, unit, _ = connected(IT6302)
    driver.connect()
    assert "SYST:REM" in unit.sent
    driver.close()
    assert unit.sent[-1] == "SYST:LOC"


def test_levels_without_a_known_range_are_read_and_not_set() -> None:
    _, _, profile = connected(IT6302, "ITECH Ltd., IT6332A, 802071090000000002, 1.11-1.08")
    assert profile.outputs[0].settings == {"state"}
    assert "set it at the panel" in profile.outputs[0].unsupported["voltage_limit"]

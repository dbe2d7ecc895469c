"""NGE100: armed outputs behind a master switch; no mode. Answers of the forms that drivers show."""

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
    "FUSE?",
    "FUSE:TRIP?",
]
_TOLD = dict(zip(_ASKS, ["5.000", "0.1000", "5.00", "0.100", "1", "1", "33.00", "0", "0", "0"], strict=True))
_READ = reading(
    voltage=5.0,
    current=0.1,
    voltage_limit=5.0,
    current_limit=0.1,
    state=True,
    voltage_protection=33.0,
    voltage_protection_state=True,
    current_protection=False,
)

NGE103B = Supply(
    series="NGE100",
    models={"Rohde&Schwarz,NGE103B,5601.3800k03/101234,1.52": "NGE103B"},
    answers={**_TOLD, "OUTP:GEN?": "1", "SYST:ERR?": '0, "No error"'},
    # Selections go by themselves: no source has one in a message with a query.
    poll=[
        "OUTP:GEN?",
        *[message for channel in (1, 2, 3) for message in (f"INST:NSEL {channel}", ";:".join(_ASKS))],
    ],
    readings={1: _READ, 2: _READ, 3: _READ},
    settings=[
        (1, "voltage_limit", 3.3, ["INST:NSEL 1", "VOLT 3.3"]),
        (1, "current_limit", 0.5, ["INST:NSEL 1", "CURR 0.5"]),
        (2, "state", True, ["INST:NSEL 2", "OUTP:SEL 1"]),
        (1, "state", False, ["INST:NSEL 1", "OUTP:SEL 0"]),
        (1, "voltage_protection_state", False, ["INST:NSEL 1", "VOLT:PROT OFF"]),
        (1, "current_protection", True, ["INST:NSEL 1", "FUSE ON"]),
        (1, "clear_protection", True, ["INST:NSEL 1", "VOLT:PROT:CLE"]),
    ],
    refusal=('-222, "Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(NGE103B)


def test_an_output_is_on_only_behind_a_closed_master_switch() -> None:
    assert NGE103B.reading({"OUTP:GEN?": "0"}).state is False
    driver, _, _ = connected(NGE103B, answers={"OUTP:GEN?": "0"})
    assert "master switch of the unit is off" in driver.inspect((2,), settings={"state"}).bars[0]


def test_neither_outp_nor_the_master_switch_is_ever_sent() -> None:
    driver, unit, _ = connected(NGE103B)
    for value in (True, False):
        driver.write(Write("state", (1, 2, 3), value))
    assert {message for message in unit.sent if "OUTP" in message} == {"OUTP:SEL 1", "OUTP:SEL 0"}
    assert "OUTP:GEN" not in series_of("NGE100").model_dump_json(include={"settings"})


def test_trips_and_no_mode() -> None:
    assert NGE103B.reading({"VOLT:PROT:TRIP?": "1"}, 2).tripped == "OVP"
    told = NGE103B.reading({"FUSE:TRIP?": "1"}, 3)
    assert (told.tripped, told.mode) == ("OCP", None)

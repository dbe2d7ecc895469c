"""NGL200, NGM200, NGU, NGA100: armed outputs behind a master switch, mode and trips in one register (table A-5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

_ASKS = [
    "MEAS:VOLT?",
    "MEAS:CURR?",
    "VOLT?",
    "CURR?",
    "OUTP?",
    "VOLT:PROT?",
    "VOLT:PROT:LEV?",
    "FUSE?",
    "POW:PROT:TRIP?",
]
_TOLD = dict(zip(_ASKS, ["5.0001", "-0.1000", "5.000", "1.0000", "1", "1", "21.000", "0", "0"], strict=True))
_READ = {
    "voltage": 5.0001,
    "current": -0.1,
    "voltage_limit": 5.0,
    "current_limit": 1.0,
    "state": True,
    "voltage_protection": 21.0,
    "voltage_protection_state": True,
    "current_protection": False,
}
_REGISTERS = ("STAT:QUES:INST:ISUM1:COND?", "STAT:QUES:INST:ISUM2:COND?")

NGL202 = Supply(
    series="NGL200",
    models={"Rohde&Schwarz,NGL202,3638.3376k03/101234,04.000 002CBB20D8F": "NGL202"},
    answers={
        **_TOLD,
        "OUTP:GEN?": "1",
        _REGISTERS[0]: "2",
        _REGISTERS[1]: "1",
        "SYST:ERR?": '0, "No error"',
        "VOLT:PROT:TRIP?": "0",
        "FUSE:TRIP?": "0",
    },
    poll=[
        ";:".join((*_REGISTERS, "OUTP:GEN?")),
        *[message for channel in (1, 2) for message in (f"INST:NSEL {channel}", ";:".join(_ASKS))],
    ],
    readings={1: reading(**_READ, mode="CV"), 2: reading(**_READ, mode="CC")},
    settings=[
        (1, "voltage_limit", 3.3, ["INST:NSEL 1", "VOLT 3.3"]),
        (2, "current_limit", 0.5, ["INST:NSEL 2", "CURR 0.5"]),
        (1, "current_limit", 0.5, ["INST:NSEL 1", "CURR 0.5"]),
        (1, "state", True, ["INST:NSEL 1", "OUTP:SEL 1"]),
        (2, "state", False, ["INST:NSEL 2", "OUTP:SEL 0"]),
        (1, "voltage_protection_state", True, ["INST:NSEL 1", "VOLT:PROT ON"]),
        (1, "current_protection", True, ["INST:NSEL 1", "FUSE ON"]),
        (
            1,
            "clear_protection",
            True,
            ["INST:NSEL 1", "VOLT:PROT:CLE", "INST:NSEL 1", "FUSE:TRIP:CLE", "INST:NSEL 1", "POW:PROT:CLE"],
        ),
    ],
    refusal=('-222, "Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(NGL202)


@pytest.mark.parametrize(("bits", "tripped"), [(1 << 4, "OTP"), (1 << 9, "OVP"), (1 << 10, "OCP"), (2, None)])
def test_the_register_has_the_trips(bits: int, tripped: str | None) -> None:
    assert NGL202.reading({_REGISTERS[1]: str(bits)}, 2).tripped == tripped


def test_the_power_limit_is_a_trip_of_its_own() -> None:
    assert NGL202.reading({"POW:PROT:TRIP?": "1"}).tripped == "OPP"


def test_an_output_is_on_only_behind_a_closed_master_switch() -> None:
    assert NGL202.reading({"OUTP:GEN?": "0"}).state is False
    driver, _, _ = connected(NGL202, answers={"OUTP:GEN?": "0"})
    assert "master switch of the unit is off" in driver.inspect((2,), settings={"state"}).bars[0]
    assert "OUTP:GEN" not in series_of("NGL200").model_dump_json(include={"settings"})


def test_the_nga_tells_its_trips_elsewhere_and_no_mode() -> None:
    idn = "Rohde&Schwarz,NGA102,5601.8002k03/101234,04.000"
    driver, unit, _ = connected(NGL202, idn, answers={"FUSE:TRIP?": "1"})
    readings = driver.poll(lambda: False)
    assert readings is not None
    assert readings[1] == reading(**_READ, tripped="OCP")
    assert not any("ISUM" in message for message in unit.sent)

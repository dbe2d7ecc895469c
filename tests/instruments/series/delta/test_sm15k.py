"""Delta Elektronika SM15K: five fields in the identity, ranges and steps from the unit, sources of control, no trip to clear."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import candidates, models_of
from agent.instruments.driver import IdentityError, Range
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

#: MAX? and STE? as the manual has them.
SM15K = Supply(
    series="SM15K",
    models={"DELTA ELEKTRONIKA BV,SM500-CP-90,000010200000,H0_P0150,0": "SM500-CP-90"},
    answers={
        "MEAS:VOLT?": "14.0003",
        "MEAS:CURR?": "1.2500",
        "SOUR:VOLT?": "14.0000",
        "SOUR:CURR?": "2.0000",
        "OUTP?": "1",
        "STAT:REG:A?": "66",
        "SYST:REM:CV?": "Remote",
        "SYST:REM:CC?": "Remote",
        "SYST:ERR?": "0,None",
        "SOUR:VOLT:MAX?": "500",
        "SOUR:CURR:MAX?": "90",
        "SOUR:POW:MAX?": "15000",
        "SOUR:VOLT:STE?": "1.055924221873283e-03",
        "SOUR:CURR:STE?": "1.9e-04",
    },
    poll=["MEAS:VOLT?;:MEAS:CURR?;:SOUR:VOLT?;:SOUR:CURR?;:OUTP?;:STAT:REG:A?"],
    readings={1: reading(voltage=14.0003, current=1.25, voltage_limit=14.0, current_limit=2.0, state=True, mode="CC")},
    settings=[
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_limit", 14.0, ["SOUR:VOLT 14.0000"]),
        (1, "current_limit", 2.5, ["SOUR:CURR 2.5000"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_series(check: Callable[[Supply], None]) -> None:
    check(SM15K)


@pytest.mark.parametrize(
    ("register", "mode", "tripped"),
    [
        (1, "CV", None),
        (4, "CP", None),
        (3, None, None),
        (1 << 8, "OFF", "OTP"),
        (1 << 10, "OFF", "AC"),
        (1 << 11, "OFF", "INTERLOCK"),
        (1 << 12, "OFF", "INHIBIT"),
        (1 << 13 | 1, "CV", None),
    ],
)
def test_register(register: int, mode: str | None, tripped: str | None) -> None:
    told = SM15K.reading({"STAT:REG:A?": str(register)})
    assert (told.mode, told.tripped) == (mode, tripped)


def test_the_unit_tells_its_ranges() -> None:
    _, _, profile = connected(SM15K, answers={"SOUR:VOLT:MAX?": "480"})
    output = profile.outputs[0]
    assert output.ranges == {"voltage_limit": Range(0, 480), "current_limit": Range(0, 90)}
    assert output.power_max == 15000
    assert output.voltage_resolution == pytest.approx(1.0559e-3, rel=1e-3)


@pytest.mark.parametrize(("ask", "setting"), [("SYST:REM:CV?", "voltage_limit"), ("SYST:REM:CC?", "current_limit")])
@pytest.mark.parametrize("source", ["Local", "Front", "Web", "Sequencer", "Slot1", "LOC"])
def test_a_setting_that_is_programmed_from_elsewhere(ask: str, setting: str, source: str) -> None:
    driver, _, _ = connected(SM15K, answers={ask: source})
    assert any("programmed from elsewhere" in bar for bar in driver.inspect([1], settings=[setting]).bars)  # type: ignore[list-item]
    assert driver.inspect([1], settings=["state"]).bars == []


def test_nothing_rescales_the_unit() -> None:
    """Written, SOUR:VOLT:MAX and SOUR:CURR:MAX change the scale of older units."""
    series = series_of("SM15K")
    entries = [entry for name in series.settings for entry in series.entries(name)]
    texts = [text for entry in entries for text in (*entry.send, *entry.on, *entry.off)]
    assert not any("MAX" in text or "CALI" in text or "RSD" in text for text in texts)
    assert all(question.ask.endswith("?") for question in series.ratings)


def test_no_way_to_clear_a_trip_is_told() -> None:
    _, _, profile = connected(SM15K)
    assert "no command that clears a trip" in profile.outputs[0].unsupported["clear_protection"]


def test_the_older_interface_tells_itself_and_not_its_supply() -> None:
    unit = SM15K.unit("DELTA ELEKTRONIKA BV,PSC ETH P177 V3.7.0,10100000,0")
    driver = TextDriver(unit, name="psu1", models=models_of(series_of("SM15K")), knowledge=Knowledge())
    with pytest.raises(IdentityError):
        driver.connect()
    assert set(unit.sent) == {"*IDN?"}


@pytest.mark.parametrize(
    ("model", "volts", "amps"),
    [
        ("SM70-AR-24", 70, 24),
        ("SM66-AR-110", 66, 110),
        ("SM330-AR-22", 330, 22),
        ("SM15-100", 15, 100),
        ("ES030-5", 30, 5),
    ],
)
def test_ratings_come_from_the_name(model: str, volts: float, amps: float) -> None:
    (found,) = candidates(model)
    assert (found.outputs[0].voltage_rating, found.outputs[0].current_rating) == (volts, amps)

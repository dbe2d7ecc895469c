"""TDK-Lambda's SCPI: Genesys with an interface option, GENESYS+ and Z+."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import AmbiguousModelError, candidates, identify, models_of
from agent.instruments.driver import Identity, Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

#: Literal answers begin with "LAMBDA,GEN" and "TDK-LAMBDA,Z36-6-LAN,"; the rest is made up.
OPTION = Supply(
    series="Genesys SCPI",
    models={
        "LAMBDA,GEN100-7.5,S/N:1234567,REV:1.0": "GEN100-7.5",
        "TDK-LAMBDA,Z36-6-LAN,1234567,1.0": "Z36-6-LAN",
    },
    answers={
        "MEAS:VOLT?": "47.98",
        "MEAS:CURR?": "1.502",
        "VOLT?": "48.00",
        "CURR?": "2.000",
        "OUTP:STAT?": "ON",
        "VOLT:PROT:LEV?": "60.0",
        "VOLT:PROT:TRIP?": "0",
        "CURR:PROT:STAT?": "0",
        "CURR:PROT:TRIP?": "0",
        "OUTP:PON?": "OFF",
    },
    poll=[
        *("MEAS:VOLT?", "MEAS:CURR?", "VOLT?", "CURR?", "OUTP:STAT?"),
        *("VOLT:PROT:LEV?", "VOLT:PROT:TRIP?", "CURR:PROT:STAT?", "CURR:PROT:TRIP?"),
    ],
    readings={
        1: reading(
            voltage=47.98,
            current=1.502,
            voltage_limit=48.0,
            current_limit=2.0,
            state=True,
            voltage_protection=60.0,
            current_protection=False,
        )
    },
    settings=[
        (1, "state", True, ["OUTP:STAT ON"]),
        (1, "state", False, ["OUTP:STAT OFF"]),
        (1, "voltage_limit", 12.5, ["VOLT 12.5"]),
        (1, "current_limit", 1.5, ["CURR 1.5"]),
        (1, "voltage_protection", 66.0, ["VOLT:PROT:LEV 66"]),
        (1, "current_protection", True, ["CURR:PROT:STAT ON"]),
    ],
)
PLUS = Supply(
    series="GENESYS+",
    models={"TDK-LAMBDA,G10-100,10A0001,G:02.122": "G10-100", "TDK-LAMBDA,GH10-100,10A0001,G:02.122": "GH10-100"},
    answers={
        "MEAS:VOLT?": "5.001",
        "MEAS:CURR?": "1.50",
        "VOLT?": "5.000",
        "CURR?": "2.00",
        "OUTP:STAT?": "1",
        "OUTP:MODE?": "CV",
        "OUTP:PON?": "SAFE",
    },
    poll=["MEAS:VOLT?", "MEAS:CURR?", "VOLT?", "CURR?", "OUTP:STAT?", "OUTP:MODE?"],
    readings={1: reading(voltage=5.001, current=1.5, voltage_limit=5.0, current_limit=2.0, state=True, mode="CV")},
    settings=[
        (1, "state", True, ["OUTP:STAT 1"]),
        (1, "state", False, ["OUTP:STAT 0"]),
        (1, "voltage_limit", 5.5, ["VOLT 5.5"]),
        (1, "current_limit", 1.5, ["CURR 1.5"]),
    ],
)
Z_PLUS = Supply(
    series="Z+",
    models={"TDK-LAMBDA,Z36-6,1234567,REV:1.0": "Z36-6"},
    answers={
        "MEAS:VOLT?": "05.001",
        "MEAS:CURR?": "1.5000",
        "VOLT?": "5.000",
        "CURR?": "2.00",
        "OUTP?": "ON",
        "OUTP:PON?": "SAFE",
    },
    poll=["MEAS:VOLT?", "MEAS:CURR?", "VOLT?", "CURR?", "OUTP?"],
    readings={1: reading(voltage=5.001, current=1.5, voltage_limit=5.0, current_limit=2.0, state=True)},
    settings=[
        (1, "state", True, ["OUTP 1"]),
        (1, "state", False, ["OUTP 0"]),
        (1, "voltage_limit", 5.5, ["VOLT 5.5"]),
        (1, "current_limit", 1.5, ["CURR 1.5"]),
    ],
)
SUPPLIES = {supply.series: supply for supply in (OPTION, PLUS, Z_PLUS)}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("series", SUPPLIES)
def test_series(series: str, check: Callable[[Supply], None]) -> None:
    check(SUPPLIES[series])


@pytest.mark.parametrize(
    ("configured", "told"),
    [("Genesys SCPI,GEN40-38", "GEN40-38-LAN"), ("Z36-6", "Z36-6-IEEE"), ("G30-56", "G30-56-3P400")],
)
def test_options_behind_the_name(configured: str, told: str) -> None:
    """A unit with options is the model that is sold without them."""
    (model,) = candidates(configured)
    assert identify(Identity("TDK-LAMBDA", told, "1", "1"), [model]) == model


@pytest.mark.parametrize(("ask", "trip"), [("VOLT:PROT:TRIP?", "OVP"), ("CURR:PROT:TRIP?", "FOLD")])
@pytest.mark.parametrize("answer", ["1", "ON"])
def test_trips_of_the_option(ask: str, trip: str, answer: str) -> None:
    assert OPTION.reading({ask: answer}).tripped == trip
    assert OPTION.reading({ask: answer}).mode is None


@pytest.mark.parametrize(("answer", "mode"), [("CV", "CV"), ("CC", "CC"), ("CP", "CP")])
def test_modes_of_genesys_plus(answer: str, mode: str) -> None:
    assert PLUS.reading({"OUTP:MODE?": answer}).mode == mode


@pytest.mark.parametrize("series", SUPPLIES)
def test_nothing_clears_a_trip(series: str) -> None:
    """It would turn the output on (Genesys, Z+)."""
    _, _, profile = connected(SUPPLIES[series])
    assert all("clear_protection" not in output.settings for output in profile.outputs)
    texts = [text for entry in series_of(series).settings.values() for text in getattr(entry, "send", ())]
    assert not any("PROT:CLE" in text for text in texts)


@pytest.mark.parametrize(
    ("series", "answer", "comes_back"),
    [
        ("Genesys SCPI", "ON", True),
        ("Genesys SCPI", "OFF", False),
        ("GENESYS+", "AUTO", True),
        ("GENESYS+", "SAFE", False),
        ("Z+", "AUTO", True),
        ("Z+", "1", True),
        ("Z+", "SAFE", False),
    ],
)
def test_outputs_that_come_back_are_told(series: str, answer: str, comes_back: bool) -> None:
    _, _, profile = connected(SUPPLIES[series], answers={"OUTP:PON?": answer})
    assert (profile.power_up is not None) is comes_back


def test_remote_mode_is_left() -> None:
    driver, unit, _ = connected(OPTION)
    driver.close()
    assert unit.sent == ["SYST:SET LOC"]


def test_a_name_of_two_languages_is_told_with_both() -> None:
    with pytest.raises(AmbiguousModelError) as failure:
        candidates("GEN80-65")
    assert "'Genesys,GEN80-65' or 'Genesys SCPI,GEN80-65'" in str(failure.value)
    assert [model.series.name for model in candidates("Genesys SCPI,GEN80-65")] == ["Genesys SCPI"]


@pytest.mark.parametrize(
    ("model", "series", "volts", "amps"),
    [
        ("G30-56", "GENESYS+", 31.5, 58.8),
        ("GH10-100", "GENESYS+", 10.5, 105),
        ("G10-500", "GENESYS+", 10.5, 525),
        ("Z36-6", "Z+", 37.8, 6.3),
        ("Z20-10", "Z+", 21, 10.5),
        ("Z160-5", "Z+", 168, 5.25),
        ("Z36-6-LAN", "Genesys SCPI", 37.8, 6.3),
    ],
)
def test_ratings_come_from_the_name(model: str, series: str, volts: float, amps: float) -> None:
    (found,) = candidates(model)
    assert found.series.name == series
    ranges = found.outputs[0].ranges
    assert (ranges["voltage_limit"], ranges["current_limit"]) == (Range(0, volts), Range(0, amps))


def test_an_address_is_confirmed_before_anything_is_set() -> None:
    bus = series_of("Z+").bus
    assert bus is not None
    assert bus.confirm is not None
    assert (bus.select, bus.confirm.ask, bus.needed) == ("INST:NSEL {address}", "INST:NSEL?", True)


def test_no_message_acts_on_the_whole_bus() -> None:
    for name in SUPPLIES:
        for model in models_of(series_of(name)):
            for setting in model.outputs[0].settings:
                entry = model.entry_for(setting, 1)
                assert entry is not None
                assert not any(text.startswith(("GLOB", "G")) for text in (*entry.send, *entry.on, *entry.off))

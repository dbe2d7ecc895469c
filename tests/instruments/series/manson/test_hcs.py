"""Manson HCS and B&K 1685B to 1902B: fixed digits, scales by model, an inverted switch that can't be read, OK at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.instruments.catalogue import candidates, models_of
from agent.instruments.driver import DriverError, Write
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

#: The answers of the PeakTech and Voltcraft sheets: 15 V and 16 A in CC; 18.0 V, 20.0 A at most.
HCS = Supply(
    series="HCS",
    models={"HCS-3200": "HCS-3200", "3200": "HCS-3200", "HCS-3402": "HCS-3402", "3402": "HCS-3402"},
    answers={"GMAX": "180200", "GETD": "150016001", "GETS": "150180"},
    poll=["GETD", "GETS"],
    readings={1: reading(voltage=15.0, current=16.0, voltage_limit=15.0, current_limit=18.0, mode="CC")},
    settings=[
        (1, "state", True, ["SOUT0"]),
        (1, "state", False, ["SOUT1"]),
        (1, "voltage_limit", 12.7, ["VOLT127"]),
        (1, "voltage_limit", 3.3, ["VOLT033"]),
        (1, "current_limit", 1.8, ["CURR018"]),
    ],
    refused_by_answer="ERR",
    taken="OK",
)
#: The same of a model that counts hundredths of an ampere.
HCS_3204 = Supply(
    series="HCS",
    models={"HCS-3204": "HCS-3204"},
    answers={"GMAX": "602510", "GETD": "030201450", "GETS": "150180"},
    poll=HCS.poll,
    readings={1: reading(voltage=3.02, current=1.45, voltage_limit=15.0, current_limit=1.8, mode="CV")},
    settings=[*HCS.settings[:4], (1, "current_limit", 1.8, ["CURR180"])],
    refused_by_answer="ERR",
    taken="OK",
)
#: 1902B answers 605160: 60.5 V and 16.0 A.
BK = Supply(
    series="BK 1685B",
    models={"605160": "1902B", "180200": "1688B"},
    answers={"GETD": "030201450", "GETS": "150180"},
    poll=HCS.poll,
    readings={1: reading(voltage=3.02, current=1.45, voltage_limit=15.0, current_limit=18.0, mode="CV")},
    settings=HCS.settings,
    refused_by_answer="ERR",
    taken="OK",
    model="1902B",
)
SUPPLIES = {"HCS-3200": HCS, "HCS-3204": HCS_3204, "1902B": BK}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", SUPPLIES)
def test_series(name: str, check: Callable[[Supply], None]) -> None:
    check(SUPPLIES[name])


def test_the_maximum_comes_from_the_unit() -> None:
    _, _, profile = connected(HCS_3204)
    assert profile.outputs[0].ranges["voltage_limit"] == (1, 60.2)


@pytest.mark.parametrize(
    ("model", "maxima"),
    [
        ("HCS-3204", "602051"),  # tenths where hundredths are known
        ("HCS-3304", "600800"),  # hundredths where tenths are known
        ("HCS-3200", "18002000"),  # four digits each
    ],
)
def test_a_wrong_scale_gets_no_commands(model: str, maxima: str) -> None:
    """It would be tenfold."""
    unit = HCS.unit(model, answers={"GMAX": maxima})
    driver = TextDriver(unit, name="psu1", models=candidates(model), knowledge=Knowledge())
    with pytest.raises(DriverError, match="GMAX"):
        driver.connect()
    assert not any(message.startswith(("SOUT", "VOLT", "CURR")) for message in unit.sent)


def test_an_unknown_scale_gets_no_commands() -> None:
    unit = replace(HCS, silent=["GMAX"]).unit()
    driver = TextDriver(unit, name="psu1", models=candidates("HCS-3200"), knowledge=Knowledge())
    for _ in range(3):
        with pytest.raises(DriverError):
            driver.connect()
    assert set(unit.sent) == {"GMOD", "GMAX"}


@pytest.mark.parametrize(
    ("configured", "maxima"),
    [
        ("1685B", "600050"),  # tenths where hundredths are known
        ("1685B", "605160"),  # that is a 1902B
        ("1687B", "180200"),
        ("1902B", "600510"),
    ],
)
def test_a_unit_without_a_name_is_known_by_its_maxima(configured: str, maxima: str) -> None:
    unit = BK.unit(maxima)
    driver = TextDriver(unit, name="psu1", models=candidates(configured), knowledge=Knowledge())
    with pytest.raises(DriverError):
        driver.connect()
    assert set(unit.sent) == {"GMAX"}


def test_each_maximum_is_that_of_one_model() -> None:
    for volts in (160, 165, 180, 189, 320, 329, 360, 369, 600, 609):
        for amps in range(20, 700, 5):
            text = f"{volts:03d}{amps:03d}"
            found = [model.name for model in models_of(series_of("BK 1685B")) if model.is_told_as(text)]
            assert len(found) <= 1, text


@pytest.mark.parametrize("name", ["HCS", "BK 1685B"])
def test_every_model_has_one_scale(name: str) -> None:
    """The same for what is set and what is read: a setting that is read back shows no wrong one."""
    for model in models_of(series_of(name)):
        entry = model.entry_for("current_limit", 1)
        assert entry is not None
        (asked,) = [poll.answer[0] for poll in model.series.polls if poll.ask == "GETS" and poll.is_for(model.name)]
        scale = entry.send[0].partition("*")[2].rstrip("}")
        assert asked.endswith(f"{{current_limit:d3/{scale}}}"), model.name
        assert scale == ("100" if model.name in ("HCS-3102", "HCS-3104", "HCS-3204", "1685B") else "10"), model.name


def test_the_state_is_not_guessed() -> None:
    """No question tells it, whatever the meters say."""
    for answer in ("000000000", "150016001"):
        assert HCS.reading({"GETD": answer}).state is None
    assert HCS.reading({"GETD": "000000000"}).mode == "CV"


def test_off_is_the_word_that_looks_like_on() -> None:
    driver, unit, _ = connected(HCS)
    driver.write(Write("state", (1,), False))
    assert unit.sent == ["SOUT1"]

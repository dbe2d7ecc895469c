"""GPP: the output as a digit inside the header, words beside digits, outputs that may be loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

ASKS = (
    ":MEAS{}:ALL?",
    ":SOUR{}:VOLT?",
    ":SOUR{}:CURR?",
    ":SOUR{}:CURR:STAT?",
    ":OUTP{}:STAT?",
    ":OUTP{}:OVP?",
    ":OUTP{}:OVP:STAT?",
    ":OUTP{}:OVP:TRIG?",
    ":OUTP{}:OCP?",
    ":OUTP{}:OCP:STAT?",
    ":OUTP{}:OCP:TRIG?",
)


def _output(channel: int, **changed: str) -> Mapping[str, str]:
    told = dict(
        zip(
            ASKS,
            ("5.0012,0.1000,0.500", "5.000", "1.0000", "0", "ON", "35.20", "ON", "0", "3.30", "OFF", "0"),
            strict=True,
        )
    )
    return {ask.format(channel): answer for ask, answer in told.items()}


_READ = {
    "voltage": 5.0012,
    "current": 0.1,
    "voltage_limit": 5.0,
    "current_limit": 1.0,
    "state": True,
    "mode": "CV",
    "voltage_protection": 35.2,
    "voltage_protection_state": True,
    "current_protection": False,
    "current_protection_level": 3.3,
}

GPP4323 = Supply(
    series="GPP",
    models={
        "GW INSTEK,GPP-4323,SN:GEW800001,V1.17": "GPP-4323",
        "GW Instek,GPP-4323,SN:GEW800002,V1.19": "GPP-4323",
        "GW Instek,GPP-4323,SN:GEW800002,V1.02": "GPP-4323",
        "GW INSTEK,GPP-74323,SN:GEW800003,V1.22": "GPP-4323",
    },
    answers={**_output(1), **_output(2), **_output(3), **_output(4), "MODE1?": "IND", "MODE2?": "IND"},
    poll=[ask.format(channel) for ask in ASKS for channel in (1, 2, 3, 4)],
    readings={channel: reading(**_READ) for channel in (1, 2, 3, 4)},
    settings=[
        (1, "voltage_limit", 12.5, [":SOUR1:VOLT 12.5"]),
        (4, "current_limit", 0.5, [":SOUR4:CURR 0.5"]),
        (1, "current_limit", 0.5, [":SOUR1:CURR 0.5"]),
        (1, "state", True, [":OUTP1:STAT 1"]),
        (3, "state", False, [":OUTP3:STAT 0"]),
        (1, "voltage_protection_state", True, [":OUTP1:OVP:STAT 1"]),
        (1, "current_protection", False, [":OUTP1:OCP:STAT 0"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(GPP4323)


def test_words_and_digits_tell_the_same() -> None:
    assert GPP4323.reading({":OUTP1:OVP:TRIG?": "ON"}).tripped == "OVP"
    assert GPP4323.reading({":OUTP2:OCP:TRIG?": "1"}, 2).tripped == "OCP"
    assert GPP4323.reading({":SOUR1:CURR:STAT?": "1"}).mode == "CC"
    assert GPP4323.reading({":OUTP1:STAT?": "OFF"}).mode == "OFF"


@pytest.mark.parametrize("mode", ["CV", "CC", "CR", "SER", "PAR"])
def test_an_output_that_is_a_load_or_is_tied_to_another_is_not_set(mode: str) -> None:
    driver, _, _ = connected(GPP4323, answers={"MODE1?": mode})
    assert f"MODE1 {mode}" in driver.inspect((1,)).bars[0]
    assert bool(driver.inspect((2,)).bars) is (mode in ("SER", "PAR"))
    assert driver.inspect((3, 4)).bars == []
    driver, _, _ = connected(GPP4323, answers={"MODE2?": mode})
    assert f"MODE2 {mode}" in driver.inspect((2,)).bars[0]


def test_no_command_switches_all_outputs() -> None:
    file = series_of("GPP").model_dump_json(include={"settings"})
    assert "ALLOUT" not in file
    assert "OUT1" not in file


def test_the_fixed_output_of_the_3323_has_a_switch_only() -> None:
    idn = "GW INSTEK,GPP-3323,SN:GEW800004,V1.17"
    driver, unit, profile = connected(GPP4323, idn)
    readings = driver.poll(lambda: False)
    assert readings is not None
    assert readings[3] == reading(voltage=5.0012, current=0.1, state=True)
    assert profile.outputs[2].settings == {"state"}
    assert profile.identity is not None
    assert profile.identity.serial == "GEW800004"
    assert not [ask for ask in unit.sent if ask.startswith((":SOUR3", ":OUTP3:O"))]

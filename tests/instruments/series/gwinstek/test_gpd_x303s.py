"""GPD-X303S: units in the answers, one switch for all, a status word that depends on the firmware."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

#: Firmware V1.09: fields with blanks, and two lines of legend that no source has word for word.
LEGEND = "\r\nCH1 CH2 Track Beep Output\r\n1:CV 0:CC"

GPD2303S = Supply(
    series="GPD-X303S",
    models={
        "GW INSTEK,GPD-2303S,SN:EL000001,V2.04": "GPD-2303S",
        "GW INSTEK,GPD-2303S,SN:ER000002,V2.10": "GPD-2303S",
        "GW INSTEK,GPD-3303D,SN:1,V1.09": "GPD-3303D",
    },
    answers={
        "VOUT1?": "1.998V",
        "VOUT2?": "5.000V",
        "IOUT1?": "0.210A",
        "IOUT2?": "0.000A",
        "VSET1?": "2.010V",
        "VSET2?": "5.000V",
        "ISET1?": "0.210A",
        "ISET2?": "1.000A",
        "STATUS?": "01010110",
        "ERR?": "No Error.",
    },
    poll=["VOUT1?", "VOUT2?", "IOUT1?", "IOUT2?", "VSET1?", "VSET2?", "ISET1?", "ISET2?", "STATUS?"],
    readings={
        1: reading(voltage=1.998, current=0.21, voltage_limit=2.01, current_limit=0.21, state=True, mode="CC"),
        2: reading(voltage=5.0, current=0.0, voltage_limit=5.0, current_limit=1.0, state=True, mode="CV"),
    },
    settings=[
        (1, "voltage_limit", 12.345, ["VSET1:12.345"]),
        (2, "current_limit", 0.5, ["ISET2:0.500"]),
        (1, "current_limit", 0.5, ["ISET1:0.500"]),
        (1, "state", True, ["OUT1"]),
        (2, "state", False, ["OUT0"]),
    ],
    refusal=("Data out of range.", "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(GPD2303S)


@pytest.mark.parametrize(
    ("status", "state", "modes", "is_free"),
    [
        ("11010100", True, ("CV", "CV"), True),
        ("00010010", False, ("OFF", "OFF"), True),
        ("10110100", True, ("CV", "CC"), False),
        ("11100110", True, ("CV", "CV"), False),
        (f"1 0 0 1 1 X 1 X{LEGEND}", True, ("CV", "CC"), True),
        ("0 0 0 1 1 X 0 X", False, ("OFF", "OFF"), True),
        (f"1 1 1 1 0 X 1 X{LEGEND}", True, ("CV", "CV"), False),
    ],
)
def test_the_status_word_of_both_firmwares(status: str, state: bool, modes: tuple[str, str], is_free: bool) -> None:
    for channel in (1, 2):
        told = GPD2303S.reading({"STATUS?": status}, channel)
        assert (told.state, told.mode) == (state, modes[channel - 1])
    driver, _, _ = connected(GPD2303S, answers={"STATUS?": status})
    assert (driver.inspect((2,)).bars == []) is is_free


@pytest.mark.parametrize(("model", "outputs"), [("GPD-2303S", {1, 2}), ("GPD-4303S", {1, 2, 3, 4})])
def test_one_switch_acts_on_all_outputs(model: str, outputs: set[int]) -> None:
    more = {
        f"{ask}{channel}?": "0.000V" if ask[0] == "V" else "0.000A"
        for channel in (3, 4)
        for ask in ("VOUT", "IOUT", "VSET", "ISET")
    }
    driver, unit, profile = connected(GPD2303S, f"GW INSTEK,{model},SN:EL000001,V2.04", answers=more)
    assert profile.together == (frozenset(outputs),)
    driver.write(Write("state", tuple(outputs), True))
    assert unit.sent == ["OUT1"]


def test_messages_keep_a_distance_and_end_by_silence() -> None:
    link = series_of("GPD-X303S").link
    assert link.compound == "no"
    assert link.gap >= 0.07
    assert link.read is None
    assert link.longest == 15
    most = max(len(message) for _, _, _, messages in GPD2303S.settings for message in messages)
    assert most <= 15

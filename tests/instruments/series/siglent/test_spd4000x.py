"""SPD4000X: the channel as first argument, no error queue. Answers recorded from an SPD4323X, firmware 4.1.2.9R1."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

ASKS = (
    "MEAS:VOLT? CH{}",
    "MEAS:CURR? CH{}",
    "VOLT? CH{}",
    "CURR? CH{}",
    "OUTP? CH{}",
    "MEAS:RUN:MODE? CH{}",
    "OVP? CH{}",
    "OVP:PROT:STAT? CH{}",
    "OCP? CH{}",
    "OCP:STAT? CH{}",
    "OCP:PROT:STAT? CH{}",
)


def _output(channel: int, state: str, ovp: str, volts: str) -> dict[str, str]:
    told = ("0.000557", "0.000560", "5.000000", "2.000000", state, "CV", ovp, "0", "3.520000", "0", "0")
    return {
        **{ask.format(channel): answer for ask, answer in zip(ASKS, told, strict=True)},
        f"VOLT? CH{channel},MAX": volts,
        f"CURR? CH{channel},MAX": "3.232000",
    }


def _read(state: bool, ovp: float) -> dict[str, object]:
    return {
        "voltage": 0.000557,
        "current": 0.00056,
        "voltage_limit": 5.0,
        "current_limit": 2.0,
        "state": state,
        "mode": "CV" if state else "OFF",
        "voltage_protection": ovp,
        "current_protection": False,
        "current_protection_level": 3.52,
    }


SPD4323X = Supply(
    series="SPD4000X",
    models={"Siglent Technologies,SPD4323X,SPD43XXXXXXXXX,4.1.2.9R1": "SPD4323X"},
    answers={
        **_output(1, "0", "6.600000", "6.060000"),
        **_output(2, "1", "35.200001", "32.320000"),
        **_output(3, "0", "35.200001", "32.320000"),
        **_output(4, "0", "6.600000", "6.060000"),
        "OUTP:TRACK?": "0",
    },
    poll=[ask.format(channel) for ask in ASKS for channel in (1, 2, 3, 4)],
    readings={
        1: reading(**_read(False, 6.6)),
        2: reading(**_read(True, 35.200001)),
        3: reading(**_read(False, 35.200001)),
        4: reading(**_read(False, 6.6)),
    },
    settings=[
        (1, "voltage_limit", 6.0, ["VOLT CH1,6"]),
        (4, "voltage_limit", 3.3, ["VOLT CH4,3.3"]),
        (1, "current_limit", 2.5, ["CURR CH1,2.5"]),
        (1, "state", True, ["OUTP CH1,1"]),
        (3, "state", False, ["OUTP CH3,0"]),
        (1, "voltage_protection", 6.6, ["OVP CH1,6.6"]),
        (1, "current_protection_level", 3.0, ["OCP CH1,3"]),
        (1, "current_protection", True, ["OCP:STAT CH1,1"]),
        (1, "clear_protection", True, ["RESET:PROT CH1"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(SPD4323X)


def test_trips_are_told_by_kind() -> None:
    assert SPD4323X.reading({"OVP:PROT:STAT? CH2": "1"}, 2).tripped == "OVP"
    assert SPD4323X.reading({"OCP:PROT:STAT? CH3": "1"}, 3).tripped == "OCP"
    assert SPD4323X.reading({"MEAS:RUN:MODE? CH2": "CC"}, 2).mode == "CC"


@pytest.mark.parametrize("answer", ["1", "2"])
def test_outputs_in_series_or_parallel_are_not_set(answer: str) -> None:
    driver, _, _ = connected(SPD4323X, answers={"OUTP:TRACK?": answer})
    assert "OUTP:TRACK 0" in driver.inspect((2,)).bars[0]
    assert "OUTP:TRACK 0" in driver.inspect((3,)).bars[0]
    assert driver.inspect((1, 4)).bars == []


def test_the_unit_tells_its_ranges_as_it_clamps_what_is_beyond_them() -> None:
    _, _, profile = connected(SPD4323X, answers={"VOLT? CH1,MAX": "5.500000"})
    limits = profile.outputs[0].range("voltage_limit")
    assert limits is not None
    assert limits.max == 5.5
    other = {f"VOLT? CH{channel},MAX": "15.150000" for channel in (1, 4)}
    _, _, profile = connected(SPD4323X, "Siglent Technologies,SPD4306X,SPD43XXXXXXXXX,4.1.2.9R1", answers=other)
    limits = profile.outputs[3].range("voltage_limit")
    assert limits is not None
    assert limits.max == 15.15
    assert "voltage_protection" not in profile.outputs[3].settings


def test_one_query_a_message_and_the_panel_unlocked_at_the_end() -> None:
    assert series_of("SPD4000X").link.compound == "no"
    driver, unit, _ = connected(SPD4323X)
    driver.close()
    assert unit.sent == ["LOCK 0"]

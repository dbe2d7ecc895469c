"""Magna-Power: commas inside the maker's name, start and stop, a source of the settings that has to be remote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

MAGNA = Supply(
    series="Magna-Power",
    models={
        "Magna-Power Electronics Inc., SL60-25, S/N:1164-0000, F/W:8.7": "SL60-25",
        "Magna-Power Electronics Inc., XR16-375, S/N: 1162-0000, F/W:1.0": "XR16-375",
        "Magna-Power Electronics, Inc., SQA375-54, S/N:106-0000": "SQA375-54",
    },
    answers={
        "MEAS:VOLT?": "12.01",
        "MEAS:CURR?": "3.50",
        "VOLT?": "12.0",
        "CURR?": "5.0",
        "OUTP:STAT?": "1",
        "VOLT:PROT?": "66.0",
        "CURR:PROT:LEV?": "27.5",
        "STAT:QUES:COND?": "512",
        "CONF:SETPT?": "3",
    },
    poll=[
        *("MEAS:VOLT?", "MEAS:CURR?", "VOLT?", "CURR?", "OUTP:STAT?"),
        *("VOLT:PROT?", "CURR:PROT:LEV?", "STAT:QUES:COND?"),
    ],
    readings={
        1: reading(
            voltage=12.01,
            current=3.5,
            voltage_limit=12.0,
            current_limit=5.0,
            state=True,
            voltage_protection=66.0,
            current_protection_level=27.5,
        )
    },
    settings=[
        (1, "state", True, ["OUTP:START"]),
        (1, "state", False, ["OUTP:STOP"]),
        (1, "voltage_limit", 12.5, ["VOLT 12.5"]),
        (1, "current_limit", 5.0, ["CURR 5"]),
        (1, "clear_protection", True, ["OUTP:PROT:CLE"]),
    ],
)


@pytest.mark.parametrize("check", CHECKS)
def test_series(check: Callable[[Supply], None]) -> None:
    check(MAGNA)


@pytest.mark.parametrize(
    ("bit", "tripped"), [(0, "OVP"), (1, "OCP"), (2, "OTHER"), (4, "OTP"), (5, "OTHER"), (8, "INTERLOCK"), (9, None)]
)
def test_trips(bit: int, tripped: str | None) -> None:
    assert MAGNA.reading({"STAT:QUES:COND?": str(1 << bit)}).tripped == tripped


@pytest.mark.parametrize("source", ["0", "1", "2"])
def test_settings_that_come_from_elsewhere(source: str) -> None:
    driver, unit, _ = connected(MAGNA, answers={"CONF:SETPT?": source})
    assert any("come from elsewhere" in bar for bar in driver.inspect([1]).bars)
    assert driver.inspect([1], settings=["state"]).bars == []
    driver.close()
    assert not any(message.startswith("CONF:SETPT ") for message in unit.sent)

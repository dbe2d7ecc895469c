"""62000P: ratings and power in the model's name, words for the switch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Range
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading

C62012P = Supply(
    series="62000P",
    models={"CHROMA,62012P-80-60,03.30.1,00001": "62012P-80-60"},
    answers={
        "MEAS:VOLT?": "47.98645785",
        "MEAS:CURR?": "+1.200000e+00",
        "SOUR:VOLT?": "+4.800000e+01",
        "SOUR:CURR?": "+1.000000e+01",
        "CONF:OUTP?": "ON",
        "SYST:ERR?": '0,"No Error"',
    },
    poll=["MEAS:VOLT?;:MEAS:CURR?;:SOUR:VOLT?;:SOUR:CURR?;:CONF:OUTP?"],
    readings={1: reading(voltage=47.98645785, current=1.2, voltage_limit=48.0, current_limit=10.0, state=True)},
    settings=[
        (1, "voltage_limit", 80, ["SOUR:VOLT 80"]),
        (1, "current_limit", 0.5, ["SOUR:CURR 0.5"]),
        (1, "state", True, ["CONF:OUTP ON"]),
        (1, "state", False, ["CONF:OUTP OFF"]),
    ],
    refusal=('-222,"Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(C62012P)


def test_the_serial_number_is_the_fourth_field() -> None:
    identity = connected(C62012P)[2].identity
    assert identity is not None
    assert (identity.firmware, identity.serial) == ("03.30.1", "00001")


def test_the_output_is_off() -> None:
    assert C62012P.reading({"CONF:OUTP?": "OFF"}).state is False


@pytest.mark.parametrize(
    ("name", "volts", "amps", "watts"), [("62006P-300-8", 300, 8, 600), ("62024P-600-8", 600, 8, 2400)]
)
def test_the_name_tells_voltage_current_and_power(name: str, volts: float, amps: float, watts: float) -> None:
    output = candidates(name)[0].outputs[0]
    assert (output.range("voltage_limit"), output.range("current_limit")) == (Range(0, volts), Range(0, amps))
    assert output.power_max == watts


def test_remote_mode_is_entered_and_left() -> None:
    driver, unit, _ = connected(C62012P)
    driver.connect()
    assert ":CONF:REM ON" in unit.sent
    driver.close()
    assert unit.sent[-1] == ":CONF:REM OFF"

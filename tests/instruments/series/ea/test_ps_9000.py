"""EA PS 9000 and relatives: units in the answers, an owner of remote mode, an error queue whose reading acknowledges alarms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Range, Write, never
from tests.instruments.series.on_paper import CHECKS, Supply, check_refusal, connected, reading

REMOTE = {"SYST:LOCK:OWN?": "REMOTE", "SYST:ERR?": '0,"No error"', "SYST:CONF:OUTP:REST?": "OFF"}
#: The answers of the Programming guide; the rest of the identity of the PS 9040-20 T was not recorded.
EA = Supply(
    series="PS 9000",
    models={
        "EA Elektro-Automatik GmbH & Co. KG, PS 9040-20 T, 1240210000, V2.14 14.05.2018 V2.24 04.06.2018 V1.6.5": "PS 9040-20 T",
        "EA Elektro-Automatik GmbH&Co.KG, PSI 9080-60, 1240210000, V2.14 14.05.2018, Rack 7, left": "PSI 9080-60",
        "EA Elektro-Automatik GmbH&Co.KG, PSI 91500-30, 1240210000, V2.14": "PSI 91500-30",
        "EA Elektro-Automatik GmbH&Co.KG, PS 2084-05 B, 1240210000, V2.14": "PS 2084-05 B",
    },
    answers={
        "VOLT?": "12.50V",
        "CURR?": "20.0A",
        "OUTP?": "ON",
        "MEAS:ARR?": "12.5V, 33.3A, 420W",
        "STAT:QUES:COND?": "3072",
        "STAT:OPER:COND?": "256",
        "VOLT:PROT?": "43.50V",
        "CURR:PROT?": "22.0A",
        "SYST:NOM:POW?": "800W",
        "SYST:ERR:ALL?": '0,"No error"',
        **REMOTE,
    },
    poll=[
        "VOLT?;CURR?;OUTP?;MEAS:ARR?;STAT:QUES:COND?",
        "STAT:OPER:COND?;VOLT:PROT?;CURR:PROT?",
    ],
    readings={
        1: reading(
            voltage=12.5,
            current=33.3,
            voltage_limit=12.5,
            current_limit=20.0,
            state=True,
            voltage_protection=43.5,
            current_protection_level=22.0,
            mode="CV",
        )
    },
    settings=[
        (1, "state", True, ["OUTP ON"]),
        (1, "state", False, ["OUTP OFF"]),
        (1, "voltage_limit", 12.5, ["VOLT 12.5"]),
        (1, "current_limit", 5.0, ["CURR 5"]),
        (1, "voltage_protection", 44.0, ["VOLT:PROT 44"]),
        (1, "current_protection_level", 22.0, ["CURR:PROT 22"]),
        (1, "clear_protection", True, ["SYST:ERR:ALL?"]),
    ],
)


@pytest.mark.parametrize("check", [check for check in CHECKS if check is not check_refusal])
def test_series(check: Callable[[Supply], None]) -> None:
    """A refusal of it is told only around a setting: see below."""
    check(EA)


@pytest.mark.parametrize(
    ("questionable", "operation", "mode", "tripped"),
    [
        ("3072", "512", "CC", None),
        ("3072", "1024", "CP", None),
        ("3072", "2048", None, None),  # an adjustable resistance is none of the modes
        ("1025", "0", "OFF", "OVP"),
        ("1026", "0", "OFF", "OCP"),
        ("1028", "0", "OFF", "OPP"),
        ("1032", "0", "OFF", "OTP"),
        ("9216", "0", "OFF", "AC"),
    ],
)
def test_registers(questionable: str, operation: str, mode: str | None, tripped: str | None) -> None:
    told = EA.reading({"STAT:QUES:COND?": questionable, "STAT:OPER:COND?": operation})
    assert (told.mode, told.tripped) == (mode, tripped)


def test_settings_without_a_unit_are_read_too() -> None:
    told = EA.reading({"VOLT?": "12.50", "CURR?": "20.0 A"})
    assert (told.voltage_limit, told.current_limit) == (12.5, 20.0)


def test_errors_are_not_read_while_an_alarm_stands() -> None:
    """Reading them acknowledges the alarm, and nobody would have seen it."""
    driver, unit, _ = connected(EA, answers={"STAT:QUES:COND?": "1025"})
    assert driver.poll(never)
    assert driver.complaints() == []
    inspection = driver.inspect([1])
    assert inspection.readings[1].tripped == "OVP"
    assert not any("ERR" in message for message in unit.sent)


def test_errors_are_not_read_when_it_connects() -> None:
    driver, unit, _ = connected(EA)
    driver.close()
    driver.connect()
    assert not any("ERR" in message for message in unit.sent)


def test_a_refusal_is_told_while_nothing_has_tripped() -> None:
    driver, unit, _ = connected(EA)
    unit.answers["SYST:ERR?"] = ['-222,"Data out of range"', '0,"No error"']
    driver.write(Write("voltage_limit", (1,), 12.5))
    assert any("-222" in complaint for complaint in driver.inspect([1]).complaints)


def test_clearing_reads_the_queue() -> None:
    driver, unit, _ = connected(EA, answers={"SYST:ERR:ALL?": '-240,"Hardware error"'})
    driver.write(Write("clear_protection", (1,), True))
    assert unit.sent == ["SYST:ERR:ALL?"]
    assert driver.complaints() == []


@pytest.mark.parametrize("owner", ["NONE", "LOCAL"])
def test_settings_need_remote_mode(owner: str) -> None:
    driver, _, _ = connected(EA, answers={"SYST:LOCK:OWN?": owner})
    assert any("not in remote mode" in bar for bar in driver.inspect([1]).bars)


def test_remote_mode_is_entered_and_left() -> None:
    driver, unit, _ = connected(EA)
    driver.close()
    assert unit.sent == ["SYST:LOCK OFF"]
    unit.sent.clear()
    driver.connect()
    assert unit.sent[:2] == ["*IDN?", "SYST:LOCK ON"]


@pytest.mark.parametrize(
    ("model", "volts", "amps"),
    [
        ("PS 9040-20 T", 40, 20),
        ("PSI 9080-60", 80, 60),
        ("PSI 9080-510 3U", 80, 510),
        ("PSI 91500-30", 1500, 30),
        ("PSI 10060-170", 60, 170),
        ("PS 2042-20 B", 42, 20),
        ("PS 2084-05 B", 84, 5),
        ("PS 5040-10 A", 40, 10),
    ],
)
def test_ratings_come_from_the_name(model: str, volts: float, amps: float) -> None:
    (found,) = candidates(model)
    output = found.outputs[0]
    assert (output.voltage_rating, output.current_rating) == (volts, amps)
    assert output.ranges["voltage_limit"] == Range(0, round(1.02 * volts, 9))
    assert output.ranges["current_protection_level"] == Range(0, round(1.1 * amps, 9))


def test_the_unit_tells_its_power() -> None:
    _, _, profile = connected(EA)
    assert profile.outputs[0].power_max == 800
    _, _, profile = connected(EA, answers={"SYST:NOM:POW?": "15.0kW"})
    assert profile.outputs[0].power_max is None


def test_an_output_that_comes_back_is_told() -> None:
    assert connected(EA)[2].power_up is None
    assert connected(EA, answers={"SYST:CONF:OUTP:REST?": "AUTO"})[2].power_up is not None

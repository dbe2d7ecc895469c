"""HMP: outputs are selected, armed, and behind a master switch; VOLT:PROT is a level. Answers of the forms that drivers show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from agent.instruments.driver import Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of

_BLOCK = "INST:NSEL {0};:MEAS:VOLT?;:MEAS:CURR?;:APPL?;:OUTP?;:VOLT:PROT?;:VOLT:PROT:TRIP?;:FUSE?;:FUSE:TRIP?"


def each(first: str, other: str, channels: int = 4) -> Mapping[int, str]:
    """An answer of output 1, and one of the others."""
    return {channel: first if channel == 1 else other for channel in range(1, channels + 1)}


HMP4040 = Supply(
    series="HMP",
    models={
        "HAMEG,HMP4040,103123,HW50020001/SW2.51": "HMP4040",
        "ROHDE&SCHWARZ,HMP4040,120123,HW50020003/SW2.70": "HMP4040",
        "HAMEG,HMP4030,022912345,HW50020001/SW2.50": "HMP4030",
    },
    answers={
        "MEAS:VOLT?": each("5.000", "0.000"),
        "MEAS:CURR?": each("0.1000", "0.0000"),
        "APPL?": each("5.000, 0.1000", "0.000, 0.1000"),
        "OUTP?": each("1", "0"),
        "VOLT:PROT?": each("33.000", "33.000"),
        "VOLT:PROT:TRIP?": each("0", "0"),
        "FUSE?": each("1", "0"),
        "FUSE:TRIP?": each("0", "0"),
        "OUTP:GEN?": "1",
        "STAT:QUES:INST:ISUM1:COND?": "2",
        "STAT:QUES:INST:ISUM2:COND?": "0",
        "STAT:QUES:INST:ISUM3:COND?": "0",
        "STAT:QUES:INST:ISUM4:COND?": "0",
        "SYST:ERR?": '0, "No error"',
    },
    poll=[
        "OUTP:GEN?;:"
        + ";:".join(f"STAT:QUES:INST:ISUM{channel}:COND?" for channel in (1, 2, 3, 4))
        + ";:"
        + ";:".join(_BLOCK.format(channel) for channel in (1, 2, 3, 4))
    ],
    readings={
        1: reading(
            voltage=5.0,
            current=0.1,
            voltage_limit=5.0,
            current_limit=0.1,
            state=True,
            mode="CV",
            voltage_protection=33.0,
            current_protection=True,
        ),
        **{
            channel: reading(
                voltage=0.0,
                current=0.0,
                voltage_limit=0.0,
                current_limit=0.1,
                state=False,
                mode="OFF",
                voltage_protection=33.0,
                current_protection=False,
            )
            for channel in (2, 3, 4)
        },
    },
    settings=[
        (1, "voltage_limit", 12.345, ["INST:NSEL 1;:VOLT 12.345"]),
        (4, "current_limit", 9.5, ["INST:NSEL 4;:CURR 9.5"]),
        (1, "current_limit", 0.001, ["INST:NSEL 1;:CURR 0.001"]),
        (1, "state", True, ["INST:NSEL 1;:OUTP:SEL 1"]),
        (2, "state", False, ["INST:NSEL 2;:OUTP:SEL 0"]),
        (1, "voltage_protection", 6.5, ["INST:NSEL 1;:VOLT:PROT 6.5"]),
        (1, "current_protection", True, ["INST:NSEL 1;:FUSE ON"]),
        (1, "clear_protection", True, ["INST:NSEL 1;:VOLT:PROT:CLE"]),
    ],
    refusal=('-222, "Data out of range"', "Data out of range"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(HMP4040)


def test_an_output_is_on_only_behind_a_closed_master_switch() -> None:
    told = HMP4040.reading({"OUTP:GEN?": "0"})
    assert (told.state, told.mode) == (False, "OFF")
    driver, _, _ = connected(HMP4040, answers={"OUTP:GEN?": "0"})
    assert "master switch of the unit is off" in driver.inspect((2,), settings={"state"}).bars[0]
    assert driver.inspect((2,), settings={"voltage_limit"}).bars == []
    driver, _, _ = connected(HMP4040)
    assert driver.inspect((2,)).bars == []


def test_neither_outp_nor_the_master_switch_is_ever_sent() -> None:
    driver, unit, profile = connected(HMP4040)
    assert profile.together == ()
    for value in (True, False):
        driver.write(Write("state", (1, 2, 3, 4), value))
    assert {message.split(";:")[1] for message in unit.sent} == {"OUTP:SEL 1", "OUTP:SEL 0"}
    file = series_of("HMP").model_dump_json(include={"settings"})
    assert "OUTP:GEN" not in file
    assert '"OUTP {' not in file


@pytest.mark.parametrize("answer", ["5.000,0.1000", "5.000, 0.1000", '"5.000, 0.1000"', '"5.000","0.1000"'])
def test_both_limits_in_every_form_that_two_numbers_may_have(answer: str) -> None:
    told = HMP4040.reading({"APPL?": each(answer, "0.000, 0.1000")})
    assert (told.voltage_limit, told.current_limit) == (5.0, 0.1)


def test_bits_and_trips() -> None:
    assert HMP4040.reading({"STAT:QUES:INST:ISUM1:COND?": "1"}).mode == "CC"
    assert HMP4040.reading({"STAT:QUES:INST:ISUM1:COND?": "18"}).tripped == "OTP"
    assert HMP4040.reading({"VOLT:PROT:TRIP?": each("1", "0")}).tripped == "OVP"
    assert HMP4040.reading({"FUSE:TRIP?": each("0", "1")}, 2).tripped == "OCP"


def test_no_negative_voltage_can_be_set_as_the_unit_would_drop_its_sign() -> None:
    _, _, profile = connected(HMP4040)
    for output in profile.outputs:
        limits = output.range("voltage_limit")
        assert limits is not None
        assert -4.1 not in limits


def test_the_first_question_may_be_answered_by_nothing() -> None:
    driver, _, profile = connected(HMP4040, answers={"*IDN?": ["", "", "HAMEG,HMP4040,103123,HW50020001/SW2.51"]})
    assert profile.model == "HMP4040"
    assert driver.poll(lambda: False)


def test_serial_lines_have_a_handshake_and_pauses() -> None:
    serial = series_of("HMP").link.serial
    assert serial is not None
    assert serial.flow == "rts_cts"
    assert serial.gap is not None
    assert serial.gap >= 0.026

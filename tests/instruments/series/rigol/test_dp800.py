"""DP800: the channel as an argument, words for switches, several numbers in an answer. Answers as its guide has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.instruments.catalogue import models_of
from agent.instruments.driver import MalformedAnswerError, Write
from tests.instruments.series.on_paper import CHECKS, Supply, connected, reading, series_of


def _settings_at(channel: int) -> dict[str, str]:
    return {
        f":OUTP:OVP? CH{channel}": "ON",
        f":OUTP:OVP:VAL? CH{channel}": "8.800",
        f":OUTP:OVP:QUES? CH{channel}": "NO",
        f":OUTP:OCP? CH{channel}": "OFF",
        f":OUTP:OCP:VAL? CH{channel}": "3.3000",
        f":OUTP:OCP:QUES? CH{channel}": "NO",
    }


_LEVELS = {
    "voltage_protection": 8.8,
    "voltage_protection_state": True,
    "current_protection": False,
    "current_protection_level": 3.3,
}
ASKS = (
    ":MEAS:ALL? CH{}",
    ":APPL? CH{}",
    ":OUTP? CH{}",
    ":OUTP:MODE? CH{}",
    ":OUTP:OVP? CH{}",
    ":OUTP:OVP:VAL? CH{}",
    ":OUTP:OVP:QUES? CH{}",
    ":OUTP:OCP? CH{}",
    ":OUTP:OCP:VAL? CH{}",
    ":OUTP:OCP:QUES? CH{}",
)

DP832A = Supply(
    series="DP800",
    models={
        "RIGOL TECHNOLOGIES,DP832A,DP8B100000004,00.01.19": "DP832A",
        "RIGOL TECHNOLOGIES,DP832,DP8C100000001,00.01.14": "DP832",
        "RIGOL TECHNOLOGIES,DP832,DP8C100000002,00.01.19": "DP832",
        "RIGOL TECHNOLOGIES,DP811A,DP8D100000003,00.01.16": "DP811A",
    },
    answers={
        "*OPT?": "0",
        ":MEAS:ALL? CH1": "2.0000,0.0500,0.100",
        ":MEAS:ALL? CH2": "4.9980,1.0000,4.998",
        ":MEAS:ALL? CH3": "0.0000,0.0000,0.000",
        ":APPL? CH1": "CH1:30V/3A,2.000,1.0000",
        ":APPL? CH2": "CH2:30V/3A,5.000,1.0000",
        ":APPL? CH3": "CH3:5V/3A,3.300,0.5000",
        ":OUTP? CH1": "ON",
        ":OUTP? CH2": "ON",
        ":OUTP? CH3": "OFF",
        ":OUTP:MODE? CH1": "CV",
        ":OUTP:MODE? CH2": "CC",
        ":OUTP:MODE? CH3": "CV",
        **_settings_at(1),
        **_settings_at(2),
        **_settings_at(3),
        ":OUTP:TRAC? CH1": "OFF",
        ":OUTP:TRAC? CH2": "OFF",
        ":SYST:ERR?": '0,"No error"',
    },
    # The unit on paper takes several queries in one message; whether a real one does is found out.
    poll=[";".join(ask.format(channel) for ask in ASKS for channel in (1, 2, 3))],
    readings={
        1: reading(voltage=2.0, current=0.05, voltage_limit=2.0, current_limit=1.0, state=True, mode="CV", **_LEVELS),
        2: reading(voltage=4.998, current=1.0, voltage_limit=5.0, current_limit=1.0, state=True, mode="CC", **_LEVELS),
        3: reading(voltage=0.0, current=0.0, voltage_limit=3.3, current_limit=0.5, state=False, mode="OFF", **_LEVELS),
    },
    settings=[
        (1, "voltage_limit", 12.345, [":SOUR1:VOLT 12.345"]),
        (2, "current_limit", 0.5, [":SOUR2:CURR 0.5"]),
        (3, "state", True, [":OUTP CH3,ON"]),
        (3, "state", False, [":OUTP CH3,OFF"]),
        (1, "current_limit", 3.0, [":SOUR1:CURR 3"]),
        (1, "state", True, [":OUTP CH1,ON"]),
        (1, "voltage_protection", 8.8, [":OUTP:OVP:VAL CH1,8.8"]),
        (1, "voltage_protection_state", True, [":OUTP:OVP CH1,ON"]),
        (1, "voltage_protection_state", False, [":OUTP:OVP CH1,OFF"]),
        (1, "current_protection_level", 3.3, [":OUTP:OCP:VAL CH1,3.3"]),
        (1, "current_protection", True, [":OUTP:OCP CH1,ON"]),
        (1, "clear_protection", True, [":OUTP:OVP:CLEAR CH1", ":OUTP:OCP:CLEAR CH1"]),
    ],
    refusal=('-113,"Undefined header; keyword cannot be found"', "keyword cannot be found"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_by_its_table(check: Callable[[Supply], None]) -> None:
    check(DP832A)


def test_words_tell_trips_and_an_unregulated_output() -> None:
    assert DP832A.reading({":OUTP:OVP:QUES? CH2": "YES"}, 2).tripped == "OVP"
    assert DP832A.reading({":OUTP:OCP:QUES? CH2": "YES"}, 2).tripped == "OCP"
    assert DP832A.reading({":OUTP:MODE? CH1": "UR"}).mode == "UR"


def test_the_text_of_an_error_is_no_answer() -> None:
    driver, unit, _ = connected(DP832A)
    unit.answers["OUTP? CH1"] = "Command error"
    with pytest.raises(MalformedAnswerError, match=r"OUTP\? CH1 was answered 'Command error'; expected was"):
        driver.poll(lambda: False)


def test_a_trip_is_never_cleared_by_the_command_that_turns_the_output_on() -> None:
    driver, unit, _ = connected(DP832A)
    driver.write(Write("clear_protection", (1, 3), True))
    assert not any("PROT:CLE" in message for message in unit.sent)
    file = series_of("DP800").model_dump_json(include={"settings", "polls", "conditions", "link"})
    assert "PROT:CLE" not in file


@pytest.mark.parametrize("asked", ["CH1", "CH2"])
@pytest.mark.parametrize("channel", [1, 2])
def test_tracking_of_either_output_forbids_settings_of_both(asked: str, channel: int) -> None:
    driver, _, _ = connected(DP832A, answers={f":OUTP:TRAC? {asked}": "ON"})
    assert "track each other" in driver.inspect((channel,)).bars[0]
    assert driver.inspect((3,)).bars == []


def test_the_option_gives_a_model_the_steps_of_its_sister() -> None:
    _, _, profile = connected(
        DP832A, "RIGOL TECHNOLOGIES,DP832,DP8C100000001,00.01.14", answers={"*OPT?": "DP8-LAN,DP8-ACCURACY"}
    )
    assert profile.outputs[0].voltage_resolution == 0.001
    _, _, plain = connected(DP832A, "RIGOL TECHNOLOGIES,DP832,DP8C100000001,00.01.14")
    assert plain.outputs[0].voltage_resolution == 0.01


def test_the_negative_output_has_a_negative_trip_level() -> None:
    third = next(model for model in models_of(series_of("DP800")) if model.name == "DP831A").outputs[2]
    limits, levels = third.range("voltage_limit"), third.range("voltage_protection")
    assert limits is not None
    assert levels is not None
    assert -32 in limits
    assert 1.0 not in limits
    assert -33 in levels
    assert 33 not in levels


@pytest.mark.parametrize(("answer", "volts", "amps"), [("20V/10A", 21.0, 10.5), ("P40V", 42.0, 5.3)])
def test_the_present_range_limits_settings(answer: str, volts: float, amps: float) -> None:
    driver, _, profile = connected(
        DP832A, "RIGOL TECHNOLOGIES,DP811A,DP8D100000003,00.01.16", answers={":OUTP:RANG?": answer}
    )
    told = driver.inspect((1,)).conditions.ranges[1]
    assert (told["voltage_limit"].max, told["current_limit"].max) == (volts, amps)
    whole = profile.outputs[0].range("voltage_limit")
    assert whole is not None
    assert whole.max == 42.0

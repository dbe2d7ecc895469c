"""Forms of answers that firmware of one series gives either way: whatever the series file shows, both are read alike."""

from __future__ import annotations

import pytest

from agent.instruments.catalogue import models_of
from agent.instruments.catalogue.answers import plain
from agent.instruments.driver import MalformedAnswerError, never
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from tests.instruments.series.ea.test_ps_9000 import EA
from tests.instruments.series.gwinstek.test_gpd_x303s import GPD2303S
from tests.instruments.series.gwinstek.test_psw import PSW30_72
from tests.instruments.series.keysight.test_e3631a import E3631A
from tests.instruments.series.on_paper import PaperUnit, connected, series_of
from tests.instruments.series.rigol.test_dp700 import DP711
from tests.instruments.series.rigol.test_dp800 import DP832A
from tests.instruments.series.siglent.test_spd3303 import SPD3303X
from tests.instruments.series.tti.test_tti import PL


@pytest.mark.parametrize(
    ("word", "told"),
    [("on", "1"), ("OFF", "0"), ('"OFF"', "0"), (" 1\r", "1"), ("+0", "0"), ("none", "NONE"), ("-1", "-1")],
)
def test_a_switch_is_the_same_as_a_word_and_as_a_number(word: str, told: str) -> None:
    assert plain(word) == told


@pytest.mark.parametrize(
    ("answer", "is_free"), [("0", True), ("OFF", True), ("off", True), ("1", False), ("ON", False)]
)
def test_a_guard_takes_a_switch_in_both_forms(answer: str, is_free: bool) -> None:
    for supply, ask in ((E3631A, "OUTP:TRAC?"), (DP832A, ":OUTP:TRAC? CH1")):
        driver, _, _ = connected(supply, answers={ask: answer})
        assert (driver.inspect([1, 2, 3]).bars == []) is is_free


@pytest.mark.parametrize(
    ("answer", "complaints"),
    [
        ('+0,"No error"', []),
        ('0,"No error"', []),
        ('+000, "No error"', []),
        ("0 No Error", []),
        ("0\tNo Error", []),
        ("-0, none", []),
        ('-222,"Data out of range"', ['-222,"Data out of range"']),
        ("-222 Data out of range", ['-222,"Data out of range"']),
    ],
)
def test_error_0_is_none_in_every_form(answer: str, complaints: list[str]) -> None:
    for supply, ask in ((DP832A, ":SYST:ERR?"), (SPD3303X, "SYST:ERR?")):
        driver, unit, _ = connected(supply)
        none = str(unit.answers[ask.lstrip(":")])
        unit.answers[ask.lstrip(":")] = [answer, none] if complaints else answer
        assert driver.complaints() == complaints


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({":OUTP? CH1": "1"}, {"state": True}),
        ({":OUTP? CH1": "0"}, {"state": False, "mode": "OFF"}),
        ({":OUTP:MODE? CH1": "cc"}, {"mode": "CC"}),
        ({":OUTP:MODE? CH1": "LIST"}, {"mode": None}),
        ({":OUTP:OVP:QUES? CH1": "1"}, {"tripped": "OVP"}),
        ({":OUTP:OCP:QUES? CH1": "yes"}, {"tripped": "OCP"}),
        ({":MEAS:ALL? CH1": "2.0000V, 0.0500A, 0.100W"}, {"voltage": 2.0, "current": 0.05}),
        ({":MEAS:ALL? CH1": "-0.0000,-0.0000,0.000"}, {"voltage": 0.0, "current": 0.0}),
        ({":APPL? CH1": "CH1:30V/3A, 2.000E+00, 1.0000E+00"}, {"voltage_limit": 2.0, "current_limit": 1.0}),
        # The form of a unit with one output, in the DP800 driver and its tests of the public project wavebench.
        ({":APPL? CH1": "5.000,0.100"}, {"voltage_limit": 5.0, "current_limit": 0.1}),
    ],
)
def test_numbers_and_words_in_other_forms(changed: dict[str, str], told: dict[str, object]) -> None:
    reading = DP832A.reading(changed)
    assert {name: getattr(reading, name) for name in told} == told


@pytest.mark.parametrize("unit", ["V", " V", "v", ""])
def test_units_of_measurement_may_be_there_or_not(unit: str) -> None:
    """A GPD answers 5.001V (pymeasure, tests of the GPD-2303S), an emulator 5.001 (GitHub file 60930502535)."""
    for supply, ask in ((GPD2303S, "VOUT1?"), (PL, "V1O?"), (EA, "VOLT?")):
        reading = supply.reading({ask: f"5.001{unit}"})
        assert 5.001 in (reading.voltage, reading.voltage_limit)
        for wrong in ("5.001A", "5001mV", "5.001VV"):
            with pytest.raises(MalformedAnswerError):
                supply.reading({ask: wrong})


class FirstAlone(PaperUnit):
    """Answers the first question of a message, and never reports an error for the rest."""

    def tell(self, message: str) -> None:
        super().tell(message.split(";")[0])


def test_a_unit_that_answers_the_first_question_alone_is_online_at_its_first_connection() -> None:
    series = series_of("PSW")
    unit = FirstAlone(series, {**PSW30_72.answers, "*IDN?": "GW-INSTEK,PSW30-72,GEW161000,02.53.20220419"})
    driver = TextDriver(unit, name="psu1", models=models_of(series), knowledge=Knowledge())
    assert driver.connect().effort == f"{len(series.polls)} messages"
    assert driver.poll(never) == dict(PSW30_72.readings)


@pytest.mark.parametrize("none", ["0 No Error", "0, No Error.", '+0,"No error; none"'])
def test_the_question_for_errors_stands_before_others_in_each_of_its_forms(none: str) -> None:
    driver, unit, _ = connected(PSW30_72, answers={"SYST:ERR?": none})
    assert driver.inspect([1]).readings == dict(PSW30_72.readings)
    assert [message.count("?") for message in unit.sent] == [1 + len(series_of("PSW").polls)]
    unit.answers["SYST:ERR?"] = ["-222 Data out of range", none]
    assert driver.inspect([1]).complaints == ['-222,"Data out of range"']


def test_a_dp700_answers_its_settings_without_its_name() -> None:
    """As the driver in labmcp-bench-psu has it, beside the guide's form with the name."""
    reading = DP711.reading({":APPL? CH1": "5.00,1.00"})
    assert (reading.voltage_limit, reading.current_limit) == (5.0, 1.0)

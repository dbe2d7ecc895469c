"""The simulated SPD3303: its answers as the manual has them, and its quirks."""

from __future__ import annotations

import pytest

from agent.simulator.loads import Resistor
from agent.simulator.siglent import SPD3303
from tests.simulator.lines import Clock, ask, on_socket, tell


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supply(clock: Clock) -> SPD3303:
    return SPD3303(noise=False, clock=clock, loads={1: Resistor(10), 2: Resistor(10)}, gap=0.0)


def test_answers_as_the_manual_has_them(supply: SPD3303) -> None:
    with on_socket(supply) as wire:
        assert wire.ask(b"*IDN?\n") == b"Siglent Technologies,SPD3303X,SPD00001130025,1.01.01.01.02,V3.0\n"
        wire.send(b"CH1:VOLT 30\nCH1:CURR 3\nOUTP CH1,ON\n")
        assert wire.ask(b"MEAS:VOLT? CH1\n") == b"30.000\n"
        assert wire.ask(b"MEAS:CURR? CH1\n") == b"3.000\n"
        assert wire.ask(b"MEAS:POWE? CH1\n") == b"90.000\n"
        wire.send(b"CH1:VOLT 25\nCH2:CURR 0.5\n")
        assert wire.ask(b"CH1:VOLT?\n") == b"25.000\n"
        assert wire.ask(b"CH2:CURR?\n") == b"0.500\n"
        assert wire.ask(b"SYST:ERR?\n") == b"0  No Error\n"
        assert wire.ask(b"INST?\n") == b"CH1\n"


def test_a_message_without_a_line_feed_is_carried_out_too(supply: SPD3303) -> None:
    with on_socket(supply) as wire:
        assert wire.ask(b"SYST:STAT?") == b"0x0004\n"


@pytest.mark.parametrize(
    ("model", "identity"),
    [
        ("SPD3303X-E", "Siglent Technologies,SPD3303X-E,SPD3XJG000001,1.01.01.03.12R1 V6.2"),
        ("SPD3303C", "Siglent Technologies,SPD3303C,SPD3XJG000001,1.02.01.01.03R2"),
    ],
)
def test_other_models_have_other_forms_of_identity(model: str, identity: str) -> None:
    assert ask(SPD3303(model, serial="SPD3XJG000001"), "*IDN?") == identity


def test_one_register_tells_switches_modes_and_track(supply: SPD3303) -> None:
    assert ask(supply, "SYST:STAT?") == "0x0004"
    tell(supply, "CH1:VOLT 5", "OUTP CH1,ON")
    assert ask(supply, "SYST:STAT?") == "0x0014"
    tell(supply, "CH2:VOLT 5", "CH2:CURR 0.1", "OUTP CH2,ON")
    assert ask(supply, "SYST:STAT?") == "0x0036"
    tell(supply, "OUTP CH1,OFF", "OUTP CH2,OFF", "OUTP:TRACK 2")
    assert ask(supply, "SYST:STAT?") == "0x0008"
    tell(supply, "OUTP:TRACK 1")
    assert ask(supply, "SYST:STAT?") == "0x000c"


def test_the_registers_answer_may_be_short(clock: Clock) -> None:
    supply = SPD3303(noise=False, clock=clock, status_digits=2, gap=0.0)
    tell(supply, "OUTP CH1,ON")
    assert ask(supply, "SYST:STAT?") == "0x14"


def test_output_3_is_switched_and_not_readable(supply: SPD3303) -> None:
    tell(supply, "OUTP CH3,ON")
    assert supply.outputs[3].on
    assert ask(supply, "SYST:STAT?") == "0x0004"
    tell(supply, "MEAS:VOLT? CH3", "CH3:VOLT?", "OUTP? CH3")
    assert supply.outputs[3].voltage == 3.3
    tell(supply, "OUTP CH3,OFF")
    assert not supply.outputs[3].on


def test_a_compound_message_is_answered_for_its_first_question_and_reports_no_error(supply: SPD3303) -> None:
    assert ask(supply, "CH1:VOLT 7;:CH1:VOLT?;:CH1:CURR?;:CH1:VOLT 9") == "7.000"
    assert ask(supply, "SYST:ERR?") == "0  No Error"
    assert ask(supply, "CH1:VOLT?") == "7.000"


def test_a_message_that_comes_too_soon_is_lost_without_a_word(clock: Clock) -> None:
    supply = SPD3303(noise=False, clock=clock)
    tell(supply, "CH1:VOLT 7")
    clock.pass_by(0.009)
    tell(supply, "CH1:VOLT 9", "CH1:VOLT?")
    clock.pass_by(0.002)
    assert ask(supply, "CH1:VOLT?") == "7.000"
    clock.pass_by(0.011)
    assert ask(supply, "SYST:ERR?") == "0  No Error"
    assert supply.lost == 2


def test_tied_outputs_have_the_settings_and_the_switch_of_output_1(supply: SPD3303) -> None:
    tell(supply, "CH1:VOLT 12", "OUTP:TRACK 1", "OUTP CH2,ON")
    assert ask(supply, "CH2:VOLT?") == "12.000"
    assert ask(supply, "SYST:STAT?") == "0x003c"


def test_no_lock_question_is_answered(supply: SPD3303) -> None:
    tell(supply, "*LOCK", "*LOCK?")
    assert supply.locked
    tell(supply, "*UNLOCK")
    assert not supply.locked


def test_a_setting_out_of_range_is_refused(supply: SPD3303) -> None:
    tell(supply, "CH1:VOLT 33", "CH1:VOLT -1", "CH3:VOLT 1")
    assert [ask(supply, "SYST:ERR?")[:4] for _ in range(3)] == ["-222", "-222", "-114"]
    assert ask(supply, "CH1:VOLT?") == "0.000"

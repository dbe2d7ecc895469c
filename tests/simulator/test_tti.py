"""The simulated CPX: its answers as the manual and a public transcript have them, and its quirks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.simulator.loads import Resistor
from agent.simulator.tti import CPX
from tests.simulator.lines import Clock, ask, on_serial, on_socket, tell


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supply(clock: Clock) -> CPX:
    return CPX(noise=False, clock=clock, loads={1: Resistor(10)})


def test_answers_as_a_transcript_has_them(supply: CPX) -> None:
    with on_socket(supply) as wire:
        assert wire.ask(b"*IDN?\n") == b"THURLBY THANDAR, CPX400DP, 581123, 3.00-4.12\r\n"
        wire.send(b"V1 20.19\nI1 0.07\n")
        assert wire.ask(b"V1?\n") == b"V1 20.19\r\n"
        assert wire.ask(b"I1?\n") == b"I1 0.070\r\n"
        assert wire.ask(b"OVP1?\n") == b"VP1 66.00\r\n"
        assert wire.ask(b"OCP1?\n") == b"CP1 22.00\r\n"
        assert wire.ask(b"OP1?\n") == b"0\r\n"
        assert wire.ask(b"V1O?\n") == b"0.000V\r\n"
        wire.send(b"OP1 1\n")
        assert wire.ask(b"OP1?\n") == b"1\r\n"
        assert wire.ask(b"V1O?\n") == b"0.700V\r\n"
        assert wire.ask(b"I1O?\n") == b"0.070A\r\n"
        assert wire.ask(b"CONFIG?\n") == b"2\r\n"
        assert wire.ask(b"RATIO?\n") == b"100.00\r\n"
        assert wire.ask(b"*ESR?\n") == b"128\r\n"
        assert wire.ask(b"*ESR?\n") == b"0\r\n"


def test_the_same_on_a_serial_line(supply: CPX) -> None:
    with on_serial(supply) as wire:
        assert wire.ask(b"V2?\r\n") == b"V2 0.00\r\n"


def test_registers_tell_of_modes_that_were_entered_and_reading_clears_them(supply: CPX) -> None:
    assert ask(supply, "LSR1?") == "0"
    tell(supply, "V1 5", "I1 1", "OP1 1")
    assert [ask(supply, "LSR1?") for _ in range(3)] == ["1", "0", "0"]
    tell(supply, "I1 0.1")
    assert [ask(supply, "LSR1?") for _ in range(2)] == ["2", "0"]
    tell(supply, "I1 1", "I1 0.1")
    assert ask(supply, "LSR1?") == "3"
    assert ask(supply, "LSR2?") == "0"


def test_trips_are_told_by_the_register_once(supply: CPX) -> None:
    tell(supply, "V1 12", "I1 5", "OP1 1", "OVP1 11")
    assert (ask(supply, "OP1?"), ask(supply, "LSR1?"), ask(supply, "LSR1?")) == ("0", "5", "0")
    tell(supply, "OP1 1")
    assert ask(supply, "OP1?") == "0"
    tell(supply, "OVP1 66", "TRIPRST")
    assert ask(supply, "OP1?") == "0"
    tell(supply, "OCP1 1", "OP1 1")
    assert (ask(supply, "LSR1?"), ask(supply, "V1O?")) == ("8", "0.000V")


def test_the_power_limit_is_a_mode_of_its_own(clock: Clock) -> None:
    supply = CPX(noise=False, clock=clock, loads={1: Resistor(4.2)})
    tell(supply, "V1 60", "I1 20", "OP1 1")
    assert (ask(supply, "V1O?"), ask(supply, "I1O?"), ask(supply, "LSR1?")) == ("42.000V", "10.000A", "16")


def test_one_word_resets_the_trips_of_all_outputs(supply: CPX) -> None:
    supply.trip(1, "OVP")
    supply.trip(2, "OCP")
    tell(supply, "TRIPRST", "OPALL 1")
    assert (ask(supply, "OP1?"), ask(supply, "OP2?")) == ("1", "1")


def test_while_the_outputs_track_the_second_has_the_firsts_voltage_by_the_ratio(supply: CPX) -> None:
    tell(supply, "CONFIG 0", "RATIO 50", "V1 10")
    assert (ask(supply, "CONFIG?"), ask(supply, "V2?")) == ("0", "V2 5.00")
    tell(supply, "V2 30")
    assert ask(supply, "V2?") == "V2 5.00"


def test_an_unknown_word_gets_no_answer_and_shows_in_the_status(supply: CPX) -> None:
    tell(supply, "*CLS", "V3?", "MEAS:VOLT?")
    assert (ask(supply, "*ESR?"), ask(supply, "EER?")) == ("32", "0")


def test_a_setting_out_of_range_is_an_execution_error(supply: CPX) -> None:
    tell(supply, "*CLS", "V1 5", "V1 61", "OVP1 0.5")
    assert (ask(supply, "*ESR?"), ask(supply, "EER?"), ask(supply, "EER?")) == ("16", "100", "0")
    assert (ask(supply, "V1?"), ask(supply, "OVP1?")) == ("V1 5.00", "VP1 66.00")


def test_each_question_of_a_message_has_a_line_of_its_own(supply: CPX) -> None:
    with on_socket(supply) as wire:
        assert wire.ask(b"V1?;I1?\n") == b"V1 0.00\r\n"
        assert wire.line() == b"I1 1.000\r\n"


def test_the_locks_answer_without_a_question_mark(supply: CPX) -> None:
    assert [ask(supply, word) for word in ("IFLOCK?", "IFLOCK", "IFLOCK?", "IFUNLOCK")] == ["0", "1", "1", "0"]


def test_the_panel_is_free_after_local(supply: CPX) -> None:
    ask(supply, "V1?")
    assert supply.remote
    tell(supply, "LOCAL")
    assert not supply.remote


@given(st.text(alphabet="VIOPCLSRTA12? .;:*0", max_size=20))
def test_any_text_is_survived(text: str) -> None:
    supply = CPX(noise=False, clock=Clock())
    supply.execute(text)
    assert ask(supply, "V1?").startswith("V1 ")

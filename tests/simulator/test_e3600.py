"""The simulated E3631A and E3640A to E3649A: answers as guides and notes have them, and their quirks."""

from __future__ import annotations

import pytest

from agent.simulator.e3600 import E364X, E3631A
from agent.simulator.loads import Resistor
from tests.simulator.lines import Clock, ask, on_serial, tell


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def triple(clock: Clock) -> E3631A:
    return E3631A(noise=False, clock=clock, loads={1: Resistor(5)}, interface="GPIB")


@pytest.fixture
def dual(clock: Clock) -> E364X:
    return E364X("E3646A", noise=False, clock=clock, loads={1: Resistor(10)}, interface="GPIB")


@pytest.fixture
def single(clock: Clock) -> E364X:
    return E364X("E3640A", noise=False, clock=clock, loads={1: Resistor(10)}, interface="GPIB", firmware="1.8-5.0-1.0")


# E3631A


def test_e3631a_answers_on_a_serial_line(clock: Clock) -> None:
    supply = E3631A(noise=False, clock=clock, loads={1: Resistor(5)})
    with on_serial(supply) as wire:
        assert wire.ask(b"*IDN?\n", b"\r\n") == b"HEWLETT-PACKARD,E3631A,0,3.2-6.0-2.0\r\n"
        wire.send(b"APPL P6V,5,1\n")
        assert wire.ask(b"SYST:ERR?\n", b"\r\n") == b'+550,"Command not allowed in local"\r\n'
        wire.send(b"SYST:REM\nAPPL P6V,5,1\nOUTP ON\n")
        assert wire.ask(b"MEAS:VOLT? P6V\n", b"\r\n") == b"+5.00000000E+00\r\n"
        assert wire.ask(b"MEAS:CURR? P6V\n", b"\r\n") == b"+1.00000000E+00\r\n"
        assert wire.ask(b"APPL? P6V\n", b"\r\n") == b'"5.000000,1.000000"\r\n'
        assert wire.ask(b"OUTP?;OUTP:TRAC?\n", b"\r\n") == b"1;0\r\n"
        assert wire.ask(b"STAT:QUES:INST:ISUM1:COND?\n", b"\r\n") == b"+2\r\n"
        assert wire.ask(b"SYST:ERR?\n", b"\r\n") == b'+0,"No error"\r\n'


def test_in_local_questions_are_answered_and_commands_are_not_carried_out(clock: Clock) -> None:
    supply = E364X("E3646A", noise=False, clock=clock)
    assert ask(supply, "INST:NSEL 2;:INST:NSEL?;:VOLT 3;:VOLT?") == "+1;+0.00000000E+00"
    assert [ask(supply, "SYST:ERR?").split(",")[0] for _ in range(3)] == ["+550", "+550", "+0"]
    tell(supply, "SYST:REM", "VOLT 3", "SYST:LOC", "VOLT 4")
    assert ask(supply, "VOLT?") == "+3.00000000E+00"


def test_remote_is_refused_on_gpib(triple: E3631A) -> None:
    tell(triple, "SYST:REM")
    assert ask(triple, "SYST:ERR?").startswith("+514,")


def test_one_switch_acts_on_all_three_outputs(triple: E3631A) -> None:
    tell(triple, "APPL P6V,5,1", "APPL P25V,12,1", "APPL N25V,-12,1", "INST:NSEL 1", "OUTP ON")
    assert [ask(triple, f"MEAS:VOLT? {name}") for name in ("P6V", "P25V", "N25V")] == [
        "+5.00000000E+00",
        "+1.20000000E+01",
        "-1.20000000E+01",
    ]
    tell(triple, "INST N25V", "OUTP OFF")
    assert [output.on for output in triple.outputs.values()] == [False] * 3


def test_the_negative_output_takes_a_minus_sign_and_refuses_none(triple: E3631A) -> None:
    tell(triple, "INST N25V", "VOLT -3")
    assert (ask(triple, "VOLT?"), ask(triple, "VOLT? MAX"), ask(triple, "VOLT? MIN")) == (
        "-3.00000000E+00",
        "-2.57500000E+01",
        "+0.00000000E+00",
    )
    tell(triple, "VOLT 5")
    assert (ask(triple, "SYST:ERR?")[:5], ask(triple, "APPL? N25V")) == ("-222,", '"-3.000000,1.000000"')


def test_readings_by_name_do_not_select_and_apply_does(triple: E3631A) -> None:
    ask(triple, "MEAS:VOLT? N25V;CURR? N25V;:APPL? P25V")
    assert ask(triple, "INST:NSEL?") == "+1"
    tell(triple, "APPL P25V,7")
    assert ask(triple, "INST?") == "P25V"


def test_tracking_moves_both_25_v_outputs(triple: E3631A) -> None:
    tell(triple, "APPL P25V,7,1", "OUTP:TRAC ON")
    assert ask(triple, "APPL? N25V").startswith('"-7.0')
    tell(triple, "APPL N25V,-9,1")
    assert ask(triple, "APPL? P25V").startswith('"9.0')


def test_the_identity_is_the_last_question_of_a_message(triple: E3631A) -> None:
    assert ask(triple, "OUTP?;*IDN?") == "0;HEWLETT-PACKARD,E3631A,0,3.2-6.0-2.0"
    assert ask(triple, "SYST:ERR?").startswith("+0")
    assert ask(triple, "*IDN?;OUTP?") == "HEWLETT-PACKARD,E3631A,0,3.2-6.0-2.0"
    assert ask(triple, "SYST:ERR?").startswith("-440,")


def test_modes(triple: E3631A) -> None:
    assert ask(triple, "STAT:QUES:INST:ISUM1:COND?") == "+0"
    tell(triple, "APPL P6V,5,0.5", "OUTP ON")
    assert [ask(triple, f"STAT:QUES:INST:ISUM{n}:COND?") for n in (1, 2, 3)] == ["+1", "+2", "+2"]


def test_a_message_that_comes_too_soon_is_lost_and_shows_as_an_interrupted_query(clock: Clock) -> None:
    supply = E364X("E3640A", noise=False, clock=clock, gap=0.05)
    tell(supply, "SYST:REM", "VOLT 3")
    clock.pass_by(0.06)
    assert ask(supply, "VOLT?") == "+0.00000000E+00"
    clock.pass_by(0.06)
    assert ask(supply, "SYST:ERR?") == '-410,"Query INTERRUPTED"'


# E3640A to E3649A


def test_e3640a_answers_as_a_unit_was_recorded(single: E364X) -> None:
    assert ask(single, "*IDN?") == "Agilent Technologies,E3640A,0,1.8-5.0-1.0"
    tell(single, "VOLT 1", "CURR 1", "OUTP 1")
    assert (ask(single, "VOLT?"), ask(single, "CURR?"), ask(single, "OUTP?")) == (
        "+1.00000000E+00",
        "+1.00000000E+00",
        "1",
    )
    assert (ask(single, "VOLT:RANG?"), ask(single, "VOLT? MAX")) == ("P8V", "+8.24000000E+00")
    assert (ask(single, "VOLT:PROT?"), ask(single, "VOLT:PROT:STAT?")) == ("+2.20000000E+01", "1")
    assert ask(single, "STAT:QUES:COND?") == "+2"


def test_a_trip_looks_healthy_but_for_one_question_and_its_clear_restores_the_output(single: E364X) -> None:
    tell(single, "VOLT:RANG HIGH", "VOLT 10", "OUTP 1", "VOLT:PROT 5")
    assert (ask(single, "OUTP?"), ask(single, "STAT:QUES:COND?"), ask(single, "VOLT:PROT:TRIP?")) == ("1", "+2", "1")
    assert ask(single, "STAT:QUES?") == "+514"
    assert ask(single, "MEAS:VOLT?") == "+0.00000000E+00"
    tell(single, "VOLT:PROT 22", "VOLT:PROT:CLE")
    assert (ask(single, "VOLT:PROT:TRIP?"), ask(single, "MEAS:VOLT?")) == ("0", "+1.00000000E+01")


def test_a_lower_range_clamps_without_a_word_and_leaves_a_single_output_on(single: E364X) -> None:
    tell(single, "VOLT:RANG P20V", "VOLT 15", "OUTP 1", "VOLT:RANG LOW")
    assert (ask(single, "VOLT?"), ask(single, "OUTP?"), ask(single, "SYST:ERR?")) == (
        "+8.24000000E+00",
        "1",
        '+0,"No error"',
    )


def test_a_range_of_a_dual_model_turns_both_outputs_off(dual: E364X) -> None:
    tell(dual, "OUTP ON", "INST:NSEL 2", "VOLT:RANG HIGH")
    assert (ask(dual, "OUTP?"), ask(dual, "VOLT:RANG?"), ask(dual, "INST OUT1;:VOLT:RANG?")) == ("0", "P20V", "P8V")


def test_a_voltage_is_checked_by_the_higher_range_and_a_current_by_the_present_one(clock: Clock) -> None:
    supply = E364X("E3641A", noise=False, clock=clock, interface="GPIB")
    tell(supply, "VOLT 40")
    assert (ask(supply, "SYST:ERR?")[:3], ask(supply, "VOLT?"), ask(supply, "VOLT:RANG?")) == (
        "+0,",
        "+4.00000000E+01",
        "P35V",
    )
    tell(supply, "VOLT 65", "CURR 0.9", "VOLT:RANG P8V", "CURR:PROT?")
    assert [ask(supply, "SYST:ERR?")[:4] for _ in range(4)] == ["-222", "-222", "-224", "-113"]


def test_dual_summaries_say_0_until_they_were_enabled(dual: E364X) -> None:
    tell(dual, "OUTP ON")
    assert ask(dual, "STAT:QUES:INST:ISUM1:COND?") == "+0"
    tell(dual, "STAT:QUES:INST:ENAB 6;:STAT:QUES:INST:ISUM1:ENAB 3;:STAT:QUES:INST:ISUM2:ENAB 3")
    assert [ask(dual, f"STAT:QUES:INST:ISUM{n}:COND?") for n in (1, 2)] == ["+2", "+2"]


def test_one_switch_acts_on_both_outputs_of_a_dual_model(dual: E364X) -> None:
    tell(dual, "INST:NSEL 2", "VOLT 3", "INST:NSEL 1", "VOLT 2", "OUTP ON")
    assert ask(dual, "INST:SEL OUT2;:MEAS:VOLT?;:MEAS:CURR?") == "+3.00000000E+00;+0.00000000E+00"
    assert ask(dual, "INST?") == "OUTP2"


def test_while_output_2_tracks_its_own_setting_has_no_effect(dual: E364X) -> None:
    tell(dual, "VOLT 4", "OUTP:TRAC ON", "INST:NSEL 2", "VOLT 1")
    assert ask(dual, "VOLT?") == "+4.00000000E+00"
    tell(dual, "INST:NSEL 1", "VOLT 6", "INST:NSEL 2")
    assert ask(dual, "VOLT?") == "+6.00000000E+00"


def test_a_single_model_has_no_second_output(single: E364X) -> None:
    tell(single, "INST:NSEL 2", "OUTP:TRAC?", "STAT:QUES:INST:ISUM1:COND?")
    assert [ask(single, "SYST:ERR?")[:4] for _ in range(3)] == ["-222", "-113", "-113"]

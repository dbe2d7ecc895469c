"""The simulated HMP: its answers as the maker's driver and public logs have them, and its quirks."""

from __future__ import annotations

import pytest

from agent.simulator.hmp import HMP
from agent.simulator.loads import Resistor
from tests.simulator.lines import Clock, ask, on_serial, on_socket, tell


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supply(clock: Clock) -> HMP:
    return HMP(noise=False, clock=clock, loads={1: Resistor(50), 2: Resistor(50)}, empty_identity=False)


def test_answers_as_public_logs_have_them(supply: HMP) -> None:
    with on_socket(supply) as wire:
        assert wire.ask(b"*IDN?\n") == b"ROHDE&SCHWARZ,HMP4040,120123,HW50020003/SW2.70\n"
        assert wire.ask(b"INST?\n") == b"OUTP1\n"
        assert wire.ask(b"VOLT?\n") == b"0.000\n"
        assert wire.ask(b"CURR?\n") == b"0.1000\n"
        wire.send(b"VOLT 5\nOUTP:SEL 1\nOUTP:GEN 1\n")
        assert wire.ask(b"MEAS:VOLT?\n") == b"5.000\n"
        assert wire.ask(b"MEAS:CURR?\n") == b"0.1000\n"
        assert wire.ask(b"APPL?\n") == b"5.000,0.1000\n"
        assert wire.ask(b"STAT:QUES:INST:ISUM1:COND?\n") == b"2\n"
        assert wire.ask(b"VOLT:PROT?\n") == b"33.000\n"
        assert wire.ask(b"VOLT:PROT:MODE?\n") == b"measured\n"
        assert wire.ask(b"VOLT? MAX\n") == b"32.050\n"
        assert wire.ask(b"CURR? MIN\n") == b"0.0010\n"
        assert wire.ask(b"SYST:ERR?\n") == b'0, "No error"\n'


def test_the_first_identity_after_a_connection_is_empty(clock: Clock) -> None:
    supply = HMP(noise=False, clock=clock)
    for _ in range(2):
        with on_socket(supply) as wire:
            assert wire.ask(b"*IDN?\n") == b"\n"
            assert wire.ask(b"*IDN?\n").startswith(b"ROHDE&SCHWARZ,HMP4040,")


def test_a_serial_line_has_an_empty_identity_after_power_on_alone(clock: Clock) -> None:
    supply = HMP(noise=False, clock=clock)
    with on_serial(supply) as wire:
        assert wire.ask(b"*IDN?\r\n") == b"\n"
        assert wire.ask(b"*IDN?\r\n").startswith(b"ROHDE&SCHWARZ,HMP4040,")


def test_settings_and_readings_are_of_the_selected_output(supply: HMP) -> None:
    tell(supply, "INST:NSEL 2", "VOLT 7", "INST OUT1", "VOLT 3")
    assert (ask(supply, "INST:NSEL 2;:VOLT?"), ask(supply, "INST OUTP1;:VOLT?")) == ("7.000", "3.000")
    tell(supply, "INST:NSEL 5")
    assert (ask(supply, "SYST:ERR?")[:4], ask(supply, "INST:NSEL?")) == ("-222", "1")


def test_an_output_gives_voltage_only_if_it_is_armed_and_the_master_closed(supply: HMP) -> None:
    tell(supply, "VOLT 5", "OUTP:SEL 1")
    assert (ask(supply, "OUTP:SEL?"), ask(supply, "OUTP:GEN?"), ask(supply, "MEAS:VOLT?")) == ("1", "0", "0.000")
    tell(supply, "OUTP:GEN 1")
    assert ask(supply, "MEAS:VOLT?") == "5.000"
    tell(supply, "OUTP:SEL 0")
    assert (ask(supply, "OUTP:GEN?"), ask(supply, "MEAS:VOLT?")) == ("1", "0.000")


@pytest.mark.parametrize("closes", [False, True])
def test_output_on_in_both_of_its_readings(clock: Clock, closes: bool) -> None:
    supply = HMP(noise=False, clock=clock, output_closes_master=closes)
    tell(supply, "INST:NSEL 2", "VOLT 5", "OUTP:SEL 1", "INST:NSEL 1", "VOLT 3", "OUTP 1")
    assert (ask(supply, "OUTP?"), ask(supply, "OUTP:GEN?")) == ("1", str(int(closes)))
    tell(supply, "INST:NSEL 2")
    assert ask(supply, "MEAS:VOLT?") == ("5.000" if closes else "0.000")
    assert ask(supply, "OUTP?") == "1"
    tell(supply, "OUTP:GEN 0")
    assert ask(supply, "OUTP?") == ("0" if closes else "1")


def test_a_minus_sign_is_dropped(supply: HMP) -> None:
    tell(supply, "VOLT -4.1")
    assert (ask(supply, "VOLT?"), ask(supply, "SYST:ERR?")) == ("4.100", '0, "No error"')


def test_the_fuse_trips_in_current_limiting(supply: HMP) -> None:
    tell(supply, "VOLT 10", "CURR 0.1", "OUTP:SEL 1", "OUTP:GEN 1")
    assert (ask(supply, "STAT:QUES:INST:ISUM1:COND?"), ask(supply, "FUSE:TRIP?")) == ("1", "0")
    tell(supply, "FUSE ON")
    assert (ask(supply, "FUSE?"), ask(supply, "FUSE:TRIP?"), ask(supply, "OUTP:SEL?")) == ("1", "1", "0")
    tell(supply, "CURR 1", "OUTP:SEL 1")
    assert (ask(supply, "FUSE:TRIP?"), ask(supply, "MEAS:CURR?")) == ("0", "0.2000")


def test_over_voltage_trips_and_its_clear_leaves_the_output_off(supply: HMP) -> None:
    tell(supply, "VOLT 10", "CURR 1", "VOLT:PROT 8", "OUTP:GEN 1", "OUTP:SEL 1")
    assert (ask(supply, "VOLT:PROT:TRIP?"), ask(supply, "MEAS:VOLT?")) == ("1", "0.000")
    tell(supply, "VOLT:PROT 20", "OUTP:SEL 1")
    assert ask(supply, "OUTP:SEL?") == "0"
    tell(supply, "VOLT:PROT:CLE")
    assert (ask(supply, "VOLT:PROT:TRIP?"), ask(supply, "OUTP:SEL?")) == ("0", "0")


def test_remote_and_mixed_are_told_apart(supply: HMP) -> None:
    tell(supply, "SYST:REM")
    assert (supply.remote, supply.locked) == (True, True)
    tell(supply, "SYST:MIX")
    assert (supply.remote, supply.locked) == (True, False)
    tell(supply, "SYST:LOC")
    assert (supply.remote, supply.locked) == (False, False)

"""The simulated DP800: its answers as the guide has them, and its quirks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.simulator import NetworkInstrument
from agent.simulator.loads import Resistor
from agent.simulator.rigol import DP800
from tests.simulator.lines import Clock, ask, on_socket, tell
from tests.simulator.wire import Rpc


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supply(clock: Clock) -> DP800:
    return DP800("DP832A", noise=False, clock=clock, loads={1: Resistor(40)})


def test_answers_as_the_guide_has_them(supply: DP800) -> None:
    with on_socket(supply) as wire:
        assert wire.ask(b"*IDN?\n") == b"RIGOL TECHNOLOGIES,DP832A,DP8B100000004,00.01.19\n"
        wire.send(b":SOUR1:VOLT 2\n:SOUR1:CURR 1\n:OUTP CH1,ON\n")
        assert wire.ask(b":MEAS:VOLT? CH1\n") == b"2.0000\n"
        assert wire.ask(b":MEAS:CURR? CH1\n") == b"0.0500\n"
        assert wire.ask(b":MEAS:POWE? CH1\n") == b"0.100\n"
        assert wire.ask(b":MEAS:ALL? CH1\n") == b"2.0000,0.0500,0.100\n"
        wire.send(b":APPL CH1,5,1\n")
        assert wire.ask(b":SOUR1:VOLT?\n") == b"5.000\n"
        assert wire.ask(b":SOUR1:CURR?\n") == b"1.0000\n"
        assert wire.ask(b":APPL? CH1\n") == b"CH1:30V/3A,5.000,1.0000\n"
        assert wire.ask(b":APPL?\n") == b"5.000,1.0000\n"
        assert wire.ask(b":OUTP? CH1\n") == b"ON\n"
        assert wire.ask(b":OUTP? CH2\n") == b"OFF\n"
        assert wire.ask(b":OUTP:MODE? CH1\n") == b"CV\n"
        wire.send(b":OUTP:OVP:VAL CH1,8.8\n:OUTP:OCP:VAL CH1,3.1\n")
        assert wire.ask(b":OUTP:OVP:VAL? CH1\n") == b"8.800\n"
        assert wire.ask(b":SOUR1:VOLT:PROT?\n") == b"8.800\n"
        assert wire.ask(b":OUTP:OCP:VAL? CH1\n") == b"3.1000\n"
        assert wire.ask(b":OUTP:OVP? CH1\n") == b"OFF\n"
        assert wire.ask(b":OUTP:OVP:QUES? CH1\n") == b"NO\n"
        assert wire.ask(b":SOUR1:VOLT? MAX\n") == b"32.000\n"
        assert wire.ask(b":SOUR3:VOLT? MAX\n") == b"5.300\n"
        assert wire.ask(b":SYST:OTP?\n") == b"ON\n"
        assert wire.ask(b":SYST:ERR?\n") == b'0,"No error"\n'


def test_the_same_over_vxi_11(supply: DP800) -> None:
    with NetworkInstrument(supply, socket_port=None, vxi11_port=0) as network, Rpc(network.vxi11_port) as rpc:
        _, link, _, _ = rpc.call(10, bytes(12) + Rpc.opaque(b"inst0"))
        head = link.to_bytes(4, "big")
        rpc.call(11, head + bytes(8) + (8).to_bytes(4, "big") + Rpc.opaque(b":APPL? CH3\n"))
        reply = rpc.call(12, head + (100).to_bytes(4, "big") + (10_000).to_bytes(4, "big") + bytes(12))
        assert b"".join(word.to_bytes(4, "big") for word in reply[3:]).startswith(b"CH3:5V/3A,0.000,1.0000\n")


def test_modes_in_words_and_in_the_register(supply: DP800) -> None:
    assert ask(supply, ":STAT:QUES:INST:ISUM1:COND?") == "0"
    tell(supply, ":APPL CH1,20,1", ":OUTP CH1,ON")
    assert (ask(supply, ":OUTP:MODE? CH1"), ask(supply, ":STAT:QUES:INST:ISUM1:COND?")) == ("CV", "2")
    tell(supply, ":SOUR1:CURR 0.25")
    assert (ask(supply, ":OUTP:CVCC? CH1"), ask(supply, ":STAT:QUES:INST:ISUM1:COND?")) == ("CC", "1")
    assert ask(supply, ":MEAS:ALL? CH1") == "10.0000,0.2500,2.500"


def test_over_voltage_trips_only_with_its_switch_on(supply: DP800) -> None:
    tell(supply, ":APPL CH1,10,1", ":OUTP:OVP:VAL CH1,8", ":OUTP CH1,ON")
    assert (ask(supply, ":OUTP? CH1"), ask(supply, ":OUTP:OVP:QUES? CH1")) == ("ON", "NO")
    tell(supply, ":OUTP:OVP CH1,ON")
    assert ask(supply, ":OUTP:OVP:QUES? CH1") == ask(supply, ":OUTP:OVP:ALAR? CH1") == "YES"
    assert ask(supply, ":SOUR1:VOLT:PROT:TRIP?") == "YES"
    assert (ask(supply, ":OUTP? CH1"), ask(supply, ":OUTP:OCP:QUES? CH1")) == ("OFF", "NO")
    assert ask(supply, ":STAT:QUES:INST:ISUM1:COND?") == "4"


def test_over_current_has_a_level_of_its_own(supply: DP800) -> None:
    tell(supply, ":APPL CH1,20,1", ":OUTP:OCP:VAL CH1,0.4", ":OUTP:OCP CH1,ON", ":OUTP CH1,ON")
    assert ask(supply, ":OUTP:OCP:QUES? CH1") == "YES"
    assert ask(supply, ":STAT:QUES:INST:ISUM1:COND?") == "8"
    assert ask(supply, ":OUTP? CH1") == "OFF"


@pytest.mark.parametrize(("clear", "after"), [(":OUTP:OVP:CLEAR CH1", "OFF"), (":SOUR1:VOLT:PROT:CLE", "ON")])
def test_one_form_of_clear_turns_the_output_on_again(supply: DP800, clear: str, after: str) -> None:
    tell(supply, ":APPL CH1,10,1", ":OUTP:OVP:VAL CH1,8", ":OUTP:OVP CH1,ON", ":OUTP CH1,ON")
    assert ask(supply, ":OUTP:OVP:QUES? CH1") == "YES"
    tell(supply, ":OUTP CH1,ON")
    assert ask(supply, ":OUTP? CH1") == "OFF"
    tell(supply, ":OUTP:OVP:VAL CH1,33", clear)
    assert (ask(supply, ":OUTP:OVP:QUES? CH1"), ask(supply, ":OUTP? CH1")) == ("NO", after)


def test_a_channel_out_of_range_answers_with_the_selected_one(supply: DP800) -> None:
    tell(supply, ":APPL CH2,7,1", ":INST:NSEL 2")
    assert ask(supply, ":APPL? CH4") == "CH2:30V/3A,7.000,1.0000"
    assert ask(supply, ":SOUR7:VOLT?") == "7.000"
    assert ask(supply, ":INST?") == "CH2"
    assert ask(supply, ":SYST:ERR?") == '0,"No error"'


def test_an_unknown_header_is_answered_with_a_text_in_place_of_a_value(supply: DP800) -> None:
    assert ask(supply, ":MEAS:TEMP? CH1") == "Command error"
    assert ask(supply, ":SYST:ERR?") == '-113,"Undefined header; keyword cannot be found"'
    tell(supply, ":MEAS:TEMP")
    assert ask(supply, ":SYST:ERR?").startswith("-113,")
    assert ask(supply, ":SYST:ERR?") == '0,"No error"'


def test_too_many_messages_a_second_are_answered_with_a_text(clock: Clock) -> None:
    supply = DP800(noise=False, clock=clock, overload=60)
    assert [ask(supply, ":OUTP? CH1") for _ in range(61)] == ["OFF"] * 60 + ["Command error"]
    clock.pass_by(1.0)
    assert ask(supply, ":OUTP? CH1") == "OFF"


def test_tracking_copies_the_voltage_and_only_with_its_switch_the_state(supply: DP800) -> None:
    assert [ask(supply, f":OUTP:TRAC? CH{n}") for n in (1, 2, 3)] == ["OFF", "OFF", "NONE"]
    tell(supply, ":OUTP:TRAC CH1,ON", ":SOUR1:VOLT 12", ":OUTP CH1,ON")
    assert (ask(supply, ":SOUR2:VOLT?"), ask(supply, ":OUTP? CH2"), ask(supply, ":SOUR3:VOLT?")) == (
        "12.000",
        "OFF",
        "0.000",
    )
    assert (ask(supply, ":SYST:TRACKM?"), ask(supply, ":SYST:ONOFFS?")) == ("SYNC", "OFF")
    tell(supply, ":SYST:ONOFFS ON", ":OUTP CH2,OFF")
    assert ask(supply, ":OUTP? CH1") == "OFF"


def test_a_negative_output_takes_and_tells_negative_levels(clock: Clock) -> None:
    supply = DP800("DP831A", noise=False, clock=clock)
    tell(supply, ":APPL CH3,-12,1", ":OUTP:OVP:VAL CH3,-15", ":OUTP CH3,ON")
    assert ask(supply, ":MEAS:VOLT? CH3") == "-12.0000"
    assert ask(supply, ":OUTP:OVP:VAL? CH3") == "-15.000"
    assert ask(supply, ":APPL? CH3") == "CH3:-30V/2A,-12.000,1.0000"
    tell(supply, ":SOUR3:VOLT 5")
    assert (ask(supply, ":SYST:ERR?")[:5], ask(supply, ":SOUR3:VOLT?")) == ("-222,", "-12.000")


@given(st.floats(-50, 50))
def test_a_voltage_is_taken_or_refused_and_never_changed_to_another(volts: float) -> None:
    supply = DP800(noise=False, clock=Clock())
    tell(supply, ":SOUR3:VOLT 1", f":SOUR3:VOLT {volts:.3f}")
    taken = 0 <= round(volts, 3) <= 5.3
    assert float(ask(supply, ":SOUR3:VOLT?")) == (abs(round(volts, 3)) if taken else 1.0)
    assert ask(supply, ":SYST:ERR?").startswith("0," if taken else "-222,")

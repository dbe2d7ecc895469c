"""The simulated KA3005P: its answers as they were recorded from units, and its quirks."""

from __future__ import annotations

from functools import partial

import pytest

from agent.simulator.korad import KA3005P
from agent.simulator.loads import Resistor
from tests.simulator.lines import Clock, ask, on_serial, tell
from tests.support.waiting import wait_until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supply(clock: Clock) -> KA3005P:
    return KA3005P(noise=False, clock=clock, loads={1: Resistor(40)}, gap=0.0, log_size=10)


def was_last(supply: KA3005P, message: bytes) -> bool:
    return supply.log[-1:] == [message.decode()]


def test_answers_as_units_give_them(supply: KA3005P) -> None:
    with on_serial(supply) as wire:
        for setting in (b"VSET1:12.00", b"ISET1:1.000", b"OUT1"):
            wire.send(setting)
            wait_until(partial(was_last, supply, setting), "a message that nothing answers")
        wire.send(b"*IDN?")
        assert wire.read(16) == b"KORADKA3005PV2.0"
        wire.send(b"VSET1?")
        assert wire.read(5) == b"12.00"
        wire.send(b"ISET1?")
        assert wire.read(6) == b"1.000K"
        wire.send(b"VOUT1?")
        assert wire.read(5) == b"12.00"
        wire.send(b"IOUT1?")
        assert wire.read(5) == b"0.300"
        wire.send(b"STATUS?")
        assert wire.read(1) == b"\x51"


def test_two_messages_without_a_pause_between_them_are_lost(supply: KA3005P) -> None:
    with on_serial(supply) as wire:
        wire.send(b"VSET1:12.00ISET1:1.000")
        wait_until(lambda: supply.message_count == 1, "the two as one")
        wire.send(b"VSET1?")
        assert wire.read(5) == b"00.00"


@pytest.mark.parametrize(
    ("ohm", "on", "protected", "status"),
    [(40, True, False, 81), (1, True, False, 80), (40, True, True, 209), (1, True, True, 208)],
)
def test_the_status_byte_as_it_was_recorded(clock: Clock, ohm: float, on: bool, protected: bool, status: int) -> None:
    supply = KA3005P(noise=False, clock=clock, loads={1: Resistor(ohm)}, gap=0.0)
    tell(supply, "VSET1:12.00", "ISET1:1.000", f"OVP{int(protected)}", f"OUT{int(on)}")
    assert ask(supply, "STATUS?") == chr(status)
    tell(supply, "OUT0")
    assert ask(supply, "STATUS?") == chr(status - 64)


def test_a_trip_shows_in_the_outputs_bit_alone(supply: KA3005P) -> None:
    tell(supply, "VSET1:12.00", "ISET1:1.000", "OVP1", "OUT1")
    supply.trip(1, "OVP")
    assert ask(supply, "STATUS?") == chr(145)
    tell(supply, "OVP0", "OCP1", "ISET1:0.100", "OUT1")
    assert ord(ask(supply, "STATUS?")) & 0b1110_0000 == 0b0010_0000
    tell(supply, "OUT1", "OCP0")
    assert ord(ask(supply, "STATUS?")) & 0b0100_0000 == 0


def test_a_message_that_comes_too_soon_is_lost_without_a_word(clock: Clock) -> None:
    supply = KA3005P(noise=False, clock=clock)
    tell(supply, "VSET1:05.00")
    clock.pass_by(0.04)
    tell(supply, "VSET1:12.00", "VSET1?")
    clock.pass_by(0.011)
    assert ask(supply, "VSET1?") == "05.00"
    assert supply.lost == 2


def test_the_sixth_byte_is_not_on_every_unit(clock: Clock) -> None:
    assert ask(KA3005P(clock=clock, gap=0.0), "ISET1?") == "0.000\0"
    without = KA3005P(clock=clock, gap=0.0, sixth_byte=False)
    ask(without, "*IDN?")
    assert ask(without, "ISET1?") == "0.000"


@pytest.mark.parametrize(("clamps", "after"), [(False, "12.00"), (True, "31.00")])
def test_a_setting_out_of_range_is_dropped_or_clamped_without_a_word(clock: Clock, clamps: bool, after: str) -> None:
    supply = KA3005P(noise=False, clock=clock, gap=0.0, clamps=clamps)
    tell(supply, "VSET1:12.00", "VSET1:99.00")
    assert ask(supply, "VSET1?") == after


def test_a_recall_turns_the_output_off(supply: KA3005P) -> None:
    tell(supply, "VSET1:12.00", "SAV1", "VSET1:05.00", "OUT1", "RCL1")
    assert (ask(supply, "VSET1?"), ord(ask(supply, "STATUS?")) & 64) == ("12.00", 0)


def test_the_panel_is_locked_until_8_s_after_the_last_message(clock: Clock, supply: KA3005P) -> None:
    assert not supply.remote
    ask(supply, "VSET1?")
    clock.pass_by(7.9)
    assert supply.remote
    clock.pass_by(0.2)
    assert not supply.remote


@pytest.mark.parametrize(
    ("model", "serial", "identity"),
    [
        ("KD3005P", "", "KORAD KD3005P V2.0"),
        ("KA6003P", "", "KORADKA6003PV2.0"),
        ("72-2535", "03379314", "TENMA 72-2535 V2.1 SN:03379314"),
        ("72-2540", "", "TENMA72-2540V2.0"),
    ],
)
def test_the_identity_has_many_forms(model: str, serial: str, identity: str) -> None:
    assert ask(KA3005P(model, serial=serial), "*IDN?") == identity

"""Promises that the simulated supplies of all series keep."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.simulator import E36300, SUPPLIES, NetworkInstrument, Supply, loads, make_supply
from agent.simulator.instrument import ScpiInstrument
from tests.simulator.lines import Clock, on_serial

MODELS = [model for model, family in SUPPLIES.items() if issubclass(family, Supply)]
#: Pieces of messages of all languages, so that random messages are understood now and then.
PIECES = st.sampled_from(
    [
        *(":", ";", "?", " ", ",", "-", "1", "2", "3", "4", "9", "0.5", "1e9", "\0", "ÿ"),
        *(
            "*IDN?",
            "*RST",
            "VOLT",
            "CURR",
            "OUTP",
            "MEAS",
            "APPL",
            "INST",
            "NSEL",
            "PROT",
            "SOUR",
            "STAT",
            "QUES",
            "COND",
        ),
        *("CH", "P6V", "V", "I", "OP", "LSR", "VSET", "OUT", "RCL", "ON", "OFF", "MAX"),
    ]
)


def quick(model: str, **options: Any) -> Supply:
    """A supply that takes messages as fast as they come."""
    supply = make_supply(model, noise=False, clock=Clock(), **options)
    assert isinstance(supply, Supply)
    supply.gap = 0.0
    return supply


def test_an_unknown_model_is_told() -> None:
    with pytest.raises(ValueError, match="'X1000'; there are E36311A, "):
        make_supply("X1000")


@pytest.mark.parametrize(
    "model", ["DP832A", "SPD3303X", "HMP4040", "CPX400DP", "KA3005P", "E3631A", "E3646A", "E3640A"]
)
@given(messages=st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=8))
def test_any_messages_are_survived(model: str, messages: list[str]) -> None:
    supply = quick(model, loads={1: loads.Resistor(3)})
    for message in messages:
        supply.execute(message)
        for output in supply.outputs.values():
            rating = output.rating
            assert 0 <= output.voltage_set <= rating.voltage_max
            assert 0 <= output.current_set <= rating.current_max
            assert output.voltage <= output.voltage_set + 1e-9
            assert supply.is_live(output) or output.voltage == 0
    identities = [supply.execute("*IDN?") or "" for _ in range(2)]
    assert model in identities[1]


@pytest.mark.parametrize("model", MODELS)
def test_after_a_power_cycle_every_output_is_off(model: str) -> None:
    supply = quick(model)
    with NetworkInstrument(supply) as network:
        for channel in supply.outputs:
            supply.turn(channel, 1.0, 0.5)
            supply.press_output(channel, on=True)
            assert supply.outputs[channel].voltage > 0
        network.power_cycle()
        assert [supply.is_live(output) for output in supply.outputs.values()] == [False] * len(supply.outputs)


@pytest.mark.parametrize("model", MODELS)
def test_noise_flickers_and_repeats_with_its_seed(model: str) -> None:
    readings = []
    for seed in (1, 1, 2):
        supply = make_supply(model, clock=Clock(), seed=seed)
        assert isinstance(supply, Supply)
        readings.append([supply.measured_voltage(supply.outputs[1]) for _ in range(3)])
    assert readings[0] == readings[1] != readings[2]
    assert len(set(readings[0])) == 3


def test_scpi_and_other_languages_are_both_there() -> None:
    spoken = {issubclass(SUPPLIES[model], ScpiInstrument) for model in MODELS}
    assert spoken == {True, False}
    assert SUPPLIES["E36313A"] is E36300


def test_bytes_take_their_time_on_a_serial_line() -> None:
    with on_serial(quick("CPX400DP"), baud=9600) as wire:
        begun = time.monotonic()
        assert wire.ask(b"V1?;V1?\n") == b"V1 0.00\r\n"
        assert wire.line() == b"V1 0.00\r\n"
        assert time.monotonic() - begun >= (8 + 18) * 10 / 9600

"""A unit as its users meet it: commands and their responses, with a simulated supply on a TCP line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.protocol.errors import Refusal
from agent.protocol.messages import ChannelState
from agent.simulator.loads import Resistor
from agent.simulator.riden import Riden
from tests.instruments.modbus.bench import driver_for, make_unit, on_line
from tests.instruments.modbus.paper import MODELS
from tests.unit.fakedriver import Unit


@contextmanager
def served(model: str, **options: Any) -> Iterator[tuple[Unit, Riden]]:
    supply = make_unit(model, noise=False, loads={1: Resistor(10.0)}, **options)
    with on_line(supply) as network:
        driver: Any = driver_for(supply, network.resource)
        with Unit(driver) as unit:
            yield unit, supply


@pytest.mark.parametrize("model", MODELS)
def test_a_command_is_carried_out_and_read_back(model: str) -> None:
    with served(model) as (unit, supply):
        assert supply.written == []  # to connect and to poll writes nothing
        assert unit.ask(1, "1", voltage_limit=4.37, current_limit=0.73, voltage_protection=12.5, state=True) == "ok"
        assert (supply.output.voltage_set, supply.output.current_set, supply.output.ovp_level) == (4.37, 0.73, 12.5)
        assert supply.output.on
        result = unit.sheet.response("1").result
        assert isinstance(result, ChannelState)
        assert (result.voltage, result.voltage_limit, result.current_limit, result.mode) == (4.37, 4.37, 0.73, "CV")
        assert unit.ask(1, "2", state=False) == "ok"
        assert not supply.output.on


def test_a_number_between_two_steps_becomes_the_lower_one() -> None:
    with served("RD6006") as (unit, supply):
        assert unit.ask(1, "1", voltage_limit=5.509) == "ok"
        assert supply.output.voltage_set == 5.5


def test_the_range_of_an_rd6012p_bounds_what_may_be_set() -> None:
    with served("RD6012P", current_range=0) as (unit, supply):
        assert unit.ask(1, "1", current_limit=8.0) == "out_of_range"
        assert supply.written == []
        assert unit.ask(1, "2", current_limit=0.5) == "ok"
        assert supply.output.current_set == 0.5
        supply.choose_range(1)
        assert unit.ask(1, "3", current_limit=0.5) == "ok"
        assert supply.output.current_set == 0.5
        assert unit.ask(1, "4", current_limit=8.0) == "ok"
        assert supply.output.current_set == 8.0
        with pytest.raises(Refusal, match="has no current_protection_level"):
            unit.ask(1, "5", current_protection_level=5.0)


def test_there_is_no_clear() -> None:
    with served("RD6006") as (unit, supply):
        with pytest.raises(
            Refusal, match="no register is known that clears a trip; remove its cause, then turn the output on"
        ):
            unit.ask(1, "1", clear_protection=True)
        assert supply.written == []


def test_a_refusal_of_the_unit_is_told_in_its_words() -> None:
    with served("RD6006") as (unit, supply):
        refuse = supply.write

        def write(register: int, number: int) -> None:
            refuse(register, 0xFFFF if register == 8 else number)

        supply.write = write  # type: ignore[method-assign]
        assert unit.ask(1, "1", voltage_limit=5.0, state=True) == "instrument_error"
        error = unit.sheet.response("1").error
        assert error is not None
        assert error.message.endswith(
            "refused voltage_limit 5 V for channel 1: illegal data value (Modbus exception 3)"
        )
        assert not supply.output.on


def test_what_the_unit_does_is_what_counts() -> None:
    """A unit that confirms a write and does something else is found out by reading back."""
    with served("RD6006") as (unit, supply):
        do = supply.write

        def write(register: int, number: int) -> None:
            do(register, number * 2 if register == 8 else number)

        supply.write = write  # type: ignore[method-assign]
        assert unit.ask(1, "1", voltage_limit=5.0) == "readback_mismatch"


def test_the_info_tells_if_the_output_comes_back() -> None:
    with served("RD6006", comes_back=True) as (unit, _):
        info = next(info for info in unit.sheet.infos if info.online)
        assert info.power_up == "the output comes back by itself after power returns (boot power in the menu)"
        assert (info.manufacturer, info.model, info.serial, info.firmware) == ("Riden", "RD6006", "23001", "1.42")


def test_the_info_of_a_dps_tells_it_too() -> None:
    for comes_back in (True, False):
        with served("DPS5005", comes_back=comes_back) as (unit, _):
            info = next(info for info in unit.sheet.infos if info.online)
            assert (info.power_up is not None) is comes_back

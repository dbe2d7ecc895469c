"""The agent's drivers and series files against the simulated supplies, which were written from the manuals and not from these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.instruments.driver import Driver, Reading, Write
from agent.instruments.factory import Knowledge, make_driver
from agent.simulator import NetworkInstrument, Supply, make_supply
from agent.simulator.loads import Resistor


@dataclass(frozen=True)
class Case:
    """A model, its transport, options of its simulator; ``trips``: its over-voltage protection has a level."""

    model: str
    transport: str
    outputs: int
    options: Mapping[str, Any] = field(default_factory=dict)
    trips: bool = True


CASES = [
    Case("CPX400DP", "socket", 2),
    Case("CPX400DP", "serial", 2),
    Case("DP832A", "socket", 3),
    Case("DP832A", "vxi11", 3),
    Case("DP832A", "serial", 3),
    Case("SPD3303X", "socket", 3, {"gap": 0.0}, trips=False),
    Case("HMP4040", "socket", 4),
    Case("E3631A", "serial", 3, trips=False),
    Case("E3640A", "serial", 1),
    Case("E3646A", "serial", 2),
    Case("KA3005P", "serial", 1, {"gap": 0.02}, trips=False),
]


def name(case: Case) -> str:
    return f"{case.model}-{case.transport}"


@pytest.fixture(params=CASES, ids=name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@contextmanager
def served(case: Case, folder: Path) -> Iterator[tuple[Supply, Driver]]:
    """A simulated supply with 10 ohms on its first output, and a driver that is connected to it."""
    supply = make_supply(case.model, noise=False, loads={1: Resistor(10)}, log_size=1000, **case.options)
    assert isinstance(supply, Supply)
    ports: dict[str, Any] = {"socket_port": None, "pty": case.transport == "serial"}
    if case.transport != "serial":
        ports[f"{case.transport}_port"] = 0
    with NetworkInstrument(supply, **ports) as network:
        entry = {"name": "psu1", "model": case.model, "uri": network.resource, "pyvisa_args": {"timeout": 2000}}
        (unit,) = config.from_data({"units": [entry]}).units
        driver = make_driver(unit, folder, Knowledge())
        try:
            assert driver.connect().model == case.model
            yield supply, driver
        finally:
            driver.close()


def write(driver: Driver, **settings: float | bool) -> None:
    for setting, value in settings.items():
        driver.write(Write(setting, (1,), value))  # type: ignore[arg-type]
        assert driver.complaints() == []


def first(driver: Driver) -> Reading:
    readings = driver.poll(lambda: False)
    assert readings is not None
    return readings[1]


def test_every_output_is_read(case: Case, tmp_path: Path) -> None:
    with served(case, tmp_path) as (_, driver):
        readings = driver.poll(lambda: False)
        assert readings is not None
        assert list(readings) == list(range(1, case.outputs + 1))
        assert (readings[1].state, readings[1].mode, readings[1].tripped) == (False, "OFF", None)


def test_an_output_does_what_it_is_set_to(case: Case, tmp_path: Path) -> None:
    with served(case, tmp_path) as (supply, driver):
        if case.model == "HMP4040":
            supply.master = True  # type: ignore[attr-defined]
        write(driver, voltage_limit=3.0, current_limit=0.5, state=True)
        told = first(driver)
        assert (told.voltage_limit, told.current_limit, told.state, told.mode) == (3.0, 0.5, True, "CV")
        assert told.voltage == pytest.approx(3.0)
        assert told.current == pytest.approx(0.3)
        write(driver, current_limit=0.1)
        told = first(driver)
        assert told.mode == "CC"
        assert told.voltage == pytest.approx(1.0)
        write(driver, state=False)
        assert first(driver).state is False
        assert not supply.outputs[1].on


@pytest.mark.parametrize("case", [case for case in CASES if case.trips], ids=name)
def test_a_trip_is_told_and_cleared_with_the_output_off(case: Case, tmp_path: Path) -> None:
    with served(case, tmp_path) as (supply, driver):
        if case.model == "HMP4040":
            supply.master = True  # type: ignore[attr-defined]
        if case.model == "DP832A":
            write(driver, voltage_protection_state=True)
        write(driver, voltage_limit=3.0, current_limit=0.5, state=True, voltage_protection=2.0)
        assert first(driver).tripped == "OVP"
        assert supply.outputs[1].voltage == 0
        # The agent turns off before it clears: some units turn an output on that was on when it tripped.
        write(driver, state=False, voltage_protection=5.0, clear_protection=True)
        told = first(driver)
        assert (told.tripped, told.state, supply.outputs[1].voltage) == (None, False, 0)


def test_a_command_that_a_unit_refuses_is_told(case: Case, tmp_path: Path) -> None:
    """Beyond the range. A unit that has no memory for errors keeps what it had, which reading back shows."""
    with served(case, tmp_path) as (_, driver):
        write(driver, voltage_limit=3.0)
        driver.write(Write("voltage_limit", (1,), 99.0))
        complaints = driver.complaints()
        assert first(driver).voltage_limit == 3.0
        assert bool(complaints) == (case.model != "KA3005P")

"""Drivers and series files against simulated supplies that share a line, which were written from the manuals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.instruments.driver import Driver, Write
from agent.instruments.factory import Knowledge, make_driver
from agent.instruments.linking import Lines
from agent.simulator.genesys import GenesysLine, GenesysUnit


def poll(driver: Driver) -> Any:
    readings = driver.poll(lambda: False)
    assert readings is not None
    return readings[1]


@contextmanager
def served(units: list[GenesysUnit], kind: str, folder: Path) -> Iterator[list[Driver]]:
    """Drivers of the units of one line, connected."""
    with GenesysLine(*units, pty=True) as line:
        entries = [
            {
                "name": f"psu{unit.address}",
                "model": f"Genesys,{unit.model}",
                "uri": line.resources[kind],
                "address": unit.address,
                "pyvisa_args": {"timeout": 2000},
            }
            for unit in units
        ]
        knowledge, lines = Knowledge(), Lines()
        drivers = [
            make_driver(unit, folder, knowledge, lines=lines) for unit in config.from_data({"units": entries}).units
        ]
        try:
            for driver in drivers:
                driver.connect()
            yield drivers
        finally:
            for driver in drivers:
                driver.close()


@pytest.mark.parametrize("kind", ["socket", "serial"])
def test_each_unit_of_a_line_gets_its_own_messages(kind: str, tmp_path: Path) -> None:
    units = [GenesysUnit("GEN40-38", 3, serial="33"), GenesysUnit("GEN80-65", 9, serial="99")]
    with served(units, kind, tmp_path) as drivers:
        for unit, driver, other, volts in zip(units, drivers, reversed(units), (5.0, 7.0), strict=True):
            before = (other.pv, other.pc, other.is_on)
            for setting, value in (("voltage_limit", volts), ("current_limit", 1.0), ("state", True)):
                driver.write(Write(setting, (1,), value))  # type: ignore[arg-type]
                assert driver.complaints() == []
            told = poll(driver)
            assert (told.voltage_limit, told.current_limit, told.state, told.mode) == (volts, 1.0, True, "CV")
            assert unit.is_on
            assert (other.pv, other.pc, other.is_on) == before
        drivers[0].write(Write("state", (1,), False))
        assert [poll(driver).state for driver in drivers] == [False, True]
        assert [unit.is_on for unit in units] == [False, True]

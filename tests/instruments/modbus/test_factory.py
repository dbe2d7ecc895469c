"""The driver of a configured unit that speaks Modbus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.config import ConfigError
from agent.instruments.driver import LinkError, never
from agent.instruments.factory import make_driver
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.link import ModbusLink
from agent.instruments.modbus.streams import SerialStream
from agent.simulator.riden import DPS, ModbusLine, Riden
from tests.instruments.modbus.bench import on_line


def configured(**entry: Any) -> Any:
    (unit,) = config.from_data({"units": [{"name": "psu1", **entry}]}).units
    return unit


@pytest.mark.parametrize(
    ("unit", "model", "baud"), [(Riden("RD6018"), "RD60xx", 115200), (DPS("DPS5015"), "DPS5015", 9600)]
)
def test_the_series_says_how_the_line_is(tmp_path: Path, unit: Riden, model: str, baud: int) -> None:
    with on_line(unit) as network:
        driver = make_driver(configured(model=model, uri=network.resources["serial"]), tmp_path)
        assert isinstance(driver, ModbusDriver)
        assert isinstance(driver._link, ModbusLink)
        stream = driver._link._line._stream
        assert isinstance(stream, SerialStream)
        assert (stream._settings.baud, stream._settings.parity) == (baud, "N")
        assert driver.connect().model == unit.model
        assert driver.poll(never)
        driver.close()


def test_the_users_arguments_win(tmp_path: Path) -> None:
    with on_line(Riden("RD6006")) as network:
        arguments = {"baud_rate": 9600, "timeout": 5000}
        entry = configured(model="RD6006", uri=network.resources["serial"], pyvisa_args=arguments)
        driver = make_driver(entry, tmp_path)
        assert isinstance(driver, ModbusDriver)
        assert isinstance(driver._link, ModbusLink)
        assert driver._link._line._stream._settings.baud == 9600  # type: ignore[attr-defined]
        assert driver._link._timeout == 5.0


def test_units_on_one_line_by_their_addresses(tmp_path: Path) -> None:
    units = [Riden("RD6006", serial="1001"), Riden("RD6012P", serial="1002", address=7)]
    with on_line(ModbusLine(units)) as network:
        uri = network.resources["serial"]
        entries = [
            {"name": "psu1", "model": "RD6006", "uri": uri, "address": 1},
            {"name": "psu2", "model": "RD60xx", "uri": uri, "address": 7},
        ]
        drivers = [make_driver(unit, tmp_path) for unit in config.from_data({"units": entries}).units]
        for driver, unit in zip(drivers, units, strict=True):
            profile = driver.connect()
            assert profile.identity is not None
            assert (profile.model, profile.identity.serial) == (unit.model, unit.serial)
            assert driver.address == f"{uri} (address {unit.address})"
        for driver in drivers:
            driver.close()


@pytest.mark.parametrize("address", [0, 248])
def test_an_address_that_no_unit_has(address: int) -> None:
    with pytest.raises(ConfigError, match="is no address of a RD60xx; give a number from 1 to 247"):
        configured(model="RD6006", uri="ASRL/dev/ttyUSB0::INSTR", address=address)


def test_a_link_that_carries_no_modbus(tmp_path: Path) -> None:
    driver = make_driver(configured(model="RD6006", uri="TCPIP::192.0.2.1::inst0::INSTR"), tmp_path)
    with pytest.raises(LinkError, match="Modbus goes over a serial port"):
        driver.connect()


def test_without_the_library_the_unit_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.framer", None)
    with on_line(Riden("RD6006")) as network:
        driver = make_driver(configured(model="RD6006", uri=network.resource), tmp_path)
        with pytest.raises(LinkError, match=r"^needs pymodbus: \S+.* install "):
            driver.connect()

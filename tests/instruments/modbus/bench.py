"""Simulated units on real lines, and drivers for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.link import make_register_link
from agent.simulator.base import Instrument
from agent.simulator.riden import DPS, Riden
from agent.simulator.simulator import NetworkInstrument
from tests.instruments.modbus.paper import MODELS

#: s. Long where an answer comes, short where one of a unit does not come.
PATIENCE, BRIEF = 10.0, 1.0


@contextmanager
def on_line(instrument: Instrument, **options: Any) -> Iterator[NetworkInstrument]:
    """An instrument on a TCP port and at the far end of a serial line."""
    with NetworkInstrument(instrument, pty=True, **options) as network:
        yield network


def make_unit(name: str, **options: Any) -> Riden:
    """A unit of any of the models."""
    return (DPS if name.startswith("D") else Riden)(name, **options)


def driver_for(
    unit: Riden, uri: str, *, timeout: float = PATIENCE, model: str | None = None, serial: str | None = None
) -> ModbusDriver:
    """A driver for a unit at a resource name, not connected yet."""
    link = make_register_link(uri, slave=unit.address, options={"timeout": timeout * 1000}, baud=115200, timeout=1.0)
    return ModbusDriver(link, models=[MODELS[model or unit.model]], serial=serial)

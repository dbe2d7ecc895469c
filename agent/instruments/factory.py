"""The driver of a configured unit. Only this module knows every driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from agent.instruments import catalogue
from agent.instruments.bus.line import Seat
from agent.instruments.catalogue.language import Serial
from agent.instruments.driver import Driver
from agent.instruments.external.driver import ConfiguredChannel, ExternalDriver, ProgramSettings
from agent.instruments.link import TextLink
from agent.instruments.linking import Lines, bus_address, make_link
from agent.instruments.modbus.driver import ModbusDriver
from agent.instruments.modbus.link import RegisterLink, make_register_link
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import KNOWLEDGE, Knowledge
from agent.instruments.unserved import UnservedDriver

__all__ = ["ConfiguredUnit", "Knowledge", "Lines", "make_driver"]


class ConfiguredUnit(Protocol):
    """The configuration of a unit, as far as a driver needs it."""

    @property
    def name(self) -> str:
        """The unit's name, for the log."""

    @property
    def model(self) -> str:
        """The configured model, as `catalogue.candidates` takes it."""

    @property
    def uri(self) -> str:
        """The VISA resource name, where ``commands`` is None."""

    @property
    def visabackend(self) -> str:
        """pyvisa's name of a library, such as ``@py``."""

    @property
    def pyvisa_args(self) -> Mapping[str, Any]:
        """Further arguments of pyvisa's ``open_resource``."""

    @property
    def address(self) -> int | None:
        """The address of the unit on the line that it shares with others; None where it has the link for itself."""

    @property
    def serial(self) -> str | None:
        """The serial number that the unit must have, None for any."""

    @property
    def commands(self) -> ProgramSettings | None:
        """The programs of a unit of model ``external``; None for a unit on VISA."""

    @property
    def channels(self) -> Mapping[int, ConfiguredChannel]:
        """The configuration of the channels, by their numbers."""


def make_driver(
    unit: ConfiguredUnit,
    folder: Path,
    knowledge: Knowledge = KNOWLEDGE,
    secrets: Iterable[str] = (),
    lines: Lines | None = None,
    wrap: Callable[[TextLink], TextLink] = lambda link: link,
    wrap_registers: Callable[[RegisterLink], RegisterLink] = lambda link: link,
    gap: float | None = None,
) -> Driver:
    """The driver of a configured unit, not connected yet.

    :param folder: where the programs of an external unit run
    :param knowledge: the questions that other units do not answer, shared by the units of one agent
    :param secrets: texts that no message may show of what a program printed
    :param lines: those that several units share; None where this unit is alone on its line
    :param wrap: makes the link that the driver gets, of the one to the instrument: one that records, for example
    :param wrap_registers: the same of a unit that speaks Modbus
    :param gap: s between messages, to find out how short it may be; None for that of the series
    :raises catalogue.UnknownModelError: no driver serves this model
    """
    if unit.commands is not None:
        return ExternalDriver(
            unit.commands, name=unit.name, folder=folder, serial=unit.serial, channels=unit.channels, secrets=secrets
        )
    try:
        models = catalogue.candidates(unit.model)
    except catalogue.UnknownModelError as error:
        if not catalogue.unusable():
            raise
        return UnservedDriver(unit.uri, f"{error}; mend the series file, then reload the configuration")
    series = models[0].series
    if series.modbus is not None:
        return _modbus_driver(unit, models, wrap_registers)
    address = bus_address(series, unit.address)
    link = make_link(
        unit.uri,
        series if gap is None else _with_gap(series, gap),
        backend=unit.visabackend,
        arguments=unit.pyvisa_args,
        address=address,
        lines=lines,
    )
    driver = TextDriver(
        wrap(link), name=unit.name, models=models, serial=unit.serial, address=address, knowledge=knowledge
    )
    if isinstance(link, Seat):

        def off_waits() -> bool:
            return driver.off_waits()  # the unit sets it later

        link.off_waits = off_waits
    return driver


def _with_gap(series: catalogue.Series, gap: float) -> catalogue.Series:
    link = series.link
    serial = None if link.serial is None else link.serial.model_copy(update={"gap": gap})
    return series.model_copy(update={"link": link.model_copy(update={"gap": gap, "serial": serial})})


def _modbus_driver(
    unit: ConfiguredUnit, models: tuple[catalogue.Model, ...], wrap: Callable[[RegisterLink], RegisterLink]
) -> Driver:
    """The driver of a unit that speaks Modbus. The serial line is as the series has it, where the user says nothing else."""
    series = models[0].series
    assert series.modbus is not None
    line = series.link.serial or Serial()
    link = make_register_link(
        unit.uri,
        slave=unit.address,
        options=unit.pyvisa_args,
        baud=line.baud,
        timeout=series.modbus.timeout,
        parity=line.parity,
        stop_bits=line.stop_bits,
    )
    return ModbusDriver(wrap(link), models=models, serial=unit.serial)

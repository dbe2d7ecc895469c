"""Series files against simulated supplies that were written from the manuals, over their real links: a poll, settings, an off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from agent.instruments.catalogue import candidates
from agent.instruments.driver import Write, never
from agent.instruments.linking import Lines, bus_address, make_link
from agent.instruments.text.driver import TextDriver
from agent.instruments.text.knowledge import Knowledge
from agent.simulator import NetworkInstrument, make_supply
from agent.simulator.genesys import GenesysLine, GenesysUnit

#: The models, and the kind of link that each is on.
SINGLE = [("CPX400DP", "socket"), ("CPX400DP", "serial"), ("KA3005P", "serial")]


def driver_at(uri: str, model: str, *, address: int | None = None, lines: Lines | None = None) -> TextDriver:
    models = candidates(model)
    address = bus_address(models[0].series, address)
    link = make_link(uri, models[0].series, address=address, lines=lines)
    return TextDriver(link, name="psu1", models=models, address=address, knowledge=Knowledge())


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def check(driver: TextDriver) -> None:
    """The first output takes its settings, goes on and off, and refuses too much."""
    profile = driver.connect()
    first = profile.outputs[0].index
    for setting, value in (("voltage_limit", 5.0), ("current_limit", 1.0), ("state", True)):
        driver.write(Write(setting, (first,), value))  # type: ignore[arg-type]
    found = driver.inspect([first])
    assert (found.complaints, found.bars, found.silent) == ([], [], [])
    reading = found.readings[first]
    assert (reading.voltage_limit, reading.current_limit, reading[4]) == (5.0, 1.0, True)
    assert reading.voltage == pytest.approx(5.0, abs=0.02)
    assert (reading.mode, reading.tripped) == ("CV", None)
    driver.write(Write("voltage_limit", (first,), 90.0))
    complaints, readings = driver.complaints(), driver.poll(never)
    assert readings is not None
    assert readings[first].voltage_limit == 5.0, complaints
    driver.write(Write("state", (first,), False))
    readings = driver.poll(never)
    assert readings is not None
    assert readings[first][4:5] == (False,)
    driver.close()


@pytest.mark.parametrize(("model", "kind"), SINGLE)
def test_a_unit_alone(stack: ExitStack, model: str, kind: str) -> None:
    simulated = stack.enter_context(NetworkInstrument(make_supply(model), pty=True))
    check(driver_at(simulated.resources[kind], model))


@pytest.mark.parametrize("kind", ["socket", "serial"])
def test_units_of_one_line(stack: ExitStack, kind: str) -> None:
    """Each gets its own messages: the other one keeps its settings."""
    units = {3: GenesysUnit("GEN40-38", 3, serial="33"), 9: GenesysUnit("GEN80-65", 9, serial="99")}
    line = stack.enter_context(GenesysLine(*units.values(), pty=True))
    lines = Lines()
    drivers = {
        address: driver_at(line.resources[kind], f"Genesys,{unit.model}", address=address, lines=lines)
        for address, unit in units.items()
    }
    for address, driver in drivers.items():
        check(driver)
        (other,) = units.keys() - {address}
        assert units[other].is_on is False
    assert all("RST" not in message for unit in units.values() for message in unit.log)

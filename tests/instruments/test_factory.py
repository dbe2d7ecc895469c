"""Drivers of configured units, from the one place that makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.instruments.catalogue import UnknownModelError
from agent.instruments.external.driver import ExternalDriver
from agent.instruments.factory import Knowledge, make_driver
from agent.instruments.text.driver import TextDriver
from agent.simulator import Quirks, Simulator
from tests.instruments.external.programs import Programs


def configured(**entry: Any) -> Any:
    (unit,) = config.from_data({"units": [{"name": "psu1", **entry}]}).units
    return unit


def test_a_unit_of_the_catalogue(tmp_path: Path) -> None:
    with Simulator("E36312A", "MY42") as simulator:
        unit = configured(model="E36300", uri=simulator.resource, serial="MY42", pyvisa_args={"timeout": 2000})
        driver = make_driver(unit, tmp_path, Knowledge())
        assert isinstance(driver, TextDriver)
        assert driver.address == unit.uri == unit.place
        profile = driver.connect()
        assert (profile.model, profile.effort) == ("E36312A", "one message")
        readings = driver.poll(lambda: False)
        assert readings is not None
        assert readings.keys() == {1, 2, 3}
        driver.close()


def test_units_of_one_agent_share_what_they_find_out(tmp_path: Path) -> None:
    """The third unit of a kind that refuses compound messages is not asked any more, which would cost it a timeout."""
    knowledge = Knowledge()
    quirks = Quirks(compound_messages=False)
    simulators = [Simulator("E36313A", f"MY{number}", quirks=quirks).start() for number in range(3)]
    for simulator in simulators:
        unit = configured(model="E36313A", uri=simulator.resource, pyvisa_args={"timeout": 500})
        driver = make_driver(unit, tmp_path, knowledge)
        assert driver.connect().effort == "12 messages"
        driver.close()
        simulator.stop()
    opened = [sum(message == "*IDN?" for message in simulator.instrument.log) for simulator in simulators]
    assert opened == [2, 2, 1]


@pytest.mark.parametrize("transport", ["socket", "vxi11", "hislip"])
def test_a_unit_is_not_kept_waiting_by_what_its_kind_refuses(tmp_path: Path, transport: str) -> None:
    """The first two wait for an answer to each question once, the third does not. The fourth does answer, and is asked on."""
    knowledge = Knowledge()
    missing = Quirks(missing=("OUTPut:PAIR", "OUTPut:INHibit:MODE"))
    opened, silent = [], []
    for number, quirks in enumerate([missing, missing, missing, Quirks(), missing]):
        serial = f"MY{number}"
        with Simulator("E36313A", serial, quirks=quirks, socket_port=0, vxi11_port=0, hislip_port=0) as simulator:
            simulator.instrument.set_pair("SER")
            uri = simulator.resources[transport]
            unit = configured(model="E36313A", uri=uri, pyvisa_args={"timeout": 300})
            driver = make_driver(unit, tmp_path, knowledge)
            driver.connect()
            silent.append(driver.inspect([2], settings=["voltage_limit"]).bars == [])
            driver.close()
        opened.append(sum(message == "*IDN?" for message in simulator.instrument.log))
    assert opened == [4, 4, 1, 3, 4]
    assert silent == [True, True, True, False, True]


def test_an_external_unit(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    driver = make_driver(configured(**programs.unit(name="psu1", channels={1: {"name": "LAMP"}})), tmp_path)
    assert isinstance(driver, ExternalDriver)
    assert driver.address == "external:psu1:supply"
    assert [output.index for output in driver.connect().outputs] == [1, 2]


def test_a_model_that_nobody_serves(tmp_path: Path) -> None:
    unit = configured(model="E36313A", uri="TCPIP::h::INSTR").model_copy(update={"model": "E99"})
    with pytest.raises(UnknownModelError):
        make_driver(unit, tmp_path)

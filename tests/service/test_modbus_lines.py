"""Several supplies that speak Modbus on one line, served by the whole agent: each by its address, whatever the others do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator.loads import Resistor
from agent.simulator.riden import ModbusLine, Riden
from agent.simulator.simulator import NetworkInstrument
from tests.service.test_reload import Reloading

pytest.importorskip("pymodbus", reason="needs the extra `modbus`")

#: ms for an answer. A line shares the processor with the test and its agent: on a busy machine, one has taken more than 400.
TIMEOUT = 1000
MODELS = {3: "RD6006", 6: "RD6012P", 9: "RD6018"}


class Wired(ModbusLine):
    """A line that the agent reaches at a resource name."""

    uri = ""


@pytest.fixture(params=["socket", "serial"])
def line(request: pytest.FixtureRequest) -> Iterator[Wired]:
    simulated = Wired(
        Riden(model, serial=f"2300{address}", address=address, loads={1: Resistor(10.0)}, noise=False)
        for address, model in MODELS.items()
    )
    with NetworkInstrument(simulated, pty=True) as network:
        simulated.uri = network.resources[request.param]
        yield simulated


@pytest.fixture
def agent(line: Wired, broker: LocalBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Reloading]:
    caplog.set_level("INFO")
    made = Reloading(broker.port, tmp_path)
    made.write(*(entry(line, address) for address in MODELS))
    made.start()
    for address in MODELS:
        made.observer.wait_online(f"psu{address}")
    yield made
    made.close()


def entry(line: Wired, address: int) -> dict[str, Any]:
    return {
        "name": f"psu{address}",
        "model": MODELS[address],
        "uri": line.uri,
        "address": address,
        "pyvisa_args": {"timeout": TIMEOUT, "open_timeout": 5000},
    }


def test_units_of_one_line_are_polled_and_set_each_for_itself(agent: Reloading, line: Wired) -> None:
    observer = agent.observer
    for address, model in MODELS.items():
        info = observer.wait(f"psu/psu{address}/info")
        assert (info["uri"], info["model"]) == (f"{line.uri} (address {address})", model)
        answer = observer.ask(
            f"psu/psu{address}/1/set", {"voltage_limit": address, "current_limit": 2.0, "state": True}
        )
        assert answer["ok"], answer
    for address, unit in line.units.items():
        state = observer.wait_state(f"psu{address}", after=observer.mark(), state=True, voltage_limit=float(address))
        assert state["voltage"] == pytest.approx(address)
        assert (unit.output.voltage_set, unit.output.current_set, unit.output.on) == (address, 2.0, True)
    mark = observer.mark()
    observer.send("psu/all/set", {"state": False})
    for address in MODELS:
        observer.wait_state(f"psu{address}", after=mark, state=False)
    assert not any(unit.output.on for unit in line.units.values())


def test_a_silent_unit_is_offline_alone(agent: Reloading, line: Wired) -> None:
    observer = agent.observer
    observer.clear()
    line.units[6].is_silent = True
    observer.wait("psu/psu6/info", lambda info: "no answer" in (info["reason"] or ""))
    for address in (3, 9):
        for _ in range(3):
            observer.wait_state(f"psu{address}", after=observer.mark(), online=True)
    answer = observer.ask("psu/psu3/1/set", {"voltage_limit": 4.5})
    assert answer["ok"], answer
    assert [one.payload for name in ("psu3", "psu9") for one in observer.on(f"psu/{name}/status")] == []
    after = observer.mark()
    line.units[6].is_silent = False
    observer.wait_online("psu6", after=after)


def test_late_answers(agent: Reloading, line: Wired) -> None:
    """An answer that comes in front of that of another unit, again and again, is never a reading of that one."""
    observer = agent.observer
    for address, unit in line.units.items():
        unit.turn(1, float(address), 1.0)
    for address in MODELS:
        observer.wait_state(f"psu{address}", after=observer.mark(), voltage_limit=float(address))
    observer.clear()
    for _ in range(3):
        after = observer.mark()
        line.late.add(6)
        observer.wait("psu/psu6/info", lambda info: bool(info["reason"]), after=after)
        observer.wait_online("psu6", after=after)
    for address in MODELS:
        told = {one.json["voltage_limit"] for one in observer.on(f"psu/psu{address}/1/state")}
        assert told <= {float(address), None}
        assert float(address) in told

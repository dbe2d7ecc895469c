"""Several supplies on one line, served by the whole agent: each by its address, whatever the others do."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator.genesys import GenesysLine, GenesysUnit
from agent.simulator.loads import Resistor
from tests.lab import wait_until
from tests.service.test_reload import Reloading

ADDRESSES = (3, 6, 9)
#: ms for an answer. A line shares the processor with the test and its agent: on a busy machine, one has taken more than 400.
TIMEOUT = 1000


class Wired(GenesysLine):
    """A line that the agent reaches at one of its resource names."""

    transport = "socket"

    @property
    def uri(self) -> str:
        return self.resources[self.transport]


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Iterator[Wired]:
    """On a socket, or as the test says. Each transport with each fault: tests/instruments/bus."""
    units = [GenesysUnit("GEN40-38", address, serial="0", load=Resistor(10)) for address in ADDRESSES]
    with Wired(*units, pty=True) as simulated:
        simulated.transport = getattr(request, "param", "socket")
        yield simulated


@pytest.fixture
def agent(line: Wired, broker: LocalBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Reloading]:
    del line  # which is to outlive the agent
    caplog.set_level("INFO")
    made = Reloading(broker.port, tmp_path)
    yield made
    made.close()


def unit(line: Wired, address: int, **entry: Any) -> dict[str, Any]:
    return {
        "name": f"psu{address}",
        "model": "Genesys,GEN40-38",
        "uri": line.uri,
        "address": address,
        "pyvisa_args": {"timeout": TIMEOUT, "open_timeout": 5000},
        **entry,
    }


def serve(agent: Reloading, line: Wired, *addresses: int) -> None:
    agent.write(*(unit(line, address) for address in addresses))
    agent.start()
    for address in addresses:
        agent.observer.wait_online(f"psu{address}")


@pytest.mark.parametrize("line", ["socket", "serial"], indirect=True)
def test_units_of_one_line_are_polled_and_set_each_for_itself(agent: Reloading, line: Wired) -> None:
    """Their serial numbers are all 0, so that nothing but the address tells them apart."""
    serve(agent, line, *ADDRESSES)
    observer = agent.observer
    for address in ADDRESSES:
        name = f"psu{address}"
        assert observer.wait(f"psu/{name}/info")["uri"] == f"{line.uri} (address {address})"
        answer = observer.ask(f"psu/{name}/1/set", {"voltage_limit": address, "current_limit": 2.0, "state": True})
        assert answer["ok"], answer
    for address in ADDRESSES:
        state = observer.wait_state(f"psu{address}", after=observer.mark(), state=True, voltage_limit=float(address))
        assert state["voltage"] == pytest.approx(address)
        assert [line.units[address].pv, line.units[address].is_on] == [str(address), True]
    line.units[6].uvl = "5"
    refused = observer.ask("psu/psu6/1/set", {"voltage_limit": 4.0})
    assert (refused["ok"], refused["error"]["code"]) == (False, "instrument_error")
    assert "PV 4 was answered E02" in refused["error"]["message"]
    for one in line.units.values():
        assert not [text for text in one.log if text.startswith("G")]


@pytest.mark.parametrize("line", ["serial"], indirect=True)
def test_a_silent_unit_is_offline_alone(agent: Reloading, line: Wired) -> None:
    serve(agent, line, *ADDRESSES)
    observer = agent.observer
    observer.clear()
    line.silent.add(6)
    observer.wait("psu/psu6/info", lambda info: "no answer" in (info["reason"] or ""))
    for address in (3, 9):
        for _ in range(3):
            observer.wait_state(f"psu{address}", after=observer.mark(), online=True)
    answer = observer.ask("psu/psu3/1/set", {"voltage_limit": 4.5})
    assert answer["ok"], answer
    answer = observer.ask("psu/psu9/1/set", {"state": False})
    assert answer["ok"], answer
    assert [one.payload for one in observer.on("psu/psu3/status")] == []
    assert [one.payload for one in observer.on("psu/psu9/status")] == []
    after = observer.mark()
    line.silent.clear()
    observer.wait_online("psu6", after=after)


def test_a_slow_unit_and_late_answers(agent: Reloading, line: Wired) -> None:
    """A unit that answers behind its timeout, again and again: no reading of another one is its own."""
    for address, one in line.units.items():
        one.pv = one.pc = str(address)
    serve(agent, line, *ADDRESSES)
    observer = agent.observer
    after = observer.mark()
    line.delays[6] = TIMEOUT / 1000 + 0.3
    observer.wait("psu/psu6/info", lambda info: bool(info["reason"]), after=after)
    for address in (3, 9):
        for _ in range(6):
            state = observer.wait_state(f"psu{address}", after=observer.mark(), online=True)
            assert state["voltage_limit"] == float(address)
    after = observer.mark()
    line.delays.clear()
    observer.wait_online("psu6", after=after)
    for address in ADDRESSES:
        told = {one.json["voltage_limit"] for one in observer.on(f"psu/psu{address}/1/state")}
        assert told <= {float(address), None}


def test_units_come_and_go(agent: Reloading, line: Wired, caplog: pytest.LogCaptureFixture) -> None:
    serve(agent, line, 3, 6)
    observer = agent.observer
    observer.clear()
    agent.write(unit(line, 6), unit(line, 9))
    agent.reload(caplog)
    observer.wait_online("psu9")
    observer.wait_state("psu6", after=observer.mark(), online=True)
    assert [one.payload for one in observer.on("psu/psu6/status")] == []
    mark = len(line.log)
    wait_until(lambda: line.log[mark:].count("ADR 9") > 3, "polls of the new one")
    assert "ADR 3" not in line.log[mark + 2 :]


def test_a_broken_series_file_stops_its_own_unit_until_it_is_mended(
    agent: Reloading, line: Wired, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = (files("agent.instruments.catalogue") / "series" / "tdk_lambda" / "genesys.yaml").read_text("utf-8")
    own = shipped.replace("series: Genesys", "series: My Genesys")
    (agent.folder / "mine.yaml").write_text(own.replace("polls:", "poles:"))
    agent.write(unit(line, 3), unit(line, 6, model="My Genesys,GEN40-38"), series=["mine.yaml"])
    agent.start()
    observer = agent.observer
    observer.wait_online("psu3")
    observer.wait("psu/psu6/info", lambda info: f"{agent.folder / 'mine.yaml'}:" in (info["reason"] or ""))
    assert observer.code("psu/psu6/1/set", {"voltage_limit": 1}) in ("offline", "unknown_channel")
    (agent.folder / "mine.yaml").write_text(own)
    after = observer.mark()
    assert agent.reload(caplog) == "changed psu6"
    observer.wait_online("psu6", after=after)

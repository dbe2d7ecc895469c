"""One supply under two entries: one serves it, the other one is offline and says whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.faults.proxy import Proxy
from tests.lab import Bench, Observer, unit, wait_until
from tests.service.test_reload import Reloading
from tests.support import inside

SAID = "this is the supply that"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(socket_port=0, vxi11_port=0, hislip_port=0, log_size=100_000) as simulator:
        yield simulator


def entry(name: str, simulator: Simulator, transport: str, **more: Any) -> dict[str, Any]:
    return unit(name, simulator, uri=simulator.resources[transport], **more)


def refused(observer: Observer) -> tuple[str, str, str]:
    """The unit that is offline because the other one serves its supply; the other one; the reason."""

    def look() -> tuple[str, str, str] | None:
        for name, other in (("psu1", "psu2"), ("psu2", "psu1")):
            for message in observer.on(f"psu/{name}/info"):
                if message.payload and SAID in (message.json["reason"] or ""):
                    return name, other, message.json["reason"]
        return None

    found: tuple[str, str, str] = wait_until(look, "a unit that is refused")
    return found


@pytest.mark.parametrize("second", ["vxi11", "hislip", "by name"])
def test_the_second_entry_is_offline_and_names_the_first(
    make_bench: Callable[..., Bench], simulator: Simulator, second: str
) -> None:
    by_name = f"TCPIP::localhost::{simulator.socket_port}::SOCKET"
    uri = by_name if second == "by name" else simulator.resources[second]
    bench = make_bench([simulator], [unit("psu1", simulator), unit("psu2", simulator, uri=uri)], online=False)
    observer = bench.observer
    name, other, reason = refused(observer)
    assert (name, other) == ("psu2", "psu1")
    assert f"that {other} serves (E36313A, serial number {simulator.instrument.serial})" in reason
    observer.wait_online(other)
    response = observer.ask(f"psu/{name}/1/set", {"id": "a", "voltage_limit": 4})
    assert response["error"]["code"] == "offline"
    assert f"use {other}" in response["error"]["message"]
    assert observer.ask(f"psu/{other}/1/set", {"id": "b", "voltage_limit": 3})["ok"]
    assert observer.states(name)[-1]["online"] is False
    assert not [message for message in simulator.instrument.log if message.startswith("VOLT 4")]
    # An off for all reaches the supply by the unit that serves it.
    simulator.instrument.panel.press_output(2, True)
    observer.send("psu/all/set", "OFF")
    wait_until(lambda: not simulator.instrument.channels[2].output, "the off")


def test_one_that_is_displaced_is_offline_at_once(
    make_bench: Callable[..., Bench], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second entry served the supply, as the first did not reach it; what it has in hand is answered."""
    inside.retry_soon(monkeypatch.setattr)
    assert simulator.vxi11_port is not None
    with Proxy(simulator.vxi11_port) as way:
        way.stop()
        first = unit("psu1", simulator, uri=f"TCPIP::127.0.0.1,{way.port}::inst0::INSTR")
        bench = make_bench([simulator], [first, unit("psu2", simulator, poll_interval=3600)], online=False)
        observer = bench.observer
        observer.wait_online("psu2")
        observer.send("psu/psu2/2/set", {"id": "ramp", "voltage_limit": 20, "ramp": 0.01})
        wait_until(lambda: [m for m in simulator.instrument.log if m.startswith("VOLT 0.0")], "the ramp")
        way.start()
        info = observer.wait("psu/psu2/info", lambda info: "that psu1 serves" in (info["reason"] or ""))
        assert info["online"] is False
        observer.wait_online("psu1")
        wait_until(lambda: [r for r in observer.responses("psu2", 2) if r["id"] == "ramp"], "its response")
        ramped = [m for m in simulator.instrument.log if m.startswith("VOLT 0.0")]
        assert observer.ask("psu/psu1/2/set", {"voltage_limit": 1})["ok"]
        assert [m for m in simulator.instrument.log if m.startswith("VOLT 0.0")] == ramped


def test_the_second_entry_asks_nothing_but_the_identity(
    make_bench: Callable[..., Bench], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question for errors would take away those that are for the commands of the first."""
    inside.retry_soon(monkeypatch.setattr, first=0.02, longest=0.05)
    inside.take_over_soon(monkeypatch.setattr, patience=30.0)
    assert simulator.vxi11_port is not None
    # The second comes when the first serves: one that was there before the first would have asked, and then been displaced.
    with Proxy(simulator.vxi11_port) as way:
        way.stop()
        second = f"TCPIP::127.0.0.1,{way.port}::inst0::INSTR"
        units = [
            entry("psu1", simulator, "socket", poll_interval=3600),
            unit("psu2", simulator, uri=second, poll_interval=3600),
        ]
        bench = make_bench([simulator], units, online=False)
        bench.observer.wait_state("psu1", online=True)
        way.start()
        assert refused(bench.observer)[:2] == ("psu2", "psu1")
        wait_until(lambda: simulator.instrument.log.count("*IDN?") > 8, "some tries")
        assert simulator.instrument.log.count("SYST:ERR?") == 1


def test_a_supply_that_is_served_is_not_looked_at_again_and_again(
    make_bench: Callable[..., Bench], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look takes one of the few links that a supply has."""
    inside.retry_soon(monkeypatch.setattr, first=0.02, longest=0.05)
    units = [entry("psu1", simulator, "socket"), entry("psu2", simulator, "vxi11")]
    bench = make_bench([simulator], units, online=False)
    refused(bench.observer)
    wait_until(lambda: max(inside.errors(bench.daemon)) > 8, "some tries")
    assert simulator.instrument.log.count("*IDN?") == 2


def test_the_second_takes_over_when_the_first_is_removed(
    broker: LocalBroker,
    simulator: Simulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside.retry_soon(monkeypatch.setattr)
    caplog.set_level("INFO")
    first, second = entry("psu1", simulator, "socket"), entry("psu2", simulator, "vxi11")
    agent = Reloading(broker.port, tmp_path)
    try:
        agent.write(first)
        agent.start()
        agent.observer.wait_online("psu1")
        agent.write(first, second)
        agent.reload(caplog)
        assert refused(agent.observer)[:2] == ("psu2", "psu1")
        # An entry that changes is still the one that serves the supply.
        after = agent.observer.mark()
        agent.write({**first, "poll_interval": 0.05}, second)
        agent.reload(caplog)
        agent.observer.wait_online("psu1", after=after)
        assert not [m for m in agent.observer.on("psu/psu2/status") if m.payload == b"online"]
        agent.write(second)
        agent.reload(caplog)
        agent.observer.wait_online("psu2", after=after)
    finally:
        agent.close()


def test_the_second_takes_over_when_the_first_does_not_reach_it(
    make_bench: Callable[..., Bench], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.retry_soon(monkeypatch.setattr)
    inside.take_over_soon(monkeypatch.setattr, patience=0.3)
    assert simulator.vxi11_port is not None
    assert simulator.socket_port is not None
    ways = {"psu1": Proxy(simulator.socket_port), "psu2": Proxy(simulator.vxi11_port)}
    uris = {
        "psu1": f"TCPIP::127.0.0.1::{ways['psu1'].port}::SOCKET",
        "psu2": f"TCPIP::127.0.0.1,{ways['psu2'].port}::inst0::INSTR",
    }
    try:
        bench = make_bench([simulator], [unit(n, simulator, uri=uri) for n, uri in uris.items()], online=False)
        name, other, _ = refused(bench.observer)
        bench.observer.wait_online(other)
        mark = bench.observer.mark()
        ways[other].stop()
        bench.observer.wait_online(name, after=mark)
        # Back again, the one that stands first in the file serves it.
        mark = bench.observer.mark()
        ways[other].start()
        bench.observer.wait_online("psu1", after=mark)
        bench.observer.wait("psu/psu2/info", lambda info: "that psu1 serves" in (info["reason"] or ""), after=mark)
    finally:
        for way in ways.values():
            way.close()


@pytest.mark.parametrize("serial", ["0", "000000"])
def test_two_supplies_that_tell_the_same_useless_serial_number_are_two(
    make_bench: Callable[..., Bench], serial: str
) -> None:
    """Makers that give none have every unit of a series tell 0. The address tells them apart."""
    with Simulator(serial=serial) as first, Simulator(serial=serial) as second:
        bench = make_bench([first, second], [unit("psu1", first), unit("psu2", second)])
        for name in ("psu1", "psu2"):
            bench.observer.wait_online(name)
        assert bench.observer.ask("psu/psu1/1/set", {"voltage_limit": 3})["ok"]
        assert bench.observer.ask("psu/psu2/1/set", {"voltage_limit": 4})["ok"]
        assert [s.instrument.channels[1].settings.voltage for s in (first, second)] == [3, 4]

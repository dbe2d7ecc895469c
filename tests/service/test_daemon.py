"""The agent as a whole: what it publishes, starts and ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent import config
from agent.local.broker import LocalBroker
from agent.mqtt.session import Session
from agent.service.daemon import Daemon
from agent.simulator import Simulator
from agent.store.store import Store
from agent.unit.supply import Supply
from tests.lab import PATIENCE, Bench, Observer, settings, unit, wait_until

#: The steps of the end, in their order.
END = [
    "telling systemd",
    "ending the units",
    "saving energy and charge",
    "ending the MQTT session",
    "ending the store",
    "ending the watch for hold-ups",
]


def steps_of_the_end(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The steps that were done, in their order; none of them raised."""
    found = [record for record in caplog.records if record.name == "agent.service.duties"]
    return [str(record.args[0]) for record in found if isinstance(record.args, tuple) and "took" in record.msg]


def test_three_channels_of_a_unit_are_published(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    for channel in (1, 2, 3):
        state = bench.observer.wait_state("psu1", channel, online=True)
        assert state["index"] == channel
        assert state["model"] == "E36313A"
        assert state["state"] is False
    response = bench.observer.ask("psu/psu1/1/set", {"id": "42", "state": True, "voltage_limit": 3.3})
    assert response["ok"], response
    assert bench.simulator.instrument.channels[1].output


def test_a_unit_that_is_not_served_any_more_leaves_nothing_on_the_broker(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench([Simulator(), Simulator()])
    neighbour = {"agent": "another", "psu": "psu9", "channels": []}
    bench.observer.send("psu/psu9/info", neighbour, retain=True)
    bench.daemon.session.stop(5)  # as a crash leaves it: the last state says that the unit is there
    bench.stop()
    bench.data["units"] = bench.data["units"][:1]
    bench.units = bench.units[:1]
    after = bench.observer.mark()
    bench.start()
    gone = {"psu/psu2/status", "psu/psu2/info", *(f"psu/psu2/{channel}/state" for channel in (1, 2, 3))}
    wait_until(
        lambda: gone <= {m.topic for m in bench.observer.received[after:] if not m.payload},
        "the retained messages of psu2 to be removed",
    )
    newcomer = Observer(bench.data["settings"]["mqtt"]["port"])
    try:
        newcomer.wait("psu/psu9/info")
        newcomer.wait("psu/psu1/1/state")
        kept = {message.topic for message in newcomer.received if message.retain}
    finally:
        newcomer.close()
    assert not kept & gone


@pytest.mark.parametrize(("kind", "hides"), [("mosquitto", False), ("iotcore", True)])
def test_a_broker_that_hides_the_retain_flag_is_told(
    kind: str,
    hides: bool,
    make_bench: Callable[..., Bench],
    make_broker: Callable[..., LocalBroker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = make_bench(port=make_broker(kind=kind).port)
    bench.observer.wait_online("psu1")
    # Messages are taken in their order: with the answer to this one the agent has seen its own info come back.
    assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
    assert len([r for r in caplog.records if "hides the retain flag" in r.message]) == int(hides)


@pytest.mark.parametrize("part", [Store, Session, Supply])
def test_an_error_in_the_start_does_not_keep_it_from_its_ordered_end(
    part: type,
    broker: LocalBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of three units the second can't be started: the first is ended, the third never began."""
    caplog.set_level("DEBUG", "agent.service")
    start = part.start  # type: ignore[attr-defined]

    def fail(self: Store | Session | Supply, *arguments: object) -> None:
        if getattr(self, "name", "psu2") == "psu2":
            raise RuntimeError("can't start new thread")
        start(self, *arguments)

    monkeypatch.setattr(part, "start", fail)
    before = set(threading.enumerate())  # an agent of another test may have left one that waits for its unit
    with Simulator() as simulator:
        units = [unit("psu1", simulator), *(unit(f"psu{n}", uri=f"TCPIP::127.0.0.1::{n}::SOCKET") for n in (2, 3))]
        daemon = Daemon(config.from_data(settings(broker.port, units, tmp_path)))
        with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(daemon.run).result(PATIENCE)
    assert steps_of_the_end(caplog) == END
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    ours = {thread.name for thread in set(threading.enumerate()) - before} & {
        "broker",
        "store",
        "supply-psu1",
        "hold-ups",
    }
    assert not ours
    assert Store(daemon.store.path, 10).close(PATIENCE)  # which another one that is open would not allow


def test_an_error_in_a_duty_ends_neither_the_agent_nor_its_ordered_end(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "agent.service")
    bench = make_bench()
    daemon = bench.daemon

    def fail(*_: object) -> None:
        raise RuntimeError("of our own")

    monkeypatch.setattr(daemon._homeassistant, "tick", fail)
    monkeypatch.setattr(daemon, "_save_meters", fail)  # at the end, too
    wait_until(lambda: "Home Assistant's discovery failed" in caplog.text, "the traceback")
    assert bench.observer.ask("psu/psu1/1/set", {"state": False})["ok"]
    after = bench.observer.mark()
    bench.stop()
    assert steps_of_the_end(caplog) == END
    assert "saving energy and charge failed" in caplog.text
    bench.observer.wait_agent(status="offline", after=after)
    status = [m.payload for m in bench.observer.received[after:] if m.topic == "psu/psu1/status"]
    assert set(status) == {b"offline"}
    assert daemon.store.is_saved


@pytest.mark.parametrize(("named", "told"), [(False, True), (True, False)])
def test_a_new_name_beside_the_state_of_others_is_told_how_to_keep_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, named: bool, told: bool
) -> None:
    """A container that is made anew has another host name, and its energy and backlog lie under the old one."""
    data = settings(1, [unit("psu1", uri="TCPIP::127.0.0.1::1::SOCKET")], tmp_path)
    for name in ("3f2a", "77de") if named else ("3f2a", None):
        data["settings"].pop("agent", None)
        if name is not None:
            data["settings"]["agent"] = name
        daemon = Daemon(config.from_data(data))
        assert daemon.store.close(PATIENCE)
    assert ("beside it lies the state of others: 3f2a.sqlite3; this agent's name is the host's" in caplog.text) == told


def test_a_host_name_of_any_bytes(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "b\udcff")
    info = make_bench().observer.wait("psu/agents/bench/info")
    assert info["host"] == "b?"

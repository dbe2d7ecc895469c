"""An agent that is killed: what it had acknowledged is answered once, by this run or by the next one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.faults import kills
from tests.faults.samples import MakeBench
from tests.lab import AgentProcess, Observer, settings, unit, wait_until
from tests.soak.tap import Publish, Tap
from tests.store.disk import Disk


class Acknowledged:
    """Counts the commands that the agent has acknowledged. An observer of a `Tap`."""

    def __init__(self) -> None:
        self.count = 0
        self._delivered: set[tuple[int, int]] = set()

    def delivered(self, connection: int, packet: Publish) -> None:
        if packet.topic.endswith("/set"):
            self._delivered.add((connection, packet.mid))

    def agent_acknowledged(self, connection: int, mid: int) -> None:
        if (connection, mid) in self._delivered:
            self._delivered.remove((connection, mid))
            self.count += 1

    def connected(self, connection: int) -> None: ...
    def published(self, connection: int, packet: Publish) -> None: ...
    def broker_acknowledged(self, connection: int, mid: int) -> None: ...
    def disconnected(self, connection: int) -> None: ...


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder in memory: a command is acknowledged without its record where the disk takes longer than 0.1 s."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="psu-agent-kills-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def acknowledged() -> Acknowledged:
    return Acknowledged()


@pytest.fixture
def tap(make_broker: Callable[..., LocalBroker], acknowledged: Acknowledged) -> Iterator[Tap]:
    # Mosquitto's own number of messages that it sends without an acknowledgement.
    broker = make_broker(kind="mosquitto", conf="max_inflight_messages 20")
    tap = Tap(broker.port, acknowledged)
    tap.broker_port = broker.port  # type: ignore[attr-defined]
    yield tap
    tap.close()


def test_ten_kills_under_load(state: Path, make_broker: Callable[..., LocalBroker]) -> None:
    """`python -m tests.faults.kills 200` does more of them."""
    make_broker(kind="mosquitto").stop()  # skips where it is not installed
    figures = kills.run(10, state, seed=10)
    assert figures.is_well, (figures, figures.unanswered, figures.contradicted, figures.lost)
    assert figures.acknowledged > 100


@pytest.mark.parametrize(
    ("topic", "command", "own", "index", "elsewhere"),
    [
        ("psu/psu1/2/set", {"id": "a", "voltage_limit": 5, "ramp": 0.01}, "psu/psu1/2/response", 2, False),
        ("psu/psu1/CH2/set", {"id": "a", "cycle": 600}, "psu/psu1/2/response", 2, True),
        ("psu/psu1/set", {"id": "a", "state": False}, "psu/psu1/response", None, False),
        ("psu/all/set", {"id": "a", "state": False}, "psu/psu1/response", None, True),
        ("psu/psu1/1/set", {"voltage_limit": 1}, "psu/psu1/1/response", 1, False),
    ],
)
def test_what_was_taken_and_not_answered_is_answered_uncertain_once(
    tap: Tap,
    acknowledged: Acknowledged,
    state: Path,
    tmp_path: Path,
    topic: str,
    command: dict[str, Any],
    own: str,
    index: int | None,
    elsewhere: bool,
) -> None:
    port: int = tap.broker_port  # type: ignore[attr-defined]
    observer = Observer(port)
    with Simulator() as simulator:
        entry = unit("psu1", simulator, pyvisa_args={"timeout": 10_000, "open_timeout": 10_000})
        data = settings(tap.port, [entry], state, poll_interval=60)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            before = acknowledged.count
            # A ramp and a cycle last by themselves; what else is sent is still under way when the agent is killed.
            simulator.latency = 0.0 if "ramp" in command or "cycle" in command else 5.0
            arguments: dict[str, Any] = {"response_topic": "clients/mine"} if elsewhere else {}
            observer.send(topic, command, correlation=b"mine", **arguments)
            answers = "clients/mine" if elsewhere else own
            wait_until(lambda: acknowledged.count > before, "the acknowledgement")
            assert observer.on(answers) == []
            agent.kill()
            simulator.latency = 0.0
            agent.start()
            wait_until(lambda: observer.on(answers), "the response")
            wait_until(lambda: "had answered 1 command;" in agent.text(), "the log")
            after = observer.mark()
            assert agent.stop() == 0
            agent.start()
            observer.wait_agent(after=after)
            observer.wait_state("psu1", after=after, online=True)
            (message,) = observer.on(answers)
            assert message.correlation == b"mine"
            response = message.json
            assert (response["id"], response["psu"], response["index"]) == (command.get("id"), "psu1", index)
            assert (response["ok"], response["error"]["code"]) == (False, "uncertain")
            assert "it may or may not have happened" in response["error"]["message"]
    observer.close()


def test_a_response_that_was_not_delivered_is_the_same_after_a_kill(
    tap: Tap, acknowledged: Acknowledged, state: Path, tmp_path: Path
) -> None:
    """The link is cut while the command is carried out, and the agent is killed before there is another one."""
    port: int = tap.broker_port  # type: ignore[attr-defined]
    observer = Observer(port)
    with Simulator() as simulator:
        entry = unit("psu1", simulator, pyvisa_args={"timeout": 10_000})
        data = settings(tap.port, [entry], state, poll_interval=60)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            before = acknowledged.count
            simulator.freeze()
            observer.send("psu/psu1/1/set", {"id": "a", "voltage_limit": 1})
            wait_until(lambda: acknowledged.count > before, "the acknowledgement")
            tap.stop()
            simulator.thaw()
            wait_until(lambda: "done: voltage_limit" in agent.text(), "that it is done")
            wait_until(lambda: _kept(state / "bench.sqlite3"), "the response on the disk")
            agent.kill()
            tap.start()
            agent.start()
            assert observer.wait("psu/psu1/1/response")["ok"]
            assert observer.count("psu/psu1/1/response") == 1
    observer.close()


def _kept(file: Path) -> bool:
    """The response is in the file or its journal: the agent has it locked."""
    return any(b'"ok":true' in path.read_bytes() for path in file.parent.glob(f"{file.name}*"))


def test_a_disk_that_hangs_holds_up_neither_acknowledgements_nor_responses(
    make_bench: MakeBench, tap: Tap, acknowledged: Acknowledged
) -> None:
    """Unacknowledged, twenty commands would keep all that come behind them with the broker, off included."""
    port: int = tap.broker_port  # type: ignore[attr-defined]
    bench = make_bench([Simulator(latency=0.1)], port=tap.port, observer_port=port, poll_interval=60)
    observer = bench.observer
    disk = Disk(bench.daemon.store)
    disk.works.clear()
    try:
        before = acknowledged.count
        for number in range(60):
            observer.post("psu/psu1/1/set", b'{"id": "%d", "voltage_limit": %d}' % (number, number % 5 + 1))
        assert observer.ask("psu/psu1/2/set", {"state": False})["ok"]
        assert observer.count("psu/psu1/1/response") < 20
        wait_until(lambda: acknowledged.count - before >= 60, "the acknowledgements")
    finally:
        disk.works.set()

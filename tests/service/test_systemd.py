"""Notifications for systemd, over a real socket of the kind that it gives a service."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.service import systemd
from agent.service import units as units_module
from agent.simulator import Simulator
from tests.lab import PATIENCE, AgentProcess, Bench, Observer, settings, unit, wait_until


class Manager:
    """The service manager's end: keeps what it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._told: list[str] = []

    @property
    def told(self) -> list[str]:
        while True:
            try:
                self._told.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self._told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, manager: Manager, broker: LocalBroker) -> list[float]:
    """The moments at which the main thread looked whether the manager, which has a watchdog, is to be told something.

    The broker comes before, or Mosquitto would tell the manager that it is ready.
    """
    looks: list[float] = []
    feed = systemd.Watchdog.feed

    def counted(watchdog: systemd.Watchdog, now: float) -> None:
        feed(watchdog, now)
        looks.append(now)

    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setattr(systemd.Watchdog, "feed", counted)
    return looks


def test_nothing_without_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    systemd.notify("READY=1")
    assert systemd.watchdog_interval() is None


def test_a_manager_that_is_gone_does_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.notify("READY=1")


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"psu-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        end.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.notify("READY=1")
        assert end.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("microseconds", "pid", "interval"),
    [("30000000", None, 15.0), ("30000000", "me", 15.0), ("30000000", "1", None), ("", None, None), ("x", None, None)],
)
def test_half_of_what_the_manager_waits(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str | None, interval: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid is None:
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
    else:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "me" else pid)
    assert systemd.watchdog_interval() == interval


@pytest.mark.usefixtures("looks")
def test_ready_watchdog_and_stopping(manager: Manager, broker: LocalBroker, make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(port=broker.port)
    wait_until(lambda: manager.told.count("WATCHDOG=1") >= 3, "three signs of life")
    assert manager.told[0] == "READY=1"
    bench.stop()
    assert manager.told[-1] == "STOPPING=1"
    assert manager.told.count("READY=1") == manager.told.count("STOPPING=1") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is what is tested
@pytest.mark.parametrize("victim", ["supply-psu2", "broker"])
def test_the_watchdog_starves_when_a_worker_is_dead(
    monkeypatch: pytest.MonkeyPatch,
    manager: Manager,
    looks: list[float],
    broker: LocalBroker,
    make_bench: Callable[..., Bench],
    victim: str,
) -> None:
    bench = make_bench([Simulator(), Simulator()], port=broker.port)
    wait_until(lambda: "WATCHDOG=1" in manager.told, "a sign of life")
    worker = bench.daemon.supplies.by_name["psu2"] if victim != "broker" else bench.daemon.session
    thread = worker._thread

    def die(*_: object) -> None:
        raise SystemExit  # ends a thread without a word

    if victim != "broker":
        monkeypatch.setattr(bench.daemon.supplies.by_name["psu2"]._driver, "poll", die)
    else:
        monkeypatch.setattr(bench.daemon.session._exchange, "send", die)
    wait_until(lambda: not thread.is_alive(), "the end of the worker")
    fed, looked = len(manager.told), len(looks)
    wait_until(lambda: len(looks) >= looked + 5, "five looks of the main thread")
    assert len(manager.told) <= fed + 1


@pytest.mark.usefixtures("looks")
def test_a_unit_that_hangs_under_a_long_timeout_does_not_starve_the_watchdog(
    monkeypatch: pytest.MonkeyPatch, manager: Manager, broker: LocalBroker, make_bench: Callable[..., Bench]
) -> None:
    """To start the agent anew would cost all units their telemetry, and not make this one answer."""
    monkeypatch.setattr(units_module, "LONGEST_SILENCE", 0.5)
    units = [unit("psu1", simulator := Simulator().start(), pyvisa_args={"timeout": 600_000})]
    bench = make_bench([simulator], units, port=broker.port)
    simulator.freeze()
    supply = bench.daemon.supplies.by_name["psu1"]
    wait_until(lambda: supply.alive(-1e9), "the worker to wait for its unit")
    begun, fed = time.monotonic(), len(manager.told)
    wait_until(lambda: len(manager.told) >= fed + 5 and time.monotonic() - begun > 1.0, "signs of life all the while")
    assert supply.alive(-1e9)
    simulator.thaw()


def test_the_watchdog_starves_when_a_worker_hangs(
    monkeypatch: pytest.MonkeyPatch,
    manager: Manager,
    looks: list[float],
    broker: LocalBroker,
    make_bench: Callable[..., Bench],
) -> None:
    """In the agent's own code, not in waiting for its unit."""
    monkeypatch.setattr(units_module, "LONGEST_SILENCE", 0.5)
    bench = make_bench(port=broker.port)
    wait_until(lambda: "WATCHDOG=1" in manager.told, "a sign of life")
    goes_on = threading.Event()
    monkeypatch.setattr(bench.daemon.session, "report", lambda _: goes_on.wait(PATIENCE))
    supply = bench.daemon.supplies.by_name["psu1"]
    wait_until(lambda: not supply.alive(0.5), "the silence")
    fed, looked = len(manager.told), len(looks)
    wait_until(lambda: len(looks) >= looked + 5, "five looks of the main thread")
    assert len(manager.told) <= fed + 1
    goes_on.set()
    wait_until(lambda: len(manager.told) > fed + 2, "more signs of life")


def test_a_manager_that_reads_nothing_holds_up_nothing(monkeypatch: pytest.MonkeyPatch, manager: Manager) -> None:
    """A datagram waits for room in the reader's queue, which has it for some ten to some hundred of them."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setattr(systemd, "PATIENCE", 0.01)
    sent = 0
    while systemd.notify("WATCHDOG=1"):
        sent += 1
        assert sent < 10_000
    watchdog = systemd.Watchdog(10.0, lambda: True)
    watchdog.feed(100.0)  # is not taken
    assert len(manager.told) == sent
    watchdog.feed(100.25)
    assert len(manager.told) == sent + 1


def test_the_process_as_a_service(manager: Manager, broker: LocalBroker, tmp_path: Path) -> None:
    port = broker.port
    with Simulator() as simulator:
        data = settings(port, [unit("psu1", simulator)], tmp_path / "state")
        environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
        observer = Observer(port)
        with AgentProcess(data, tmp_path, environment=environment) as agent:
            wait_until(lambda: "WATCHDOG=1" in manager.told, "a sign of life")
            observer.wait_state("psu1", online=True)
            assert agent.stop() == 0
        assert manager.told[0] == "READY=1"
        assert manager.told[-1] == "STOPPING=1"
        observer.wait_state("psu1", online=False)
        observer.close()


def test_the_watchdog_is_fed_at_its_interval_and_at_once_after_a_recovery(
    monkeypatch: pytest.MonkeyPatch, manager: Manager
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    alive = [True]
    watchdog = systemd.Watchdog(10.0, lambda: alive[0])
    for now in (100.0, 100.25, 109.9, 110.0):
        watchdog.feed(now)
    assert manager.told == ["WATCHDOG=1"] * 2
    alive[0] = False
    watchdog.feed(120.0)
    watchdog.feed(121.0)
    assert len(manager.told) == 2
    alive[0] = True
    watchdog.feed(121.25)
    assert len(manager.told) == 3

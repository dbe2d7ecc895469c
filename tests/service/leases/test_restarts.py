"""Leases over the end of the agent, of the broker, and of a unit's place in the configuration."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import config
from agent.local.broker import LocalBroker
from agent.service.daemon import Daemon
from agent.service.leases import leases
from agent.simulator import Simulator
from tests.lab import PATIENCE, AgentProcess, Bench, Observer, settings, unit, wait_until

CODES = ("psu/psu1/2/set", {"voltage_limit": 1})


def take(observer: Observer, place: str = "psu1", *, holder: str = "ci-42", **fields: Any) -> Any:
    response = observer.ask(f"psu/{place}/lease/set", {"holder": holder, "ttl": 600, **fields})
    assert response["ok"], response
    return response["result"]


def holder(observer: Observer, place: str = "psu1") -> Any:
    found = observer.on(f"psu/{place}/lease")
    return found[-1].json["holder"] if found and found[-1].payload else "nothing"


def test_a_lease_outlives_the_agent(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    before = take(bench.observer)
    take(bench.observer, "psu1/2")
    bench.stop()
    bench.observer.clear()
    bench.start()
    told = bench.observer.wait("psu/psu1/lease", lambda lease: lease["time"] > before["time"])
    assert (told["holder"], told["since"], told["until"]) == ("ci-42", before["since"], before["until"])
    assert bench.observer.code("psu/psu1/3/set", {"voltage_limit": 1}) == "claimed"
    assert bench.observer.code("psu/psu1/3/set", {"voltage_limit": 1, "lease": "ci-42"}) == "ok"
    assert bench.observer.code("psu/psu1/lease/set", {"holder": "ci-42", "release": True}) == "ok"
    bench.stop()
    bench.start()
    wait_until(lambda: holder(bench.observer) is None and holder(bench.observer, "psu1/2") == "ci-42", "both leases")
    assert bench.observer.code("psu/psu1/3/set", {"voltage_limit": 1}) == "ok"
    assert bench.observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "claimed"


def test_a_lease_outlives_a_kill(broker: LocalBroker, tmp_path: Path) -> None:
    observer = Observer(broker.port)
    with Simulator() as simulator:
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / "state")
        try:
            with AgentProcess(data, tmp_path):
                observer.wait_online("psu1")
                take(observer)
                wait_until(lambda: rows(tmp_path / "state" / "bench.sqlite3") == 1, "the file to have it")
            observer.clear()
            with AgentProcess(data, tmp_path):
                observer.wait_online("psu1")
                assert observer.code(*CODES) == "claimed"
                wait_until(lambda: holder(observer) == "ci-42", "the lease")
        finally:
            observer.close()


def rows(file: Path) -> int:
    """Leases in the write-ahead log or in the file, as its bytes tell: the agent has it locked."""
    return int(any(b"ci-42" in part.read_bytes() for part in file.parent.iterdir()))


@pytest.mark.parametrize(
    ("change", "is_held"),
    [
        ("until = 0, boot = 'another'", False),  # it ended while the host was off
        ("boot = 'another'", True),
        ("since = since + 1e7, until = until + 1e7, boot = 'another'", True),  # the clock was set back since
        ("moment = moment - 1e6", False),
        ("until = 0", True),  # within one boot of the host the wall clock does not count
    ],
)
def test_what_is_left_of_it_over_a_restart(make_bench: Callable[..., Bench], change: str, is_held: bool) -> None:
    bench = make_bench()
    take(bench.observer)
    bench.stop()
    with sqlite3.connect(bench.folder / "state" / "bench.sqlite3") as db:
        assert db.execute(f"UPDATE leases SET {change}").rowcount == 1
    db.close()
    bench.observer.clear()
    bench.start()
    wait_until(lambda: holder(bench.observer) == ("ci-42" if is_held else None), "the lease as it is now")
    if is_held and "1e7" in change:
        lease = bench.observer.on("psu/psu1/lease")[-1].json
        assert lease["until"][:4] == lease["time"][:4]  # no more than its ttl from now on
    assert bench.observer.code(*CODES) == ("claimed" if is_held else "ok")


def test_a_broker_that_forgets_is_told_again(make_bench: Callable[..., Bench], broker: LocalBroker) -> None:
    bench = make_bench(port=broker.port)
    take(bench.observer)
    broker.kill()
    broker.start()
    bench.observer.clear()
    after = Observer(broker.port)
    try:
        assert after.wait("psu/psu1/lease")["holder"] == "ci-42"
        assert after.code(*CODES) == "claimed"
    finally:
        after.close()


def test_it_ends_while_the_broker_is_away(make_bench: Callable[..., Bench], broker: LocalBroker) -> None:
    bench = make_bench(port=broker.port)
    take(bench.observer, ttl=1)
    take(bench.observer, "psu1/2")
    broker.kill()
    told = bench.daemon._leases._told
    wait_until(lambda: told["psu1", None].lease is None, "its end")
    broker.start()
    after = Observer(broker.port)
    try:
        after.wait("psu/psu1/lease", lambda lease: lease["holder"] is None)
        assert after.wait("psu/psu1/2/lease")["holder"] == "ci-42"
        assert after.code("psu/psu1/3/set", {"voltage_limit": 1}) == "ok"
    finally:
        after.close()


def test_what_strangers_left_at_the_broker_is_corrected_at_the_start(
    make_bench: Callable[..., Bench], broker: LocalBroker
) -> None:
    observer = Observer(broker.port)
    for topic in ("psu1/lease", "psu1/2/lease", "psu1/9/lease", "psu7/lease"):
        observer.send(f"psu/{topic}", '{"holder": "mallory"}', retain=True)
    bench = make_bench(port=broker.port)
    try:
        for place in ("psu1", "psu1/2"):
            wait_until(lambda: holder(observer, place) is None, "the correction")  # noqa: B023
        assert bench.observer.code(*CODES) == "ok"
        assert holder(observer, "psu1/9") == holder(observer, "psu7") == "mallory"  # not this agent's
    finally:
        observer.close()


def test_a_unit_that_leaves_the_configuration_takes_its_leases_along(
    broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LINGERING", 0.0)
    file = tmp_path / "psu-agent.yaml"
    observer = Observer(broker.port)

    def write(*units: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump(settings(broker.port, list(units), tmp_path / "state")))

    @contextmanager
    def running() -> Iterator[Daemon]:
        daemon = Daemon(config.load(file))
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            thread.join(PATIENCE)

    with Simulator() as first, Simulator() as second:
        units = [unit("psu1", first), unit("psu2", second)]
        write(*units)
        try:
            with running() as daemon:
                for name in ("psu1", "psu2"):
                    observer.wait_online(name)
                    take(observer, name)
                write(units[0])
                daemon.reload()
                wait_until(lambda: holder(observer, "psu2") == "nothing", "the removal")
                assert holder(observer) == "ci-42"
                write(*units)
                after = observer.mark()
                daemon.reload()
                observer.wait_online("psu2", after=after)
                assert observer.code("psu/psu2/2/set", {"voltage_limit": 1}) == "ok"
                assert observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "claimed"
                take(observer, "psu2/1")
            write(units[0])
            with running():
                wait_until(lambda: holder(observer, "psu2/1") == "nothing", "the removal at a start without the unit")
        finally:
            observer.close()

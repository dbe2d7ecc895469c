"""The backlog: no sample that could have been kept is lost while the broker is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.store.store import Store
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench, assert_whole, seqs, wait_drained, wait_polls
from tests.lab import PATIENCE, AgentProcess, Observer, settings, unit, wait_until
from tests.support import inside
from tests.support.messages import writes_in

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_samples_taken_while_the_broker_was_away_arrive_once_and_in_order(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, protocol: str
) -> None:
    port = broker.port if protocol == "5" else broker.port_311
    with Proxy(port) as proxy:
        bench = make_bench(port=proxy.port, observer_port=broker.port, poll_interval=0.02, mqtt={"protocol": protocol})
        observer = bench.observer
        first = seqs(observer, "state")[0]
        wait_drained(observer)  # what came before the first connection, or the next one sends it again
        for _ in range(3):
            wait_polls(bench.simulator, 10)
            proxy.stop()
            wait_polls(bench.simulator, 25)
            after = observer.mark()
            proxy.start()
            observer.wait_agent(after=after)
            # The present state comes at once, and commands are carried out.
            observer.wait_state("psu1", after=after, online=True)
            answered = len(observer.responses("psu1", 2))
            observer.send("psu/psu1/2/set/voltage_limit", "1")
            wait_until(lambda: len(observer.responses("psu1", 2)) > answered, "the response")  # noqa: B023
            wait_drained(observer)
        wait_until(lambda: len(seqs(observer, "backlog")) >= 60, "the backlog")
        wait_drained(observer)
        for channel in (1, 2, 3):
            assert_whole(observer, first, seqs(observer, "state", channel=channel)[-1], channel)
        sample = observer.on("psu/psu1/2/backlog")[0]
        assert not sample.retain
        assert list(sample.json) == list(observer.states("psu1", 2)[0])


@pytest.mark.parametrize("persistence", ["false", "true"])
def test_a_broker_that_is_killed_and_comes_back(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, persistence: str
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    conf = f"persistence_location {folder}/\nautosave_interval 1\npersistence true" if persistence == "true" else ""
    broker = make_broker(folder=folder, conf=conf, kind="mosquitto")
    with Proxy(broker.port) as proxy:
        bench = make_bench(port=proxy.port, observer_port=broker.port, poll_interval=0.02)
        witness = Observer(broker.port, qos=0)
        wait_until(lambda: seqs(witness, "state"), "a state that is not retained")
        first = seqs(witness, "state")[0]
        wait_polls(bench.simulator, 10)
        broker.kill()
        wait_polls(bench.simulator, 20)
        proxy.stop()
        broker.start()
        observer = Observer(broker.port)
        proxy.start()
        observer.wait_agent()
        observer.wait_state("psu1", online=True)
        # The agent publishes again all that the broker may have lost.
        for topic in ("psu/psu1/status", "psu/psu1/info", "psu/agents/bench/info", "psu/psu1/3/state"):
            wait_until(lambda: observer.on(topic), topic)  # noqa: B023
        wait_drained(observer)
        newest = wait_until(lambda: seqs(observer, "state"), "a state that is not retained")[-1]

        def missing() -> set[int]:
            # The broker may have passed on and acknowledged states until the moment in which it was killed.
            known = seqs(witness, "state") + seqs(observer, "backlog") + seqs(observer, "state")
            return set(range(first, newest + 1)) - set(known)

        # A state that the broker had not acknowledged when it was killed comes again.
        wait_until(lambda: not missing(), "each sample")
        backlog = seqs(observer, "backlog")
        assert backlog == sorted(set(backlog))
        fresh = Observer(broker.port)
        fresh.wait_state("psu1")
        assert any(m.retain for m in fresh.on("psu/psu1/1/state"))
        fresh.close()
        observer.close()
        witness.close()


def test_the_agent_is_restarted_while_the_broker_is_away(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02)
    observer = bench.observer
    wait_drained(observer)
    observer.clear()
    way.stop()
    wait_polls(bench.simulator, 20)
    bench.stop()
    bench.start(online=False)
    wait_polls(bench.simulator, 30)
    after = observer.mark()
    way.start()
    observer.wait_agent(after=after)
    wait_drained(observer)
    found = [m.json for m in observer.on("psu/psu1/1/backlog")]
    starts = [number for number, sample in enumerate(found) if sample["seq"] == 1]
    assert len(starts) == 1  # the second agent's first sample
    first, second = found[: starts[0]], found[starts[0] :]
    live = observer.states("psu1")
    for run in (first, second):
        run_seqs = [sample["seq"] for sample in run]
        assert run_seqs == sorted(set(run_seqs))
        # A state that the connection has no room for is kept as well, so between samples of the backlog may be live ones.
        present = {state["seq"] for state in live if (state["time"] >= second[0]["time"]) == (run is second)}
        assert {*range(run_seqs[0], run_seqs[-1] + 1)} <= {*run_seqs, *present}
    assert [sample["time"] for sample in found] == sorted(sample["time"] for sample in found)
    assert first[-1]["online"] is False  # the end of the first


def test_the_agent_is_killed_while_the_broker_is_away(broker: LocalBroker, way: Proxy, tmp_path: Path) -> None:
    with Simulator() as simulator:
        data = settings(way.port, [unit("psu1", simulator)], tmp_path / "state", poll_interval=0.02)
        observer = Observer(broker.port)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            wait_polls(simulator, 20)
            last = seqs(observer, "state")[-1]
            observer.clear()
            way.stop()
            wait_polls(simulator, 40)
            agent.kill()
            observer.wait_agent(status="offline")  # the Last Will
            passed = seqs(observer, "state")  # on their way when it was stopped
            carried = simulator.instrument.log
            assert writes_in(carried) == []  # nothing was written, at no start and no end
            after = observer.mark()
            way.start()
            agent.start()
            observer.wait_agent(after=after)
            wait_until(lambda: len(seqs(observer, "backlog")) >= 20, "the backlog")
        observer.close()
        backlog = seqs(observer, "backlog")
        first_run = backlog[: backlog.index(1)] if 1 in backlog else backlog
        assert first_run == sorted(set(first_run))
        assert {*range(last + 1, first_run[-1])} <= {*first_run, *passed}


def test_a_backlog_holds_up_neither_the_present_nor_commands(
    make_bench: MakeBench, broker: LocalBroker, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    store = Store(state / "bench.sqlite3", 1_000_000)
    store.backlog.add_samples([("psu/psu1/1/backlog", b'{"old": %d, "seq": 0}' % number) for number in range(3_000)])
    assert store.close(PATIENCE)
    bench = make_bench(port=broker.port, backlog={"samples": 1_000_000})
    observer = bench.observer
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 2})["ok"]
    answered = observer.mark()
    topic = "psu/psu1/1/backlog"
    wait_until(lambda: observer.count(topic) >= 3_000, "the backlog")
    old = [m.json["old"] for m in observer.on(topic) if "old" in m.json]
    assert old == list(range(3_000))
    done = next(n for n, m in enumerate(observer.received) if m.topic == topic and m.json.get("old") == 2_999)
    assert answered < done
    present = [m for m in observer.received[:done] if m.topic == "psu/psu1/2/state"]
    assert len(present) >= 2


def test_a_full_backlog_loses_the_oldest_and_counts_them(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02, backlog={"samples": 60})
    observer = bench.observer
    wait_drained(observer)
    observer.clear()
    cut = datetime.now(UTC)
    way.stop()
    wait_polls(bench.simulator, 60)
    after = observer.mark()
    mended = datetime.now(UTC)
    way.start()
    observer.wait_agent(after=after)
    wait_drained(observer)
    backlog = [m.json for channel in (1, 2, 3) for m in observer.on(f"psu/psu1/{channel}/backlog")]
    assert len(backlog) >= 60  # there are more if the connection had no room for some that came later
    assert len([sample for sample in backlog if cut < datetime.fromisoformat(sample["time"]) < mended]) <= 60
    # The newest were kept: from the first of them on nothing is missing.
    kept = seqs(observer, "backlog")
    wait_until(lambda: max(seqs(observer, "state"), default=0) > kept[-1], "a newer state")
    assert_whole(observer, kept[0], seqs(observer, "state")[-1])
    metrics = observer.on("psu/agents/bench/metrics")[-1].json
    assert metrics["dropped_samples"] >= 60
    assert metrics["broker_reconnects"] == 1


def test_a_disk_that_is_full_stops_nothing(broker: LocalBroker, tmp_path: Path) -> None:
    """The process may write no file of more than 200 KB; SQLite meets that as it meets a full disk.

    The samples that the disk does not take are in memory, and arrive.
    """
    with Simulator() as simulator, Proxy(broker.port) as way:
        data = settings(way.port, [unit("psu1", simulator)], tmp_path / "state", poll_interval=0.005)
        limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        limit += inside.MEASURE_OFTEN
        observer = Observer(broker.port)
        agent = AgentProcess(data, tmp_path)
        with agent.start(before=limit):
            observer.wait_state("psu1", online=True)
            first = seqs(observer, "state")[0]
            wait_drained(observer)  # what came before the first connection, or the next one sends it again
            way.stop()
            wait_until(lambda: "samples may be lost" in agent.log.read_text(), "the complaint")
            wait_polls(simulator, 20)
            after = observer.mark()
            way.start()
            observer.wait_agent(after=after)
            assert observer.ask("psu/psu1/1/set", {"id": "still here", "voltage_limit": 1})["ok"]
            assert observer.code("psu/psu1/1/set", {"id": "still here", "voltage_limit": 2}) == "duplicate"
            assert observer.ask("psu/psu1/1/set", "OFF")["ok"]
            wait_drained(observer)
            metrics = observer.on("psu/agents/bench/metrics")[-1].json
            assert (metrics["units_online"], metrics["dropped_samples"]) == (1, 0)
            assert_whole(observer, first, seqs(observer, "state")[-1])
            assert agent.stop() == 0
        observer.close()
        assert "Traceback" not in agent.log.read_text()

"""The whole agent on a disk that hangs: commands, off, the policy for a lost broker and the end go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.local.broker import LocalBroker
from agent.mqtt.broker import attempts
from agent.simulator import Simulator
from tests.faults.proxy import Proxy
from tests.lab import PATIENCE, Bench, unit, wait_until
from tests.store.disk import Disk


@pytest.fixture
def way(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(attempts, "LAST_RETRY", 0.2)
    with Proxy(broker.port) as proxy:
        yield proxy


def test_a_disk_that_hangs_stops_nothing(make_bench: Callable[..., Bench], broker: LocalBroker, way: Proxy) -> None:
    simulator = Simulator().start()
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 0.3}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port, poll_interval=0.02)
    observer = bench.observer
    disk = Disk(bench.daemon.store)
    disk.works.clear()
    on = {"id": "on", "state": True, "voltage_limit": 2}
    assert observer.ask("psu/psu1/1/set", on)["ok"]
    assert disk.hangs.wait(PATIENCE)  # in keeping the command's id
    assert observer.code("psu/psu1/1/set", on) == "duplicate"
    seq = observer.states("psu1")[-1]["seq"]
    observer.wait_state("psu1", after=observer.mark(), state=True)

    way.stop()
    wait_until(lambda: not simulator.instrument.channels[1].output, "the policy")
    after = observer.mark()
    way.start()
    observer.wait_agent(after=after)
    last = observer.wait_state("psu1", after=after)["seq"]

    def all_there() -> bool:
        kept = {message.json["seq"] for message in observer.on("psu/psu1/1/backlog")}
        return set(range(seq, last + 1)) <= kept | {state["seq"] for state in observer.states("psu1")}

    wait_until(all_there, "every sample, from memory")
    assert observer.ask("psu/psu1/2/set", {"state": False})["ok"]
    bench.stop()
    observer.wait_agent(status="offline", after=after)
    disk.works.set()

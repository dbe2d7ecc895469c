"""An agent on a slow link to a real broker: its states are present, and no sample is lost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.faults.proxy import Proxy, late
from tests.lab import Bench, Observer, wait_until

#: Samples a second of each of the three channels.
RATE = 100


def delivered(observer: Observer, kind: str) -> dict[int, list[int]]:
    """The numbers of the samples that came as ``state`` or as ``backlog``, by channel."""
    found: dict[int, list[int]] = defaultdict(list)
    for message in list(observer.received):
        if message.topic.endswith(f"/{kind}") and message.payload and not message.retain:
            found[message.json["index"]].append(message.json["seq"])
    return found


class SlowBench(Bench):
    def __init__(self, way: Proxy, port: int, folder: Path, simulator: Simulator) -> None:
        super().__init__(way.port, folder, [simulator], observer_port=port, poll_interval=1 / RATE)
        self.way = way
        way.up = way.down = late(0.05)


@pytest.fixture
def bench(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> Iterator[SlowBench]:
    """Through a link with a round trip of 100 ms and more, to a broker that lets 5 messages be in flight.

    A busy machine that polls at a quarter of `RATE` brings more than it takes, too.
    """
    broker = make_broker(kind="mosquitto", conf="max_inflight_messages 5\nmax_queued_messages 0\n")
    with Proxy(broker.port) as way, Simulator() as simulator, SlowBench(way, broker.port, tmp_path, simulator) as bench:
        yield bench
        way.heal()


def test_states_stay_present_and_older_samples_follow(bench: SlowBench) -> None:
    observer, (supply,) = bench.observer, bench.daemon.supplies

    def lag() -> int:
        """The samples of a channel that were taken since its newest state arrived."""
        states = [message.json["seq"] for message in observer.on("psu/psu1/1/state") if message.payload]
        return supply.sample_counts()[1] - int(max(states))

    lags: list[int] = []

    def many() -> bool:
        lags.append(lag())
        return bench.daemon.session.take_lateness()[1] > 600

    start = time.monotonic()
    wait_until(many, "more samples than the link can take")
    seconds = time.monotonic() - start
    # Without a bound the newest state is some 60 samples older with each second.
    assert sorted(lags)[len(lags) // 2] < RATE / 2, f"{lags} in {seconds:.0f} s"

    observer.send("psu/psu1/2/set", {"id": "now", "voltage_limit": 3})
    told = observer.wait("psu/psu1/2/response", lambda response: response["id"] == "now")["result"]["seq"]
    before = [m.json["seq"] for m in observer.on("psu/psu1/2/state") if m.payload]
    assert max(before) >= told

    bench.way.heal()
    session, store = bench.daemon.session, bench.daemon.store
    wait_until(lambda: not session.take_lateness()[1] + store.backlog.sample_count, "the rest of the backlog")
    count = supply.sample_counts()[1]
    observer.wait("psu/psu1/3/state", lambda state: state["seq"] > count)

    def has_all() -> bool:  # some of the last may have been overtaken, too
        states, backlog = delivered(observer, "state"), delivered(observer, "backlog")
        return all({*range(1, count + 1)} <= {*states[channel], *backlog[channel]} for channel in (1, 2, 3))

    wait_until(has_all, "every sample")
    states, backlog = delivered(observer, "state"), delivered(observer, "backlog")
    for channel in (1, 2, 3):
        assert states[channel] == sorted(states[channel])
        assert backlog[channel] == sorted(backlog[channel])
        came = [number for number in (*states[channel], *backlog[channel]) if number <= count]
        assert set(came) == set(range(1, count + 1))
        assert len(came) <= count + 1  # the newest one of before the connection is a state, too


def test_an_agent_that_ends_while_messages_wait_says_so_and_keeps_them(bench: SlowBench) -> None:
    session, store = bench.daemon.session, bench.daemon.store
    wait_until(lambda: session.take_lateness()[1] > 100, "more samples than the link can take")
    after = bench.observer.mark()
    bench.stop()
    bench.observer.wait_agent(status="offline", after=after)  # not by the will: it has said goodbye
    assert session.take_lateness()[1] == 0
    assert store.backlog.sample_count > 100

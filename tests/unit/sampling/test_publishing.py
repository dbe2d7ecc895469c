"""An agent that publishes changes only, on a real broker: no change is lost, and nothing else is published."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.simulator.loads import Resistor
from tests.faults.proxy import Proxy
from tests.lab import Bench, unit, wait_until

QUIET = {"changes_only": True, "heartbeat": 3600}
STATE = "psu/psu1/1/state"


@pytest.fixture
def make(broker: LocalBroker, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make_bench(publish: dict[str, Any], port: int = 0) -> Bench:
        simulator = Simulator()
        simulator.start()
        entry = unit("psu1", simulator, publish=publish, poll_interval=0.02)
        bench = Bench(port or broker.port, tmp_path, [simulator], [entry], observer_port=broker.port)
        benches.append(bench)
        return bench.start()

    yield make_bench
    for bench in benches:
        bench.close()


def polled(bench: Bench, times: int = 5) -> None:
    """Wait for so many more polls."""
    (supply,) = bench.daemon.supplies
    enough = supply.counters.polls + times
    wait_until(lambda: supply.counters.polls >= enough, "polls")


def samples(bench: Bench) -> dict[int, Any]:
    """By its number each sample that came: as a state, or as backlog where a newer one had overtaken it."""
    messages = [*bench.observer.on(STATE), *bench.observer.on("psu/psu1/1/backlog")]
    return {message.json["seq"]: message.json for message in messages if not message.retain}


def test_changes_are_published_and_nothing_else(make: Callable[..., Bench]) -> None:
    bench = make(QUIET)
    observer, panel = bench.observer, bench.simulator.instrument.panel
    assert observer.wait("psu/psu1/info", lambda info: info["online"])["heartbeat"] == 3600
    first = observer.states("psu1")[-1]
    polled(bench, 20)
    assert observer.states("psu1")[-1] == first

    panel.knob_voltage(1, 4.0)
    changed = observer.wait(STATE, lambda state: state["voltage_limit"] == 4.0)
    assert changed["seq"] == first["seq"] + 1
    polled(bench)

    after = observer.mark()
    observer.send("psu/psu1/1/get", "")
    assert observer.wait(STATE, after=after)["seq"] == changed["seq"] + 1

    told = observer.ask("psu/psu1/1/set", {"id": "a", "state": True})["result"]
    assert observer.states("psu1")[-1]["seq"] >= told["seq"]
    wait_until(lambda: told["seq"] in samples(bench), "the state that the response tells of")
    assert samples(bench)[told["seq"]]["state"]
    observer.wait(STATE, lambda state: abs(state["voltage"] - 4.0) < 0.1)
    again = observer.ask("psu/psu1/1/set", {"id": "b", "state": True})["result"]  # nothing changes
    assert observer.states("psu1")[-1]["seq"] >= again["seq"] > told["seq"]
    observer.wait_samples("psu1")


def test_a_state_comes_once_in_a_heartbeat(make: Callable[..., Bench]) -> None:
    bench = make({"changes_only": True, "heartbeat": 0.5})
    (supply,) = bench.daemon.supplies
    polls, states = supply.counters.polls, len(bench.observer.states("psu1"))
    wait_until(lambda: len(bench.observer.states("psu1")) >= states + 3, "three heartbeats")
    # A state for each 25th poll; a busy machine leaves polls out.
    assert supply.counters.polls - polls > 3 * 5


def test_a_slow_drift_is_followed(make: Callable[..., Bench]) -> None:
    """A load whose current grows by less than the deadband from each poll to the next."""
    bench = make({**QUIET, "deadband": {"voltage": 1, "current": 0.05}})
    observer, instrument = bench.observer, bench.simulator.instrument
    instrument.set_load(1, Resistor(3 / 0.1))
    assert observer.ask("psu/psu1/1/set", {"voltage_limit": 3, "current_limit": 2, "state": True})["ok"]
    observer.wait(STATE, lambda state: state["state"] and abs(state["current"] - 0.1) < 0.01)
    before = observer.states("psu1")[-1]["seq"]
    for step in range(1, 51):
        instrument.set_load(1, Resistor(3 / (0.1 + step / 100)))
        polled(bench, 2)
    observer.wait(STATE, lambda state: abs(state["current"] - 0.6) <= 0.051)
    observer.wait_samples("psu1")
    amperes = [state["current"] for number, state in sorted(samples(bench).items()) if number >= before]
    assert 6 < len(amperes) < 20
    assert all(abs(second - first) > 0.05 for first, second in itertools.pairwise(amperes))


def test_what_changes_without_a_broker_follows(make: Callable[..., Bench], broker: LocalBroker) -> None:
    with Proxy(broker.port) as way:
        bench = make(QUIET, way.port)
        observer, panel, session = bench.observer, bench.simulator.instrument.panel, bench.daemon.session
        polled(bench)
        before = observer.states("psu1")[-1]
        after = observer.mark()
        way.stop()
        wait_until(lambda: not session.connected, "the loss")
        volts = [1.0, 2.0, 1.0, 3.5]
        for value in volts:
            panel.knob_voltage(1, value)
            polled(bench, 3)
        way.start()
        wait_until(lambda: session.connected, "the next connection")
        observer.wait("psu/psu1/1/backlog", lambda state: state["voltage_limit"] == 3.5, after=after)
        late = [m.json for m in observer.on("psu/psu1/1/backlog") if m.json["seq"] > before["seq"]]
        assert [state["voltage_limit"] for state in late] == volts
        assert [state["seq"] for state in late] == [before["seq"] + number for number in (1, 2, 3, 4)]
        assert observer.wait(STATE, lambda state: state["voltage_limit"] == 3.5, after=after) == late[-1]

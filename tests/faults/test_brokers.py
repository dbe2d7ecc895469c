"""Brokers that are slow, hang or go away: what happens to commands and outputs, and how the agent ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.faults import proxy as ways
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench, assert_whole, seqs, wait_carried_out, wait_drained, wait_polls
from tests.lab import AgentProcess, Observer, settings, unit, wait_until
from tests.support import inside
from tests.support.messages import writes_in

pytestmark = pytest.mark.usefixtures("quick")


# Slow and hung.


def test_a_broker_that_pauses_loses_nothing(make_bench: MakeBench, make_broker: Callable[..., LocalBroker]) -> None:
    broker = make_broker(kind="mosquitto")
    bench = make_bench(port=broker.port, poll_interval=0.02)
    observer = bench.observer
    first = seqs(observer, "state")[0]
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        wait_polls(bench.simulator, 40)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    wait_carried_out(observer, 2, {"voltage_limit": 1})
    wait_drained(observer)
    assert_whole(observer, first, seqs(observer, "state")[-1])


def test_a_unit_whose_state_is_seen_takes_settings_at_once_when_the_broker_goes_on(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker]
) -> None:
    """Its claim came to the broker with the state, and back to the agent ahead of the command."""
    broker = make_broker(kind="mosquitto")
    late = Simulator().start()
    entry = unit("psu2", late)
    late.stop()
    bench = make_bench([Simulator()], [unit("psu1", Simulator().start()), entry], port=broker.port, online=False)
    observer = bench.observer
    observer.wait_online("psu1")
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: bench.daemon.session.gone_since is not None, "that the broker counts as gone")
        after = observer.mark()
        late.start()
        wait_polls(late, 3)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    observer.wait_state("psu2", after=after, online=True)
    # Where the agent was held up for 2 s itself, nobody knows how old a setting is.
    assert observer.code("psu/psu2/2/set", {"voltage_limit": 1.5}) in {"ok", "expired"}
    late.stop()


def test_a_slow_link_to_the_broker(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    """50 ms each way and few bytes at a time: states gather and go, and commands are answered."""
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02)
    observer = bench.observer
    way.up = ways.late(0.05)
    way.down = ways.late(0.05)
    first = seqs(observer, "state")[-1]
    wait_polls(bench.simulator, 30)
    assert observer.ask("psu/psu1/2/set/voltage_limit", "1")["ok"]
    way.heal()
    wait_drained(observer)
    assert_whole(observer, first, seqs(observer, "state")[-1])


# What happens to outputs.


def test_no_output_changes_when_the_agent_starts_stops_or_reconnects(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_output(1, True)
    simulator.instrument.panel.knob_voltage(1, 3.0)
    bench = make_bench([simulator], port=way.port, observer_port=broker.port)
    after = bench.observer.mark()
    way.end_all()
    bench.observer.wait_agent(after=after)
    after = bench.observer.mark()
    simulator.stop()  # a link that has lasted a while, and is but reset, is opened again without a word
    bench.observer.wait_state("psu1", after=after, online=False)
    simulator.start()
    bench.observer.wait_state("psu1", after=bench.observer.mark(), online=True)
    bench.stop()
    assert writes_in(simulator.instrument.log) == []
    assert simulator.instrument.channels[1].output


LIMIT = {3: {"on_broker_loss": "off", "broker_loss_after": 1.0}, 2: {"broker_loss_after": 0.0}}


@pytest.mark.parametrize("loss", ["gone", "hangs", "was never there"])
def test_on_broker_loss(make_bench: MakeBench, make_broker: Callable[..., LocalBroker], loss: str) -> None:
    broker = make_broker(kind="mosquitto")
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    with Proxy(broker.port) as way:
        if loss == "was never there":
            way.stop()
        begun = time.monotonic()  # where it was never there, it has been gone since the agent began
        # A keep-alive of a minute would notice a broker that hangs far too late.
        bench = make_bench(
            [simulator],
            [unit("psu1", simulator, channels=LIMIT)],
            port=way.port,
            observer_port=broker.port,
            mqtt={"keepalive": 60},
            online=loss != "was never there",
        )
        if loss != "was never there":
            begun = time.monotonic()
        if loss == "gone":
            way.stop()
        elif loss == "hangs":
            way.up = way.down = ways.swallow
        wait_polls(simulator, 3)
        assert simulator.instrument.channels[3].output or time.monotonic() - begun > 0.9
        wait_until(lambda: not simulator.instrument.channels[3].output, "off")
        assert time.monotonic() - begun > 0.9
        wait_polls(simulator, 5)
        assert [simulator.instrument.channels[n].output for n in (1, 2, 3)] == [True, True, False]
        assert simulator.instrument.log.count("OUTP 0,(@3)") == 1
        after = bench.observer.mark()
        way.stop()
        way.heal()
        bench.observer.wait_agent(after=after)
        event = bench.observer.wait("psu/psu1/3/event", lambda e: e["field"] == "state")
        assert (event["from"], event["to"], event["by"], event["id"]) == (True, False, "agent", None)
        # An output that a person turns on again stays on while the broker is there.
        assert bench.observer.ask("psu/psu1/3/set", {"state": True})["ok"]


def test_a_broker_that_comes_back_in_time_changes_nothing(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 30}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port)
    for _ in range(3):
        after = bench.observer.mark()
        way.end_all()
        bench.observer.wait_agent(after=after)
    assert writes_in(simulator.instrument.log) == []


def test_a_unit_that_is_away_when_the_broker_is_lost_is_turned_off_when_it_is_back(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 0.3}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port)
    simulator.stop()
    bench.observer.wait_state("psu1", online=False)
    way.stop()
    gone = time.monotonic()
    wait_until(lambda: time.monotonic() > gone + 0.6, "the time")
    assert simulator.instrument.channels[1].output
    simulator.start()
    wait_until(lambda: not simulator.instrument.channels[1].output, "off")
    assert simulator.instrument.channels[2].output


# The end.


def test_a_command_that_a_hung_unit_holds_is_answered_when_the_agent_stops(
    make_bench: MakeBench, broker: LocalBroker
) -> None:
    simulator = Simulator().start()
    bench = make_bench([simulator], [unit("psu1", simulator, pyvisa_args={"timeout": 60_000})])
    simulator.freeze()
    for number in range(3):
        bench.observer.send("psu/psu1/1/set", {"id": f"held {number}", "voltage_limit": 1})
    wait_until(lambda: inside.commands(bench.daemon, "psu1") == 3, "the commands")
    bench.stop()
    wait_until(lambda: len(bench.observer.responses("psu1", 1)) == 3, "a response for each")
    assert {r["error"]["code"] for r in bench.observer.responses("psu1", 1)} <= {"superseded", "uncertain", "offline"}
    wait_until(lambda: bench.observer.states("psu1")[-1]["online"] is False, "the last state")
    simulator.thaw()


@pytest.mark.parametrize("broken", ["nothing", "unit", "broker", "both"])
def test_sigterm_ends_it_whatever_hangs(broker: LocalBroker, tmp_path: Path, broken: str) -> None:
    with Simulator() as simulator, Proxy(broker.port) as way:
        entry = unit("psu1", simulator, pyvisa_args={"timeout": 60_000})
        data = settings(way.port, [entry], tmp_path / "state")
        observer = Observer(broker.port)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            if broken in ("unit", "both"):
                simulator.freeze()
            if broken in ("broker", "both"):
                way.up = way.down = ways.swallow
            begun = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - begun < 10  # it promises 5 s
        if broken in ("nothing", "unit"):
            observer.wait_agent(status="offline")
            wait_until(lambda: observer.states("psu1")[-1]["online"] is False, "the last state")
            wait_until(lambda: observer.on("psu/psu1/status")[-1].payload == b"offline", "the unit's status")
        observer.close()
        log = agent.log.read_text()
        assert "Traceback" not in log, log
        # The last states are in the backlog.
        if broken in ("broker", "both"):
            db = sqlite3.connect(tmp_path / "state" / "bench.sqlite3")
            assert db.execute("SELECT count(*) FROM samples").fetchone()[0] > 0
            db.close()

"""Commands around a lost connection: one that is old, retained or delivered again is never carried out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.timing import LONGEST_ABSENCE
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench, wait_carried_out
from tests.lab import AgentProcess, Observer, settings, unit, wait_until
from tests.support import inside

pytestmark = pytest.mark.usefixtures("quick")


def _mark_as_delivered_again(data: bytes) -> Iterator[bytes]:
    """Set the DUP flag of each PUBLISH with QoS 1 (MQTT 5, 3.3.1.1), which mosquitto sets when it delivers once more."""
    marked, start = bytearray(data), 0
    while start < len(data):
        if data[start] & 0xF6 == 0x32:
            marked[start] |= 0x08
        length, shift, start = 0, 0, start + 1
        while True:  # the remaining length, 2.1.4
            byte = data[start]
            length |= (byte & 0x7F) << shift
            shift, start = shift + 7, start + 1
            if byte < 0x80:
                break
        start += length
    yield bytes(marked)


def test_a_command_that_is_delivered_again_is_refused(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    # Polled seldom, so that no packet is torn.
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=60)
    way.down = _mark_as_delivered_again
    assert bench.observer.code("psu/psu1/1/set", {"state": True}) == "duplicate"
    assert bench.observer.code("psu/psu1/1/set/state", "ON") == "duplicate"
    way.heal()
    assert not bench.simulator.instrument.channels[1].output


def test_an_id_is_known_after_a_reconnection_and_a_restart(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port)
    observer = bench.observer
    assert observer.ask("psu/psu1/1/set", {"id": "once", "voltage_limit": 1})["ok"]
    observer.send("psu/psu1/1/set/voltage_limit", "1", response_topic="clients/c", correlation=b"c")
    wait_until(lambda: observer.on("clients/c"), "the response")
    for disturb in (way.end_all, bench.stop):
        after = observer.mark()
        disturb()
        if bench.agent is None:
            bench.start()
        else:
            observer.wait_agent(after=after)
        assert observer.code("psu/psu1/1/set", {"id": "once", "voltage_limit": 2}) == "duplicate"
        answered = len(observer.on("clients/c"))
        observer.send("psu/psu1/1/set/voltage_limit", "2", response_topic="clients/c", correlation=b"c")
        wait_until(lambda: len(observer.on("clients/c")) > answered, "the response")  # noqa: B023
        assert observer.on("clients/c")[-1].json["error"]["code"] == "duplicate"
    assert bench.simulator.instrument.channels[1].settings.voltage == 1.0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_retained_command_is_refused_at_each_replay(
    make_bench: MakeBench, broker: LocalBroker, protocol: str
) -> None:
    before = Observer(broker.port)
    before.send("psu/psu1/1/set", {"id": "kept", "state": True}, retain=True)
    before.send("psu/psu1/2/set/state", "ON", retain=True)
    before.send("psu/all/set", "OFF", retain=True)
    before.close()
    port = broker.port if protocol == "5" else broker.port_311
    with Proxy(port) as way:
        bench = make_bench(port=way.port, observer_port=broker.port, mqtt={"protocol": protocol})
        bench.simulator.instrument.panel.press_output(3, True)

        def refusals(topic: str) -> int:
            # One whose acknowledgement was under way when the connection ended comes again, and is the same one.
            return len({message.payload for message in bench.observer.on(topic)})

        for replay in (1, 2):
            wait_until(lambda: refusals("psu/psu1/1/response") == replay, "the refusal")  # noqa: B023
            wait_until(lambda: refusals("psu/psu1/2/response") == replay, "the refusal")  # noqa: B023
            wait_until(lambda: refusals("psu/psu1/response") == replay, "the refusal")  # noqa: B023
            after = bench.observer.mark()
            way.end_all()
            bench.observer.wait_agent(after=after)
        for channel, identity in ((1, "kept"), (2, None), (None, None)):
            for response in bench.observer.responses("psu1", channel):
                assert (response["error"]["code"], response["id"]) == ("retained", identity)
        assert [bench.simulator.instrument.channels[n].output for n in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("away", ["agent", "link"])
def test_what_was_sent_while_the_agent_was_away_is_never_carried_out(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, away: str
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port)
    observer = bench.observer
    if away == "agent":
        bench.stop()
    else:
        way.stop()
        wait_until(lambda: inside.broker_is_gone(bench.daemon), "the loss")
    for number in range(3):
        observer.send(f"psu/psu1/{number + 1}/set", {"id": f"while away {number}", "state": True})
    after = observer.mark()
    if away == "agent":
        bench.start()
    else:
        way.start()
        observer.wait_agent(after=after)
    assert observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
    assert [m for m in bench.simulator.instrument.log if m.startswith("OUTP ")] == []
    assert not any(r["ok"] for n in (1, 2, 3) for r in observer.responses("psu1", n))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_came_in_while_the_process_was_stopped_is_refused_and_told(
    make_broker: Callable[..., LocalBroker], tmp_path: Path, protocol: str
) -> None:
    """As a laptop that sleeps, or a virtual machine that is moved. Fifty: more than a broker sends without being answered."""
    broker = make_broker(kind="mosquitto")
    with Simulator() as simulator:
        mqtt = {"keepalive": 60, "protocol": protocol}
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / "state", mqtt=mqtt)
        observer = Observer(broker.port)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            agent.suspend()
            for number in range(50):
                observer.send("psu/psu1/1/set", {"id": f"asleep {number}", "state": True})
            sent = time.monotonic()
            wait_until(lambda: time.monotonic() > sent + LONGEST_ABSENCE + 0.3, "the time that makes it too old")
            simulator.instrument.clear_log()
            after = observer.mark()
            agent.signal(signal.SIGCONT)
            wait_until(lambda: len(observer.responses("psu1", 1)) >= 50, "a response for each")
            assert {r["error"]["code"] for r in observer.responses("psu1", 1)} == {"expired"}
            assert sorted(r["id"] for r in observer.responses("psu1", 1)) == sorted(f"asleep {n}" for n in range(50))
            observer.wait_state("psu1", after=after)
            wait_carried_out(observer, 2, {"voltage_limit": 1})
            assert [m for m in simulator.instrument.log if m.startswith("OUTP ")] == []
            assert not simulator.instrument.channels[1].output
        observer.close()

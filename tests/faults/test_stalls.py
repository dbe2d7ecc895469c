"""A link to the broker that stalls, flaps or works in one direction: nothing old reaches an output, and the loss counts."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.timing import LONGEST_ABSENCE
from tests.faults import proxy as ways
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench, wait_carried_out, wait_polls
from tests.lab import unit, wait_until
from tests.support import inside
from tests.support.relay import Drop

pytestmark = pytest.mark.usefixtures("quick")


def _pass_time(seconds: float) -> None:
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + seconds, "the time")


@pytest.mark.parametrize("way_that_stalls", ["both", "up", "down"])
@pytest.mark.parametrize(("protocol", "number"), [("5", 1), ("3.1.1", 70)])
def test_what_comes_in_after_a_stall_is_refused_and_told(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], way_that_stalls: str, protocol: str, number: int
) -> None:
    """With 70 the broker holds back most, until the first are acknowledged after the stall; with MQTT 5 it holds back none."""
    broker = make_broker(kind="mosquitto", conf="max_inflight_messages 20")
    with Proxy(broker.port) as way:
        mqtt = {"protocol": protocol, "keepalive": 60}
        bench = make_bench(port=way.port, observer_port=broker.port, mqtt=mqtt)
        observer = bench.observer
        end = threading.Event()
        if way_that_stalls != "down":
            way.up = ways.until(end)
        if way_that_stalls != "up":
            way.down = ways.until(end)
        _pass_time(0.3)  # a message that is on its way arrives
        for count in range(number):
            observer.send("psu/psu1/1/set", {"id": f"old {count}", "state": True})
        _pass_time(LONGEST_ABSENCE + 0.5)
        after = observer.mark()
        way.heal()
        end.set()
        observer.send("psu/psu1/1/set", {"id": "off", "state": False})
        wait_until(lambda: len(observer.responses("psu1", 1)) > number, "a response for each")
        assert next(r for r in observer.responses("psu1", 1) if r["id"] == "off")["ok"]
        # Where only the way up stalled they came at once, and the first of them were of bounded age.
        found = [r for r in observer.responses("psu1", 1) if r["id"] != "off"]
        codes = ["ok" if r["ok"] else r["error"]["code"] for r in found]
        if way_that_stalls != "up":
            assert set(codes) == {"expired"}
            assert not [m for m in bench.simulator.instrument.log if m.startswith("OUTP 1")]
        assert len(codes) == number
        observer.wait_state("psu1", after=after)
        wait_carried_out(observer, 1, {"state": True})
        assert bench.simulator.instrument.channels[1].output
        assert bench.daemon.session.reconnects == 0


def test_a_long_stall(make_bench: MakeBench, make_broker: Callable[..., LocalBroker]) -> None:
    """15 s, with `on_broker_loss` in between: the ON that waited does not undo the off."""
    broker = make_broker(kind="mosquitto")
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    with Proxy(broker.port) as way:
        units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 4}})]
        bench = make_bench([simulator], units, port=way.port, observer_port=broker.port, mqtt={"keepalive": 60})
        end = threading.Event()
        way.up = way.down = ways.until(end)
        _pass_time(0.3)
        bench.observer.send("psu/psu1/1/set", {"id": "old", "state": True})
        wait_until(lambda: not simulator.instrument.channels[1].output, "off")
        _pass_time(11.0)
        way.heal()
        end.set()
        wait_until(lambda: bench.observer.responses("psu1", 1), "the response")
        assert bench.observer.responses("psu1", 1)[0]["error"]["code"] == "expired"
        assert not simulator.instrument.channels[1].output


def test_an_idle_agent_takes_commands_at_any_moment(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    """Nothing but PINGREQ goes to and fro."""
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=60, mqtt={"keepalive": 60})
    for number in range(12):
        _pass_time(number * 0.07)
        assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
    # What comes while the relay sleeps waits for the rest of that as well: 0.3 s each way at most.
    way.up = ways.late(0.15)
    way.down = ways.late(0.15)
    for number in range(4):
        _pass_time(number * 0.2)
        assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]


# The loss.

LIMIT = {1: {"on_broker_loss": "off", "broker_loss_after": 3}}


def test_a_connection_that_never_lasts_is_a_loss(
    make_bench: MakeBench, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Flapping(Proxy):
        """Ends each connection after 0.4 s from the ``first`` on."""

        def __init__(self) -> None:
            self.first = 1_000_000
            self.begun: dict[int, float] = {}
            super().__init__(broker.port)

        def passing(self, number: int, upward: bool, data: bytes) -> Iterator[bytes]:
            if number >= self.first and time.monotonic() - self.begun.setdefault(number, time.monotonic()) > 0.4:
                raise Drop
            return super().passing(number, upward, data)

    with Flapping() as way:
        simulator = Simulator().start()
        simulator.instrument.panel.press_all(True)
        bench = make_bench(
            [simulator], [unit("psu1", simulator, channels=LIMIT)], port=way.port, observer_port=broker.port
        )
        # From here on: or the broker would be gone since the agent began, and a slow start would leave no time for what follows.
        inside.suspect_short_connections(monkeypatch.setattr)
        began = time.monotonic()
        way.first = way.connections
        wait_until(lambda: not simulator.instrument.channels[1].output, "off")
        assert time.monotonic() - began > 2.5
        assert bench.daemon.session.reconnects >= 2
        assert simulator.instrument.channels[2].output
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "gone:" in r.getMessage()]
    assert 1 <= len(told) == len(set(told))


def test_a_short_outage_does_not_become_a_loss_after_it_has_ended(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 3.5}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port)
    # From here on: or the broker would be gone since the agent began, and a slow start would be part of the outage.
    inside.suspect_short_connections(monkeypatch.setattr)
    after = bench.observer.mark()
    way.end_all()
    bench.observer.wait_agent(after=after)
    _pass_time(4.5)
    assert simulator.instrument.channels[1].output


def test_a_link_that_works_in_one_direction_is_a_loss(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    """Messages come from the broker, and nothing of what the agent sends arrives there."""
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    units = [unit("psu1", simulator, channels=LIMIT)]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port, mqtt={"keepalive": 60})
    way.up = ways.swallow
    numbers = itertools.count()

    def is_off() -> bool:
        bench.observer.send("psu/psu1/2/get", b"")
        next(numbers)
        return not simulator.instrument.channels[1].output

    wait_until(is_off, "off")
    assert next(numbers) > 5
    wait_polls(simulator, 1)

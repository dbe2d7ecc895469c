"""``on_broker_loss`` on a unit that does not do it, and on one that is slow and has much to do."""

from __future__ import annotations

import json
import time

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench
from tests.lab import unit, wait_until
from tests.support import inside


def test_a_unit_that_stays_on_is_asked_again_while_the_broker_is_away(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = Simulator().start()
    panel = simulator.instrument.panel
    panel.press_all(True)
    asked: list[float] = []

    def stay_on(message: str, answer: str | None) -> str | None:
        if message.startswith("OUTP 0"):
            asked.append(time.monotonic())
            if len(asked) < 3:
                panel.press_output(3, True)
        return answer

    units = [unit("psu1", simulator, channels={3: {"on_broker_loss": "off", "broker_loss_after": 0.2}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port)
    simulator.tamper = stay_on
    way.stop()
    # It is off for a moment each time, before it is on again.
    wait_until(lambda: len(asked) == 3 and not simulator.instrument.channels[3].output, "off at last")
    assert asked[2] - asked[1] > 0.9  # an off is told once more at once, then after pauses of 1 s, 2 s …
    assert simulator.instrument.log.count("OUTP 0,(@3)") == 3
    assert [simulator.instrument.channels[n].output for n in (1, 2)] == [True, True]
    assert len([r for r in caplog.records if "still on although it was turned off" in r.getMessage()]) == 1
    after = bench.observer.mark()
    way.start()
    bench.observer.wait_agent(after=after)
    event = bench.observer.wait("psu/psu1/3/event", lambda e: e["field"] == "state")
    assert (event["to"], event["by"]) == (False, "agent")


def test_the_policy_goes_before_what_waits_on_a_slow_unit(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator(latency=0.15).start()
    simulator.instrument.panel.press_output(3, True)
    entry = unit(
        "psu1",
        simulator,
        channels={3: {"on_broker_loss": "off", "broker_loss_after": 0.3}},
    )
    bench = make_bench([simulator], [entry], port=way.port, observer_port=broker.port)
    observer = bench.observer
    for number in range(20):
        command = {"id": f"set {number}", "voltage_limit": 1 + number / 10, "current_limit": 1}
        observer.post("psu/psu1/2/set", json.dumps(command).encode())
    observer.send("psu/psu1/3/set", {"id": "on", "state": True})
    observer.send("psu/psu1/3/set", {"id": "ramp", "voltage_limit": 20, "ramp": 1})
    wait_until(lambda: inside.commands(bench.daemon, "psu1") == 22, "the commands")
    way.stop()
    wait_until(lambda: not simulator.instrument.channels[3].output, "off")
    log = simulator.instrument.log
    assert sum(message.startswith("VOLT ") for message in log) < 10
    after = observer.mark()
    way.start()
    observer.wait_agent(after=after)
    for name in ("on", "ramp"):
        response = observer.wait("psu/psu1/3/response", lambda r, n=name: r["id"] == n)  # type: ignore[misc]
        assert response["error"]["code"] == "superseded"
    assert not any(message in ("OUTP 1,(@3)", "VOLT 20,(@3)") for message in simulator.instrument.log)
    assert not simulator.instrument.channels[3].output

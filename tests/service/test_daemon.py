"""The agent as a whole: what it publishes, starts and ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import Bench, Observer, wait_until


def test_three_channels_of_a_unit_are_published(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    for channel in (1, 2, 3):
        state = bench.observer.wait_state("psu1", channel, online=True)
        assert state["index"] == channel
        assert state["model"] == "E36313A"
        assert state["state"] is False
    response = bench.observer.ask("psu/psu1/1/set", {"id": "42", "state": True, "voltage_limit": 3.3})
    assert response["ok"], response
    assert bench.simulator.instrument.channels[1].output


def test_a_unit_that_is_not_served_any_more_leaves_nothing_on_the_broker(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench([Simulator(), Simulator()])
    neighbour = {"agent": "another", "psu": "psu9", "channels": []}
    bench.observer.send("psu/psu9/info", neighbour, retain=True)
    bench.daemon.session.stop(5)  # as a crash leaves it: the last state says that the unit is there
    bench.stop()
    bench.data["units"] = bench.data["units"][:1]
    bench.units = bench.units[:1]
    after = bench.observer.mark()
    bench.start()
    gone = {"psu/psu2/status", "psu/psu2/info", *(f"psu/psu2/{channel}/state" for channel in (1, 2, 3))}
    wait_until(
        lambda: gone <= {m.topic for m in bench.observer.received[after:] if not m.payload},
        "the retained messages of psu2 to be removed",
    )
    newcomer = Observer(bench.data["settings"]["mqtt"]["port"])
    try:
        newcomer.wait("psu/psu9/info")
        newcomer.wait("psu/psu1/1/state")
        kept = {message.topic for message in newcomer.received if message.retain}
    finally:
        newcomer.close()
    assert not kept & gone


@pytest.mark.parametrize(("kind", "hides"), [("mosquitto", False), ("iotcore", True)])
def test_a_broker_that_hides_the_retain_flag_is_told(
    kind: str,
    hides: bool,
    make_bench: Callable[..., Bench],
    make_broker: Callable[..., LocalBroker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = make_bench(port=make_broker(kind=kind).port)
    bench.observer.wait_online("psu1")
    # What comes in is taken in its order: with the answer to this one the agent has seen its own info come back.
    assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
    assert len([r for r in caplog.records if "hides the retain flag" in r.message]) == int(hides)

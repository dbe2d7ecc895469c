"""The agent as a whole: what it publishes, starts and ends."""

from __future__ import annotations

from collections.abc import Callable

from tests.lab import Bench


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

"""A broker, or a host, that stands still for a while and goes on as if nothing had been."""

from __future__ import annotations

from signal import SIGCONT
from typing import Any

import pytest

from tests.fleet.lab import BENCHES, FleetLab, entry
from tests.lab import wait_until


@pytest.mark.long
def test_a_broker_that_stood_still_has_no_influence_on_a_takeover(fleet: FleetLab) -> None:
    supply = fleet.supply()
    more: dict[str, Any] = {"takeover_after": 15, "mqtt": {"keepalive": 20}}
    first = fleet.agent("bench1", [entry(supply)], **more).start()
    fleet.wait_serves("bench1")
    other = fleet.agent("bench2", [entry(supply)], **more).start()
    fleet.wait_serves("bench2", serves=False)
    fleet.broker.suspend()
    fleet.wait_polls(supply, "bench1", 40)  # longer than it takes to notice
    fleet.broker.signal(SIGCONT)
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "conflict", "ok")
    assert other.text().count("connected, MQTT") == 1
    first.kill()
    fleet.wait_serves("bench2")
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "ok")


@pytest.mark.long
def test_an_agent_that_stood_still_sends_no_setting_when_it_goes_on(fleet: FleetLab) -> None:
    """Its ramp is under way, and what came in before lies in its sockets."""
    supply = fleet.supply()
    first = fleet.agent("bench1", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench1")
    fleet.agent("bench2", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench2", serves=False)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 0, "state": True}) == ["conflict", "ok"]
    fleet.observer.send("psu/psu1/1/set", {"voltage_limit": 6, "ramp": 0.05})
    ramping = len(supply.settings())
    wait_until(lambda: len(supply.settings()) > ramping + 3, "the ramp")
    after = fleet.observer.mark()
    first.suspend()
    for voltage in (1, 2, 3):
        fleet.observer.send("psu/psu1/2/set", {"voltage_limit": voltage})
    fleet.wait_serves("bench2", after=after)
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "ok")
    after = fleet.observer.mark()
    first.signal(SIGCONT)
    fleet.wait_serves("bench1", serves=False, after=after)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 2}) == ["conflict", "ok"]
    assert supply.authors() == ["bench1", "bench2"]
    assert "VOLT 3,(@2)" not in [sent.text for sent in supply.settings() if sent.peer == BENCHES["bench1"]]

"""Two agents on two brokers that a bridge joins: they do not hear the claims in one order, and agree all the same."""

from __future__ import annotations

import pytest

from tests.fleet.lab import OTHER_BROKER, FleetLab, entry
from tests.lab import wait_until


def test_the_agent_that_comes_second_by_a_bridge_gives_way(fleet: FleetLab) -> None:
    fleet.bridged_broker()
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench1")
    fleet.agent("bench2", [entry(supply)], broker=OTHER_BROKER, takeover_after=15).start()
    fleet.wait_serves("bench2", serves=False)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}) == ["conflict", "ok"]
    assert fleet.codes("psu/psu1/1/set", {"state": False}) == ["ok", "ok"]
    assert supply.authors() == ["bench1"]


@pytest.mark.long
def test_two_agents_that_began_while_the_bridge_was_cut_agree_when_it_heals(fleet: FleetLab) -> None:
    fleet.bridged_broker()
    fleet.link("broker2", "broker").cut()
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], takeover_after=15).start()
    fleet.wait_serves("bench1")
    other = fleet.agent("bench2", [entry(supply)], broker=OTHER_BROKER, takeover_after=15).start()
    wait_until(lambda: "connected, MQTT" in other.text(), "the second agent")
    fleet.link("broker2", "broker").heal()

    def serving() -> list[str]:
        infos = {bench: fleet.info(bench) for bench in ("bench1", "bench2")}
        assert all(info is None or "conflict" in info for info in infos.values())
        return [bench for bench, info in infos.items() if info is not None and info["serves"]]

    fleet.wait_serves("bench2", serves=False)  # the one that claims it since an earlier moment keeps it
    assert serving() == ["bench1"]
    wait_until(
        lambda: fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}) == ["conflict", "ok"], "settings to be taken"
    )
    assert fleet.codes("psu/psu1/1/set", {"state": False}) == ["ok", "ok"]
    assert supply.authors() == ["bench1"]

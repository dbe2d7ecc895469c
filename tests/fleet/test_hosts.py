"""One agent on a host of its own, whose links are cut and healed: the harness does what it says."""

from __future__ import annotations

import pytest

from tests.fleet.lab import BENCHES, FleetLab, entry
from tests.lab import wait_until


@pytest.mark.long
def test_an_agent_whose_link_to_the_broker_is_cut_is_told_of_by_its_will_and_comes_back(fleet: FleetLab) -> None:
    supply = fleet.supply()
    agent = fleet.agent("bench1", [entry(supply)]).start()
    observer = fleet.observer
    observer.wait_state("psu1", online=True)
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 3.3, "state": True}, "ok")
    assert supply.authors() == ["bench1"]
    assert supply.outputs() == (True, False, False)

    after = observer.mark()
    fleet.link("bench1").cut()
    observer.wait_agent("bench1", status="offline", after=after)
    polls = len(supply.log())
    wait_until(lambda: len(supply.log()) > polls + 5, "polls without a broker")
    after = observer.mark()
    fleet.link("bench1").heal()
    observer.wait_agent("bench1", after=after)
    observer.wait("psu/psu1/1/backlog", after=after)

    fleet.link("bench1", "supply").cut()
    observer.wait_online("psu1", online=False, after=after)
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "offline")
    after = observer.mark()
    fleet.link("bench1", "supply").heal()
    observer.wait_online("psu1", after=after)
    assert agent.stop() == 0
    assert {sent.peer for sent in supply.log()} == {BENCHES["bench1"]}


def test_a_reset_ends_the_connection_at_once_and_the_next_one_is_made(fleet: FleetLab) -> None:
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)]).start()
    observer = fleet.observer
    observer.wait_state("psu1", online=True)
    after = observer.mark()
    fleet.link("bench1").reset()
    observer.wait_agent("bench1", status="offline", after=after)
    wait_until(lambda: observer.on("psu/agents/bench1/status")[-1].payload == b"online", "the next connection")

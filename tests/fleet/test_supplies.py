"""One supply, two agents: one polls and commands it, the other one waits. An off is done by either, at every stage."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet.lab import BENCHES, OTHER_SUPPLY_ADDRESS, FleetLab, Supply, entry
from tests.lab import wait_until

SOON: dict[str, Any] = {"takeover_after": 15}
#: s between the last setting of an agent that is cut off and the first one of its successor, as `inside` shortens it.
MARGIN = 2.0
#: Polls in more time than a takeover takes.
TAKEOVER = 80
#: The unit at the second agent: by the same name, by another name, and by an address that only the serial number gives away.
SECOND: dict[str, dict[str, Any]] = {
    "same name": {},
    "same address": {"name": "spare"},
    "same serial number": {"name": "spare", "address": OTHER_SUPPLY_ADDRESS},
}


def messages_of(supply: Supply, bench: str) -> int:
    return sum(sent.peer == BENCHES[bench] for sent in supply.log())


def off(fleet: FleetLab, supply: Supply, name: str, answers: int) -> None:
    """Turn channel 1 on at the panel, and off by a command to this unit."""
    supply.order("press", 1, "on")
    assert "ok" in fleet.codes(f"psu/{name}/1/set", {"state": False}, answers)
    assert not supply.outputs()[0]


@pytest.mark.parametrize(
    "second",
    [*(pytest.param(f"same {what}", marks=pytest.mark.long) for what in ("name", "address")), "same serial number"],
)
def test_the_second_agent_keeps_away_from_the_supply_and_takes_it_over_when_the_first_was_killed(
    fleet: FleetLab, second: str
) -> None:
    supply = fleet.supply()
    own = entry(supply, **SECOND[second])
    name = own["name"]
    first = fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    other = fleet.agent("bench2", [own], **SOON).start()
    info = fleet.wait_serves("bench2", name, serves=False)
    assert "bench1" in info["reason"]
    assert (info["conflict"]["agent"], info["conflict"]["unit"]) == ("bench1", "psu1")
    wait_until(lambda: "bench1" in other.text(), "the log")
    if name != "psu1":
        assert fleet.retained()[f"psu/{name}/status"] == "offline"
    fleet.wait_polls(supply, "bench1", 3)  # by then the second one has closed its link
    told = messages_of(supply, "bench2")
    fleet.wait_polls(supply, "bench1", 10)
    assert messages_of(supply, "bench2") == told

    answers = 2 if name == "psu1" else 1
    codes = fleet.codes(f"psu/{name}/1/set", {"voltage_limit": 2}, answers)
    assert codes == (["conflict", "ok"] if name == "psu1" else ["conflict"])
    off(fleet, supply, name, answers)
    off(fleet, supply, "psu1", answers)

    after = fleet.observer.mark()
    first.kill()
    off(fleet, supply, name, 1)  # nobody serves it now
    fleet.wait_serves("bench2", name, after=after)
    fleet.wait_codes(f"psu/{name}/1/set", {"voltage_limit": 3}, "ok")
    assert supply.authors()[-1] == "bench2"
    off(fleet, supply, name, 1)


def test_a_ramp_of_an_agent_that_is_cut_off_from_the_broker_ends_before_another_one_takes_over(fleet: FleetLab) -> None:
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    fleet.agent("bench2", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench2", serves=False)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 0, "state": True}) == ["conflict", "ok"]
    fleet.observer.send("psu/psu1/1/set", {"voltage_limit": 6, "ramp": 0.05})
    ramping = len(supply.settings())
    wait_until(lambda: len(supply.settings()) > ramping + 3, "the ramp")
    after = fleet.observer.mark()
    fleet.link("bench1").cut()
    fleet.wait_serves("bench2", after=after)
    last = supply.settings()[-1]
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "ok")
    after = fleet.observer.mark()
    fleet.link("bench1").heal()
    fleet.wait_serves("bench1", serves=False, after=after)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 2}) == ["conflict", "ok"]
    assert supply.authors() == ["bench1", "bench2"]
    assert (
        next(sent for sent in supply.settings() if sent.peer == BENCHES["bench2"]).moment - last.moment > MARGIN - 0.5
    )
    off(fleet, supply, "psu1", 2)


def test_an_agent_that_is_cut_off_from_its_supply_keeps_it_and_the_other_one_does_an_off(fleet: FleetLab) -> None:
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    fleet.agent("bench2", [entry(supply, "spare")], **SOON).start()
    fleet.wait_serves("bench2", "spare", serves=False)
    after = fleet.observer.mark()
    fleet.link("bench1", "supply").cut()
    fleet.observer.wait_online("psu1", online=False, after=after)
    off(fleet, supply, "spare", 1)
    assert fleet.codes("psu/spare/1/set", {"voltage_limit": 1}, 1) == ["conflict"]
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}, 1) == ["offline"]
    after = fleet.observer.mark()
    fleet.link("bench1", "supply").heal()
    fleet.wait_serves("bench1", after=after)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}, 1) == ["ok"]
    assert supply.authors() == ["bench1"]


@pytest.mark.long
def test_an_agent_that_was_cut_off_from_both_sends_nothing_when_it_reaches_the_supply_again(fleet: FleetLab) -> None:
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    fleet.agent("bench2", [entry(supply, "spare", address=OTHER_SUPPLY_ADDRESS)], **SOON).start()
    fleet.wait_serves("bench2", "spare", serves=False)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 0, "state": True}, 1) == ["ok"]
    fleet.observer.send("psu/psu1/1/set", {"voltage_limit": 6, "ramp": 0.05})
    ramping = len(supply.settings())
    wait_until(lambda: len(supply.settings()) > ramping + 3, "the ramp")
    after = fleet.observer.mark()
    fleet.link("bench1", "supply").cut()
    fleet.link("bench1").cut()
    fleet.wait_serves("bench2", "spare", after=after)
    fleet.wait_codes("psu/spare/1/set", {"voltage_limit": 1}, "ok")
    fleet.link("bench1", "supply").heal()
    fleet.wait_polls(supply, "bench1", 1)
    after = fleet.observer.mark()
    fleet.link("bench1").heal()
    fleet.wait_serves("bench1", serves=False, after=after)
    assert fleet.codes("psu/spare/1/set", {"voltage_limit": 2}, 1) == ["ok"]
    assert supply.authors() == ["bench1", "bench2"]


@pytest.mark.long
def test_an_agent_that_waits_does_not_take_over_because_it_is_cut_off_itself(fleet: FleetLab) -> None:
    supply = fleet.supply()
    fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    other = fleet.agent("bench2", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench2", serves=False)
    fleet.wait_polls(supply, "bench1", 3)
    told = messages_of(supply, "bench2")
    after = fleet.observer.mark()
    fleet.link("bench2").cut()
    fleet.observer.wait_agent("bench2", status="offline", after=after)
    fleet.wait_polls(supply, "bench1", TAKEOVER)
    after = fleet.observer.mark()
    fleet.link("bench2").heal()
    fleet.wait_serves("bench2", serves=False, after=after)
    fleet.wait_polls(supply, "bench1", TAKEOVER)  # what the broker keeps tells that the first one is there
    assert other.ended() is None
    assert messages_of(supply, "bench2") == told


def test_with_takeover_manual_it_waits_for_somebody_to_say_so(fleet: FleetLab) -> None:
    supply = fleet.supply()
    first = fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    other = fleet.agent("bench2", [entry(supply, takeover="manual")], **SOON).start()
    fleet.wait_serves("bench2", serves=False)
    after = fleet.observer.mark()
    assert first.stop() == 0
    wait_until(lambda: "takeover" in (fleet.info("bench2", after=after) or {"reason": ""})["reason"], "the reason")
    assert supply.authors() == []
    other.call("takeover", "psu1", "--broker", "mqtt://192.0.2.1")
    fleet.wait_serves("bench2", after=after)
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "ok")


@pytest.mark.long
def test_an_agent_that_died_unseen_is_succeeded_when_its_status_is_cleared(make_fleet: Any) -> None:
    """The broker died with it, so nobody published its will: the broker says for ever that it is online."""
    fleet: FleetLab = make_fleet(persistent=True)
    supply = fleet.supply()
    first = fleet.agent("bench1", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench1")
    fleet.agent("bench2", [entry(supply)], **SOON).start()
    fleet.wait_serves("bench2", serves=False)
    fleet.broker.stop()
    first.kill()
    after = fleet.observer.mark()
    fleet.broker.start()
    fleet.observer.wait_agent("bench2", after=after)
    off(fleet, supply, "psu1", 1)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}, 1) == ["conflict"]
    fleet.observer.send("psu/agents/bench1/status", b"", retain=True)
    fleet.wait_serves("bench2", after=after)
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "ok")
    assert supply.authors() == ["bench2"]

"""Two agents of one name: the later one ends, or says nothing more; and what an agent removes from the broker."""

from __future__ import annotations

import pytest

from tests.fleet.lab import FleetLab, HostAgent, entry
from tests.lab import wait_until


def instance(fleet: FleetLab) -> str:
    return str(fleet.retained()["psu/agents/bench/info"]["instance"])


def own(fleet: FleetLab, bench: str, number: int = 0, *, state: str = "") -> HostAgent:
    """An agent called ``bench``, with a supply of its own."""
    return fleet.agent(
        bench, [entry(fleet.supply(f"MY6100480{number}"))], agent="bench", state=state, takeover_after=15
    )


def test_a_second_agent_of_a_name_ends_with_status_2_and_the_first_one_is_undisturbed(fleet: FleetLab) -> None:
    own(fleet, "bench1").start()
    fleet.wait_serves("bench")
    observer = fleet.observer
    first, after = instance(fleet), observer.mark()
    twin = own(fleet, "bench2", 1).start()
    wait_until(lambda: twin.ended() is not None, "the end of the twin")
    assert twin.ended() == 2, twin.text()
    said = [line for line in twin.text().splitlines() if " CRITICAL " in line]
    assert len(said) == 1
    assert "bench1" in said[0]
    assert "settings.agent" in said[0]
    assert "Traceback" not in twin.text()
    observer.wait_state("psu1", after=after)
    heard = [(message.topic, message.payload) for message in observer.received[after:]]
    assert ("psu/psu1/status", b"offline") not in heard
    assert ("psu/agents/bench/status", b"offline") not in heard
    assert {m.json["serial"] for m in observer.received[after:] if m.topic == "psu/psu1/info"} <= {"MY61004800"}
    retained = fleet.retained()
    assert (retained["psu/agents/bench/status"], retained["psu/psu1/status"]) == ("online", "online")
    assert retained["psu/psu1/info"]["instance"] == first == instance(fleet)
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}, 1) == ["ok"]


def test_of_two_agents_of_a_name_that_wait_for_the_broker_one_goes_on(fleet: FleetLab) -> None:
    fleet.broker.stop()
    agents = [own(fleet, bench, number) for number, bench in enumerate(("bench1", "bench2"))]
    for agent in agents:
        agent.start()
    wait_until(lambda: all("trying again" in agent.text() for agent in agents), "both to wait for the broker")
    fleet.broker.start()
    # The later one ends, or gives way where both had begun in the same moment.
    late = wait_until(lambda: [agent for agent in agents if "was there first" in agent.text()], "one to give way")
    assert len(late) == 1
    wait_until(lambda: late[0].ended() == 2 or "publishes nothing" in late[0].text(), "its end, or its silence")
    assert [agent.ended() for agent in agents if agent is not late[0]] == [None]
    fleet.wait_serves("bench")
    codes = ["ok"] if late[0].ended() == 2 else ["conflict", "ok"]
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, *codes)


@pytest.mark.long
def test_a_twin_that_began_during_a_partition_is_found_when_it_heals_and_one_of_them_is_silent(fleet: FleetLab) -> None:
    first = own(fleet, "bench1").start()
    fleet.wait_serves("bench")
    observer = fleet.observer
    after = observer.mark()
    fleet.link("bench1").cut()
    observer.wait_agent("bench", status="offline", after=after)
    twin = own(fleet, "bench2", 1).start()
    wait_until(
        lambda: fleet.info("bench")["serial"] == "MY61004801" and fleet.info("bench")["online"], "the twin to serve"
    )
    second = instance(fleet)
    fleet.link("bench1").heal()
    wait_until(lambda: "settings.agent" in first.text(), "the first one's log")
    assert twin.ended() is None
    assert first.ended() is None
    assert fleet.codes("psu/psu1/1/set", {"voltage_limit": 1}) == ["conflict", "ok"]
    assert fleet.codes("psu/psu1/1/set", {"state": False}) == ["ok", "ok"]
    after = observer.mark()
    for _ in range(5):
        seen = observer.mark()
        observer.wait_state("psu1", after=seen)
    serials = {m.json["serial"] for m in observer.received[after:] if m.topic == "psu/psu1/info"}
    assert serials <= {"MY61004801"}
    assert instance(fleet) == second
    assert fleet.retained()["psu/agents/bench/status"] == "online"


@pytest.mark.long
def test_what_a_killed_run_left_is_no_twin(fleet: FleetLab) -> None:
    """Not with its state directory, and not with another one; also if its will was never published, as the broker died, too."""
    agent = own(fleet, "bench1").start()
    fleet.wait_serves("bench")
    agent.kill()
    after = fleet.observer.mark()
    agent.start()
    fleet.wait_serves("bench", after=after)
    agent.kill()
    fleet.observer.send("psu/agents/bench/status", "online", retain=True)
    after = fleet.observer.mark()
    renewed = fleet.agent("bench1", [entry(fleet.supply("MY61004801"))], agent="bench", state="2", takeover_after=15)
    renewed.start()
    wait_until(lambda: (fleet.info("bench", after=after) or {}).get("serial") == "MY61004801", "the new run")
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1}, "ok")
    assert renewed.ended() is None


def test_an_agent_removes_what_its_state_directory_says_it_published_and_nothing_else(fleet: FleetLab) -> None:
    supply, other = fleet.supply("MY61004801"), fleet.supply("MY61004802")
    both = [entry(supply), entry(other, "psu2")]
    fleet.agent("bench1", both).start().serve_once(fleet, "psu2")
    published = {topic for topic in fleet.retained() if topic.startswith("psu/psu2/")}
    assert {"psu/psu2/info", "psu/psu2/status", "psu/psu2/1/state", "psu/psu2/3/state"} <= published

    fleet.agent("bench1", both[:1], state="new").start().serve_once(fleet, "psu1")
    assert published <= fleet.retained().keys()

    fleet.agent("bench1", both[:1]).start()
    wait_until(lambda: not published & fleet.retained().keys(), "the removal")
    assert "psu/psu1/info" in fleet.retained()

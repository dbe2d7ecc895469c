"""One name, two agents, each with a supply of its own: one of them serves the name, and both agree on which."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet.lab import FleetLab, HostAgent, Supply, entry
from tests.lab import wait_until


class Pair:
    """``psu1`` on both benches, each time another supply."""

    def __init__(self, fleet: FleetLab) -> None:
        self.fleet = fleet
        self.supplies: dict[str, Supply] = {}
        self.agents: dict[str, HostAgent] = {}
        for number, bench in enumerate(("bench1", "bench2")):
            self.supplies[bench] = fleet.supply(f"MY6100480{number}")
            self.agents[bench] = fleet.agent(bench, [entry(self.supplies[bench])], **SOON)

    def serving(self, after: int = 0) -> str | None:
        """The one agent that says that it serves; None while both do, or none, or one has said nothing."""
        infos = {bench: self.fleet.info(bench, after=after) for bench in self.agents}
        if any(info is None for info in infos.values()):
            return None
        serving = [bench for bench, info in infos.items() if info["serves"]]
        return serving[0] if len(serving) == 1 else None

    def _wait_connected(self, bench: str) -> None:
        """Until an agent that may say nothing of its unit has polled it twice: before, an off is `offline`."""
        supply = self.supplies[bench]
        before = len(supply.log())
        wait_until(lambda: sum("MEAS:" in sent.text for sent in supply.log()[before:]) >= 2, f"two polls by {bench}")

    def check(self, serving: str) -> None:
        """One of them serves the unit: its settings go to its supply alone, an off to both."""
        fleet = self.fleet
        other = next(bench for bench in self.agents if bench != serving)
        fleet.wait_serves(serving)
        self._wait_connected(other)
        info = fleet.info(other)
        assert (info["serves"], info["online"]) == (False, False)
        assert (info["conflict"]["agent"], info["conflict"]["why"]) == (serving, "name")
        assert info["conflict"]["host"] == serving
        assert serving in info["reason"]
        told = fleet.info(serving)
        assert (told["serves"], told["online"], told["reason"]) == (True, True, None)
        assert told["conflict"] is None or told["conflict"]["agent"] == other
        before = {bench: len(supply.settings()) for bench, supply in self.supplies.items()}
        for supply in self.supplies.values():
            supply.order("press", 1, "on")
        responses = fleet.ask("psu/psu1/1/set", {"voltage_limit": 2.5})
        (refusal,) = [one["error"] for one in responses if not one["ok"]]
        assert refusal["code"] == "conflict"
        assert serving in refusal["message"]
        grown = [bench for bench, supply in self.supplies.items() if len(supply.settings()) > before[bench]]
        assert grown == [serving]
        assert fleet.codes("psu/psu1/1/set", {"state": False}) == ["ok", "ok"]
        assert [supply.outputs()[0] for supply in self.supplies.values()] == [False, False]
        retained = fleet.retained()
        assert (retained["psu/psu1/info"]["agent"], retained["psu/psu1/status"]) == (serving, "online")
        assert retained["psu/psu1/1/state"]["agent"] == serving
        wait_until(lambda: serving in self.agents[other].text(), "the log")


SOON: dict[str, Any] = {"takeover_after": 15}


def test_the_agent_that_was_first_keeps_the_name_and_the_other_one_gets_it_when_the_first_has_gone(
    fleet: FleetLab,
) -> None:
    pair = Pair(fleet)
    pair.agents["bench1"].start()
    fleet.wait_serves("bench1")
    pair.agents["bench2"].start()
    fleet.wait_serves("bench2", serves=False)
    pair.check("bench1")
    fleet.observer.clear()
    pair.agents["bench1"].stop()
    fleet.wait_serves("bench2")
    fleet.wait_codes("psu/psu1/1/set", {"voltage_limit": 1.5}, "ok")
    assert fleet.info("bench2")["conflict"] is None


@pytest.mark.parametrize("_", [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, 5))])
def test_of_two_that_start_at_once_one_serves_and_the_other_one_knows(fleet: FleetLab, _: int) -> None:
    pair = Pair(fleet)
    for agent in pair.agents.values():
        agent.start()
    serving = wait_until(pair.serving, "one that serves, and one that does not")
    pair.check(serving)


@pytest.mark.long
def test_after_a_partition_the_agent_that_stayed_keeps_the_name(fleet: FleetLab) -> None:
    pair = Pair(fleet)
    pair.agents["bench1"].start()
    fleet.wait_serves("bench1")
    pair.agents["bench2"].start()
    fleet.wait_serves("bench2", serves=False)
    fleet.link("bench1").cut()
    fleet.wait_serves("bench2")
    after = fleet.observer.mark()
    fleet.link("bench1").heal()
    fleet.wait_serves("bench1", serves=False, after=after)
    pair.check("bench2")

"""Leases on a unit whose name two agents have: the one that serves it gives them, and both do an off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.config import settings as config
from agent.local.broker import LocalBroker
from agent.service.fleet import deciding
from agent.simulator import Simulator
from tests.lab import Agent, Observer, settings, unit, wait_until


def test_the_next_agent_takes_the_leases_over_with_the_unit(
    broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((config, "SHORTEST_TAKEOVER"), (config, "TAKEOVER_MARGIN"), (deciding, "MARGIN")):
        monkeypatch.setattr(module, name, 0.2)
    observer = Observer(broker.port)

    def agent(name: str) -> Agent:
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / name, agent=name, takeover_after=3.2)
        return Agent(data)

    with Simulator() as simulator:
        first, second = agent("first"), agent("second")
        try:
            first.start()
            observer.wait_online("psu1")
            wait_until(lambda: observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "ok", "the first to serve")
            second.start()
            observer.wait("psu/psu1/info", lambda info: info["agent"] == "second" and info["serves"] is False)
            responses = f"clients/{observer.mark()}"
            observer.send("psu/psu1/2/lease/set", {"holder": "ci-42", "ttl": 600}, response_topic=responses)
            lease = observer.wait("psu/psu1/2/lease", lambda lease: lease["holder"] == "ci-42")
            assert lease["agent"] == "first"
            wait_until(lambda: observer.count(responses) == 2, "both responses")
            first.stop()
            taken = observer.wait("psu/psu1/2/lease", lambda lease: lease["agent"] == "second")
            assert (taken["holder"], taken["since"], taken["until"]) == ("ci-42", lease["since"], lease["until"])
            wait_until(
                lambda: observer.code("psu/psu1/2/set", {"voltage_limit": 2, "lease": "ci-42"}) == "ok",
                "the second to serve",
            )
            assert observer.code("psu/psu1/2/set", {"voltage_limit": 3}) == "claimed"
        finally:
            first.stop()
            second.stop()
            observer.close()


def test_the_agent_that_serves_the_unit_gives_the_lease(broker: LocalBroker, tmp_path: Path) -> None:
    observer = Observer(broker.port)

    def agent(name: str, simulator: Simulator) -> Agent:
        return Agent(settings(broker.port, [unit("psu1", simulator)], tmp_path / name, agent=name))

    def ask(topic: str, payload: dict[str, Any]) -> dict[str | None, Any]:
        """The responses of both, by their codes; None for the one that is ok."""
        responses = f"clients/{observer.mark()}"
        observer.send(topic, payload, response_topic=responses)
        wait_until(lambda: observer.count(responses) == 2, "two responses")
        found = [message.json for message in observer.on(responses)]
        return {None if response["ok"] else response["error"]["code"]: response for response in found}

    with Simulator() as first, Simulator() as second:
        try:
            with agent("first", first):
                observer.wait_online("psu1")
                wait_until(lambda: observer.code("psu/psu1/2/set", {"voltage_limit": 1}) == "ok", "the first to serve")
                with agent("second", second):
                    observer.wait("psu/psu1/info", lambda info: info["agent"] == "second" and info["serves"] is False)
                    taken = ask("psu/psu1/lease/set", {"holder": "ci-42", "ttl": 600})
                    assert taken.keys() == {None, "conflict"}
                    assert taken[None]["result"]["agent"] == "first"
                    assert "first" in taken["conflict"]["error"]["message"]
                    refused = ask("psu/psu1/2/set", {"voltage_limit": 2})
                    assert refused.keys() == {"claimed", "conflict"}
                    obeyed = ask("psu/psu1/2/set", {"voltage_limit": 2, "lease": "ci-42"})
                    assert obeyed.keys() == {None, "conflict"}
                    assert ask("psu/psu1/2/set", {"state": False}).keys() == {None}
                    assert ask("psu/psu1/lease/set", {"holder": "ci-42", "release": True}).keys() == {None, "conflict"}
            assert {message.json["agent"] for message in observer.on("psu/psu1/lease")} == {"first"}
            assert first.instrument.execute("VOLT? (@2)") != second.instrument.execute("VOLT? (@2)")
        finally:
            observer.close()

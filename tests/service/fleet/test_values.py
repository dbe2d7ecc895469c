"""Plain values of whole agents: a reload switches them, and an agent that yields a name publishes none there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import Agent, Observer, settings, unit, wait_until
from tests.service.test_reload import Reloading


@pytest.fixture
def simulators() -> Iterator[list[Simulator]]:
    made = [Simulator(log_size=100_000).start() for _ in range(2)]
    yield made
    for simulator in made:
        simulator.stop()


def asked(simulator: Simulator) -> int:
    """How often the supply was asked who it is, as each new link begins with."""
    return sum("*IDN?" in str(message) for message in simulator.instrument.log)


def test_a_reload_switches_them_and_touches_no_link(
    broker: LocalBroker, tmp_path: Path, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    agent = Reloading(broker.port, tmp_path)
    observer = agent.observer

    def last(level: str) -> bytes:
        messages = observer.on(f"psu/psu1/1/{level}")
        return messages[-1].payload if messages else b""

    try:
        agent.write(unit("psu1", simulators[0]))
        agent.start()
        observer.wait_online("psu1")
        questions = asked(simulators[0])
        assert agent.reload(caplog) == "no unit changed"
        agent.write(unit("psu1", simulators[0]), publish_fields=True)
        assert agent.reload(caplog) == "psu1 publishes plain values"
        wait_until(lambda: last("output") == b"OFF" and last("charge"), "the values")
        agent.write(unit("psu1", simulators[0], publish_fields=False), publish_fields=True)
        assert agent.reload(caplog) == "psu1 no longer publishes plain values"
        wait_until(lambda: not last("output") and not last("charge"), "their end")
        agent.write(unit("psu1", simulators[0], publish_fields=True), unit("psu2", simulators[1]))
        assert agent.reload(caplog) == "added psu2; psu1 publishes plain values"
        wait_until(lambda: last("output") == b"OFF", "the values")
        assert asked(simulators[0]) == questions >= 1
        assert observer.wait_state("psu2")
        assert not observer.on("psu/psu2/1/output")
        agent.write(unit("psu2", simulators[1]))
        assert agent.reload(caplog) == "removed psu1; psu1 no longer publishes plain values"
        wait_until(lambda: not last("output") and not last("name"), "their end")
    finally:
        agent.close()


def test_an_agent_that_yields_a_name_publishes_no_values_there(
    broker: LocalBroker, tmp_path: Path, simulators: list[Simulator]
) -> None:
    """Two supplies of one name: the second agent's output is on, and no reader may take it for the first one's."""
    observer = Observer(broker.port)
    simulators[1].instrument.execute("VOLT 3,(@1)")
    simulators[1].instrument.execute("OUTP 1,(@1)")

    def agent(name: str, simulator: Simulator) -> Agent:
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / name, agent=name, publish_fields=True)
        return Agent(data)

    try:
        with agent("first", simulators[0]):
            wait_until(lambda: observer.on("psu/psu1/1/charge"), "the values of the first")
            with agent("second", simulators[1]):
                observer.wait("psu/psu1/info", lambda info: info["agent"] == "second" and info["serves"] is False)
                wait_until(lambda: len(simulators[1].instrument.log) > 20, "polls of the second")
                observer.send("psu/psu1/1/set", {"voltage_limit": 1.25})
                wait_until(
                    lambda: observer.on("psu/psu1/1/voltage_limit")[-1].payload == b"1.2500", "the first to follow"
                )
            values = {message.payload for message in observer.on("psu/psu1/1/output")}
            assert values == {b"OFF"}
            assert {m.payload for m in observer.on("psu/psu1/1/voltage_limit")} == {b"0.0000", b"1.2500"}
    finally:
        observer.close()

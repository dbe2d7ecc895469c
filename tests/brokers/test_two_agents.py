"""Two agents with a unit of one name on a broker that tells the later one nothing of the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import Agent, Observer, settings, unit, wait_until


@pytest.fixture
def supplies() -> Iterator[list[Simulator]]:
    with Simulator() as first, Simulator() as second:
        yield [first, second]


def test_the_later_agent_yields_where_nothing_is_retained(
    make_broker: Callable[..., LocalBroker], supplies: list[Simulator], tmp_path: Path
) -> None:
    """Each hears of the other only what is published while it is there."""
    broker = make_broker(kind="mosquitto", conf="retain_available false")
    observer = Observer(broker.port)

    def agent(name: str, supply: Simulator) -> Agent:
        data = settings(broker.port, [unit("psu1", supply)], tmp_path / name, mqtt={"keepalive": 15}, agent=name)
        return Agent(data)

    with agent("first", supplies[0]):
        observer.wait("psu/psu1/info", lambda info: info["agent"] == "first" and info["online"])
        with agent("second", supplies[1]):
            observer.wait("psu/psu1/info", lambda info: info["agent"] == "second" and info["serves"] is False)
            after = observer.mark()
            states = wait_until(
                lambda: [m.json for m in observer.received[after:] if m.topic == "psu/psu1/1/state" and len(m.payload)][
                    5:
                ],
                "states",
            )
            assert {state["agent"] for state in states} == {"first"}
            observer.send("psu/psu1/1/set", {"id": "one", "voltage_limit": 1.5})
            wait_until(lambda: len(observer.responses("psu1", 1)) == 2, "both agents to answer")
            assert sorted(response["ok"] for response in observer.responses("psu1", 1)) == [False, True]
            assert [supply.instrument.channels[1].settings.voltage for supply in supplies] == [1.5, 0.0]
    observer.close()

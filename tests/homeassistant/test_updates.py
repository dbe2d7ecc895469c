"""The states that Home Assistant gets, from the threads of many units."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agent.homeassistant.outlet import HomeAssistantOutlet
from agent.homeassistant.updates import Updates
from agent.protocol.messages import ChannelState, Event, Response, utc_now
from agent.protocol.report import Report
from agent.protocol.topics import Topics
from tests.homeassistant.fakes import Settings, Store
from tests.homeassistant.units import agent_info, state, unit_info

TOPICS = Topics("psu")
SHOWN = "psu/psu1/1/homeassistant"


class Publisher:
    """Keeps the newest payload of every topic."""

    gone_since: float | None = None

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def forget(self, topic: str) -> None:
        raise AssertionError(topic)

    def keep(self, topic: str, payload: bytes) -> None:
        self.kept[topic] = payload

    def is_pending(self, topic: str) -> bool:
        del topic
        return False

    def shown(self, topic: str = SHOWN) -> ChannelState:
        return ChannelState.model_validate_json(self.kept[topic])


def updates(publisher: Publisher, **arguments: Any) -> Updates:
    values: dict[str, Any] = {"units": ["psu1"], "interval": 10.0, "saved": {}, "clock": lambda: 0.0}
    return Updates(topics=TOPICS, publisher=publisher, **{**values, **arguments})


def test_states_follow_once_the_unit_has_told_its_channels() -> None:
    publisher = Publisher()
    found = updates(publisher)
    found.publish([state()])
    assert publisher.kept == {}
    found.follow(unit_info())
    found.publish([state(), state(index=2, name="CH2"), state(index=9)])
    assert publisher.kept.keys() == {SHOWN, "psu/psu1/2/homeassistant"}
    found.publish([])


def test_the_same_info_again_does_not_let_noise_through() -> None:
    publisher = Publisher()
    found = updates(publisher)
    found.follow(unit_info())
    found.publish([state(voltage=5.0)])
    found.follow(unit_info(online=False))
    found.publish([state(voltage=5.0001)])
    assert publisher.shown().voltage == 5.0
    found.follow(unit_info(channels={1: {"voltage_rating": 12.0}}))
    found.publish([state(voltage=5.0002)])
    assert publisher.shown().voltage == 5.0002, "another scale begins anew"


def test_the_last_sample_of_a_unit_that_publishes_changes_only_follows_by_itself() -> None:
    """The next one may come an hour later."""
    now = [100.0]
    publisher = Publisher()
    found = updates(publisher, clock=lambda: now[0])
    found.follow(unit_info(heartbeat=3600.0))
    found.publish([state(voltage=0.0)])
    now[0] += 0.2
    found.publish([state(voltage=2.0)])  # the output goes up
    found.publish([state(voltage=5.0)])
    found.tick()
    assert publisher.shown().voltage == 0.0
    now[0] += 1.0
    found.tick()
    assert publisher.shown().voltage == 5.0
    now[0] += 0.2
    found.publish([state(voltage=5.01)])  # drifts, within noise
    now[0] += 5.0
    found.tick()
    assert publisher.shown().voltage == 5.0
    now[0] += 5.0
    found.tick()
    assert publisher.shown().voltage == 5.01
    found.publish([state(voltage=5.02)])
    found.publish([state(voltage=5.03, online=False)])  # passes at once, and what was held is past
    now[0] += 20.0
    found.tick()
    assert not publisher.shown().online
    for limit in range(10):  # more changes than may follow each other at once
        found.publish([state(voltage_limit=float(limit))])
    now[0] += 1.0
    found.tick()
    assert publisher.shown().voltage_limit == 9.0
    found.publish([state(voltage_limit=7.0)])
    found.serve([])
    now[0] += 20.0
    found.tick()
    assert publisher.shown().voltage_limit == 9.0


def test_a_sample_that_is_held_does_not_follow_once_another_agent_serves_the_unit() -> None:
    now = [100.0]
    publisher = Publisher()
    found = updates(publisher, clock=lambda: now[0])
    found.follow(unit_info(heartbeat=3600.0))
    found.publish([state(voltage=5.0)])
    found.publish([state(voltage=5.01)])
    found.leave("psu1")
    now[0] += 60
    found.tick()
    assert publisher.shown().voltage == 5.0


def test_a_unit_that_is_not_served_any_more_publishes_nothing() -> None:
    publisher = Publisher()
    found = updates(publisher)
    found.follow(unit_info())
    found.serve(["psu2"])
    found.follow(unit_info())  # a report that was under way
    found.publish([state()])
    assert publisher.kept == {}


def test_energy_that_is_not_on_disk_is_not_told() -> None:
    publisher = Publisher()
    found = updates(publisher, saved={"psu1": {1: (1.0, 0.5)}})
    found.follow(unit_info())
    found.publish([state(energy=3.0, charge=0.4)])
    assert (publisher.shown().energy, publisher.shown().charge) == (1.0, 0.4)
    found.saved({"psu1": {1: (2.5, 0.5)}})
    found.publish([state(energy=3.0, charge=0.6, state=False)])
    assert (publisher.shown().energy, publisher.shown().charge) == (2.5, 0.5)


def test_energy_of_an_output_that_is_not_measured_stays_unknown() -> None:
    publisher = Publisher()
    found = updates(publisher, saved={"psu1": {1: (0.0, 0.0)}})
    found.follow(unit_info())
    found.publish([state(current=None, power=None, energy=None, charge=None)])
    assert (publisher.shown().energy, publisher.shown().charge) == (None, None)


def test_a_report_publishes_nothing_that_is_not_home_assistants() -> None:
    publisher = Publisher()
    for settings in (None, Settings()):
        run = HomeAssistantOutlet(
            settings,
            agent=agent_info(),
            units={"psu1": "x"},
            topics=TOPICS,
            store=Store(),
            saved={},
            publisher=publisher,
        )
        values = {
            "agent": "bench3",
            "psu": "psu1",
            "index": 1,
            "name": "CH1",
            "model": None,
            "by": "panel",
            "text": "on",
        }
        event = Event.model_validate({"time": utc_now(), **values, "field": "state", "from": False, "to": True})
        response = Response(id=None, ok=True, time=utc_now(), psu="psu1", index=1)
        run.report(Report(states=[state()], events=[event], response=response))
        assert publisher.kept == {}
        assert not run.congested
    run.report(Report(info=unit_info(), states=[state()]))
    assert SHOWN in publisher.kept, "a report's info comes before its states"


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_units_report_while_the_configuration_is_read_again() -> None:
    """A dictionary that was changed by a unit's thread while `serve` went through it once ended the daemon."""
    names = [f"psu{number}" for number in range(200)]
    everything = dict.fromkeys(names, "x")
    half = dict.fromkeys(names[::2], "x")
    run = HomeAssistantOutlet(
        Settings(),
        agent=agent_info(),
        units=everything,
        topics=TOPICS,
        store=Store(),
        saved={},
        publisher=Publisher(),
    )
    infos = [unit_info(psu=name, serial=name, channels={2: {}, 3: {}}) for name in names]
    infos = [info.model_copy(update={"channels": info.channels[:1]}) for info in infos]
    faults: list[BaseException] = []

    def report(part: int) -> None:
        try:
            for _ in range(20):
                for info in infos[part::4]:
                    run.report(Report(info=info, states=[state(psu=info.psu)]))
                    run.report(Report(states=[state(psu=info.psu, state=False)]))
        except Exception as fault:  # noqa: BLE001 - the test's result
            faults.append(fault)

    threads = [threading.Thread(target=report, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        run.serve(half)
        run.tick()
        run.saved({name: {1: (1.0, 1.0)} for name in names})
        run.serve(everything)
    assert faults == []

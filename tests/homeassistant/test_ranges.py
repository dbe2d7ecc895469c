"""Values outside of the ranges that may be set, and payloads that are no JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.homeassistant.devices import agent_discovery
from agent.homeassistant.outlet import HomeAssistantOutlet
from agent.homeassistant.ranges import Ranges, is_within
from agent.homeassistant.updates import AGAIN
from agent.protocol.quantities import LEVELS
from agent.protocol.report import Report
from tests.homeassistant.fakes import TOPICS, UNIT, Broker, World
from tests.homeassistant.units import agent_info, state, unit_info
from tests.properties import examples

SHOWN = "psu/psu1/1/homeassistant"
LIMITED = {1: {"current_limit_range": (0.0, 1.0), "voltage_protection_range": (0.5, 6.6)}}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def limited(world: World) -> tuple[HomeAssistantOutlet, Broker]:
    """A unit whose channel 1 is limited to 1 A, within it."""
    run, broker = world.run()
    run.report(Report(info=unit_info(channels=LIMITED), states=[state(current_limit=0.5)]))
    return run, broker


def number(broker: Broker, name: str = "current_limit", channel: int = 1) -> dict[str, Any]:
    component: dict[str, Any] = json.loads(broker.retained[UNIT])["components"][f"ch{channel}_{name}"]
    return component


def span(broker: Broker, name: str = "current_limit", channel: int = 1) -> tuple[float, float]:
    component = number(broker, name, channel)
    return component["min"], component["max"]


def test_a_range_reaches_to_the_value_that_stands_there(limited: tuple[HomeAssistantOutlet, Broker]) -> None:
    run, broker = limited
    assert span(broker) == (0.0, 1.0)
    run.report(Report(states=[state(current_limit=1.03)]))
    assert span(broker) == (0.0, 1.03)
    assert "<= v <= 1.032" in number(broker)["value_template"]
    assert span(broker, channel=2)[1] > 2, "another channel's stays"
    topics = [topic for topic, _ in broker.told]
    assert topics[-2:] == [UNIT, SHOWN], "the range comes first"
    run.report(Report(states=[state(current_limit=1.0)]))
    assert span(broker) == (0.0, 1.0)


def test_a_level_below_the_least_that_may_be_set(limited: tuple[HomeAssistantOutlet, Broker]) -> None:
    run, broker = limited
    run.report(Report(states=[state(current_limit=0.5, voltage_protection=0.0)]))
    assert span(broker, "voltage_protection") == (0.0, 6.6)


def test_a_value_that_is_rounded_by_the_unit_is_no_other_range(limited: tuple[HomeAssistantOutlet, Broker]) -> None:
    run, broker = limited
    before = broker.told.count((UNIT, broker.retained[UNIT]))
    run.report(Report(states=[state(current_limit=1.0005)]))
    assert broker.told.count((UNIT, broker.retained[UNIT])) == before
    assert span(broker) == (0.0, 1.0)


def test_the_state_is_told_again_when_home_assistant_has_the_range(
    world: World, limited: tuple[HomeAssistantOutlet, Broker]
) -> None:
    run, broker = limited
    run.report(Report(states=[state(current_limit=1.03)]))
    told = [payload for topic, payload in broker.told if topic == SHOWN]
    world.let_pass(run, AGAIN[0])
    assert [payload for topic, payload in broker.told if topic == SHOWN] == [*told, told[-1]]
    run.report(Report(states=[state(current_limit=1.03, state=False)]))
    newest = broker.retained[SHOWN]
    assert newest != told[-1]
    world.let_pass(run, AGAIN[1])
    assert [payload for topic, payload in broker.told if topic == SHOWN][-2:] == [newest, newest]
    count = len(broker.told)
    world.let_pass(run, 60)
    assert len(broker.told) == count


def test_a_unit_that_is_lost_keeps_its_range(limited: tuple[HomeAssistantOutlet, Broker]) -> None:
    run, broker = limited
    run.report(Report(states=[state(current_limit=1.03)]))
    run.report(Report(states=[state(online=False, current_limit=None, voltage_limit=None, voltage_protection=None)]))
    assert span(broker) == (0.0, 1.03)


def test_a_range_that_was_wide_before_home_assistant_started(
    world: World, limited: tuple[HomeAssistantOutlet, Broker]
) -> None:
    run, broker = limited
    run.report(Report(states=[state(current_limit=1.03)]))
    run, broker = world.run()
    run.report(Report(info=unit_info(channels=LIMITED)))
    run.report(Report(states=[state(current_limit=1.03)]))
    assert span(broker) == (0.0, 1.03)


def test_nothing_is_told_again_of_a_unit_that_is_left_or_not_served(
    world: World, limited: tuple[HomeAssistantOutlet, Broker]
) -> None:
    run, broker = limited
    run.report(Report(states=[state(current_limit=1.03)]))
    run.leave("psu1", is_other=False)
    count = len(broker.told)
    world.let_pass(run, 60)
    assert len(broker.told) == count
    run.report(Report(info=unit_info(channels=LIMITED), states=[state(current_limit=1.04)]))
    run.serve({})
    world.let_pass(run, 60)
    assert SHOWN not in broker.retained
    assert UNIT not in broker.retained


def test_another_limit_by_a_reload(limited: tuple[HomeAssistantOutlet, Broker]) -> None:
    run, broker = limited
    run.report(Report(states=[state(current_limit=1.03)]))
    run.report(Report(info=unit_info(channels={1: {"current_limit_range": (0.0, 2.0)}})))
    assert span(broker) == (0.0, 2.0)


@given(
    st.sampled_from(LEVELS), st.tuples(st.floats(-40, 0), st.floats(0, 40)), st.floats(-100, 100), st.floats(-100, 100)
)
@examples()
def test_every_value_is_within_the_range_that_is_told(
    level: str, interval: tuple[float, float], value: float, other: float
) -> None:
    info = unit_info(channels={1: {f"{level}_range": interval}})
    ranges, channel = Ranges(), info.channels[0]
    for told in (value, other, value):
        ranges.fit(channel, state(**{level: told}))
        wide = ranges.widened(info).channels[0]
        assert is_within(wide, level, told)
        found = wide.range_of(level)
        assert found is not None
        assert found[0] <= interval[0] <= interval[1] <= found[1]
        if is_within(channel, level, told):
            assert found == interval


def test_no_template_trips_over_a_payload_that_is_no_json(limited: tuple[HomeAssistantOutlet, Broker]) -> None:
    """What was retained is removed by an empty payload, and Home Assistant hears that, too; tests/homeassistant/test_real.py."""
    payloads = [json.loads(limited[1].retained[UNIT]), agent_discovery(agent_info(), TOPICS)]
    found = [
        text
        for payload in payloads
        for component in payload["components"].values()
        for one in (component, *component.get("availability", []))
        for key, text in one.items()
        if key.endswith("_template")
    ]
    assert len(found) > 50
    assert [text for text in found if "value_json is mapping" not in text] == []

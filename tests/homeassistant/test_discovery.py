"""Devices in Home Assistant: over restarts, renames, removals and lost brokers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.homeassistant import discovery
from agent.mqtt.incoming import Incoming
from agent.protocol.messages import UnitInfo
from agent.protocol.report import Report
from tests.homeassistant.fakes import AGENT, UNIT, Broker, Settings, World
from tests.homeassistant.units import URI, state, unit_info, unreached
from tests.lab import Bench, wait_until


@pytest.fixture
def world() -> World:
    return World()


def reached(**changes: Any) -> UnitInfo:
    return unit_info(**changes)


def birth(topic: str = "homeassistant/status", payload: bytes = b"online", retain: bool = False) -> Incoming:
    return Incoming(topic=topic, payload=payload, retain=retain, dup=False)


def components(broker: Broker, topic: str = UNIT) -> dict[str, Any]:
    return dict(json.loads(broker.retained[topic])["components"])


def test_a_unit_is_offered_once_it_has_said_who_it_is(world: World) -> None:
    run, broker = world.run()
    assert broker.devices == {AGENT}
    run.report(Report(info=unreached()))
    assert broker.devices == {AGENT}
    run.report(Report(info=reached()))
    assert broker.devices == {AGENT, UNIT}
    before = len(broker.told)
    run.report(Report(info=reached(online=False, reason="gone")))
    assert len(broker.told) == before, "what did not change is not published again"


def test_a_unit_that_is_off_when_the_agent_starts_keeps_its_device(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    payload = broker.retained[UNIT]
    world.retained = {}  # a broker without persistence
    run, broker = world.run()
    run.report(Report(info=unreached()))
    assert broker.retained[UNIT] == payload
    world.let_pass(run, 60)
    assert broker.devices == {AGENT, UNIT}


def test_a_series_in_the_configuration_keeps_the_model_that_was_found(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    payload = broker.retained[UNIT]
    run, broker = world.run()
    run.report(Report(info=unreached(model=None, channels=[])))
    assert broker.retained[UNIT] == payload


@pytest.mark.parametrize("is_reached_at_once", [True, False])
def test_a_new_name_keeps_topic_and_unique_ids(world: World, is_reached_at_once: bool) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run.report(Report(states=[state()]))
    ids = {component["unique_id"] for component in components(broker).values()}
    run, broker = world.run({"left": URI})
    run.report(Report(info=(reached if is_reached_at_once else unreached)(psu="left")))
    world.let_pass(run, 60)
    assert broker.devices == {AGENT, UNIT}
    assert {component["unique_id"] for component in components(broker).values()} == ids
    assert components(broker)["ch1_state"]["command_topic"] == "psu/left/1/set/state"
    assert "psu/psu1/1/homeassistant" not in broker.retained


def test_a_new_name_and_a_new_address_are_recognised_by_the_serial_number(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run, broker = world.run({"left": "USB0::1::2::3::INSTR"})
    run.report(Report(info=unreached(psu="left", uri="USB0::1::2::3::INSTR")))
    world.let_pass(run, 5)
    assert (UNIT, b"") not in broker.told, "it is not cleared before the unit could say who it is"
    run.report(Report(info=reached(psu="left", uri="USB0::1::2::3::INSTR")))
    world.let_pass(run, 60)
    assert (UNIT, b"") not in broker.told
    assert components(broker)["ch1_state"]["command_topic"] == "psu/left/1/set/state"


def test_two_units_that_change_names_are_told_apart(world: World) -> None:
    other = {"serial": "MY2", "uri": "ASRL1::INSTR"}
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.report(Report(info=reached(psu="a")))
    run.report(Report(info=reached(psu="b", **other)))
    run, broker = world.run({"b": URI, "a": "ASRL1::INSTR"})
    run.report(Report(info=unreached(psu="b")))
    run.report(Report(info=unreached(psu="a", uri="ASRL1::INSTR")))
    assert components(broker)["off"]["command_topic"] == "psu/b/set/state"
    run.report(Report(info=reached(psu="b")))
    run.report(Report(info=reached(psu="a", **other)))
    world.let_pass(run, 60)
    assert components(broker)["off"]["command_topic"] == "psu/b/set/state"
    assert len(broker.devices) == 3
    assert not [topic for topic, payload in broker.told if not payload]


def test_another_unit_in_its_place_comes_after_it_has_gone(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run.report(Report(info=reached(serial="MY2")))
    assert broker.devices == {AGENT}
    world.let_pass(run, discovery.SETTLING + discovery.SUCCESSION + 1)
    assert broker.devices == {AGENT, "homeassistant/device/psu_E36313A_MY2/config"}


def test_a_unit_that_went_while_the_agent_was_down_is_cleared(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run.report(Report(states=[state()]))
    assert "psu/psu1/1/homeassistant" in broker.retained
    run, broker = world.run({})
    world.let_pass(run, discovery.SETTLING - 0.5)
    assert UNIT in broker.devices
    world.let_pass(run, 10)
    assert broker.devices == {AGENT}
    assert "psu/psu1/1/homeassistant" not in broker.retained


def test_a_removal_waits_for_the_broker(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run, broker = world.run({})
    broker.gone_since = 1.0
    world.let_pass(run, 60)
    assert UNIT in broker.devices
    broker.gone_since = None
    world.let_pass(run, 60)
    assert broker.devices == {AGENT}


@pytest.mark.parametrize("prefix", ["homeassistant", "ha/lab"])
def test_without_the_section_all_is_cleared(world: World, prefix: str) -> None:
    run, broker = world.run(settings=Settings(discovery_prefix=prefix))
    run.report(Report(info=reached()))
    assert f"{prefix}/device/psu_E36313A_MY61004803/config" in broker.retained
    run, broker = world.run(settings=None)
    assert f"{prefix}/status" in run.subscriptions
    world.let_pass(run, 10)
    assert broker.retained == {}


def test_another_prefix_clears_the_first(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run, broker = world.run(settings=Settings(discovery_prefix="ha"))
    run.report(Report(info=reached()))
    world.let_pass(run, 10)
    assert {topic for topic in broker.retained if topic.endswith("/config")} == {
        "ha/device/psu_E36313A_MY61004803/config",
        "ha/device/psu-agent_bench3/config",
    }


def test_a_unit_that_another_agent_has_taken_over_is_left_to_it(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    theirs = broker.retained[UNIT].replace(b"psu-agent_bench3", b"psu-agent_bench4")
    broker.retained[UNIT] = theirs
    run, broker = world.run({})
    assert UNIT in run.subscriptions
    assert run.handle(Incoming(topic=UNIT, payload=theirs, retain=True, dup=False))
    world.let_pass(run, 60)
    assert broker.retained[UNIT] == theirs


def test_an_entity_that_is_gone_is_named_bare_from_then_on(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    info = reached()
    poor = [channel.model_copy(update={"fields": ["state", "voltage_limit"]}) for channel in info.channels]
    for _ in range(2):
        run, broker = world.run()
        run.report(Report(info=info.model_copy(update={"channels": poor})))
        assert components(broker)["ch1_current_limit"] == {"platform": "number"}
    run, broker = world.run()
    run.report(Report(info=reached()))
    assert components(broker)["ch1_current_limit"]["max"] == 10.3, "it may come back"


def telling(*tells: str) -> UnitInfo:
    """The unit while its channels tell only these."""
    info = reached()
    return info.model_copy(
        update={"channels": [channel.model_copy(update={"tells": list(tells)}) for channel in info.channels]}
    )


def test_a_sensor_goes_with_what_a_channel_tells(world: World) -> None:
    """A connection with another firmware, or with the next version of a series file, may tell more or less."""
    run, broker = world.run()
    run.report(Report(info=telling("voltage", "current", "mode")))
    assert components(broker)["ch1_mode"]["name"] == "CH1 mode"
    run.report(Report(info=telling("voltage", "current")))
    assert components(broker)["ch1_mode"] == {"platform": "sensor"}
    assert "name" in components(broker)["ch1_voltage"]
    run.report(Report(info=telling("voltage", "current", "mode")))
    assert components(broker)["ch1_mode"]["name"] == "CH1 mode", "it may come back"


@pytest.mark.parametrize("model", ["E36313A", None])
def test_a_unit_that_is_away_at_the_start_offers_what_it_told_before(world: World, model: str | None) -> None:
    """Nobody knows yet what it tells: all its sensors would come, and go again with the connection."""
    run, broker = world.run()
    run.report(Report(info=telling("voltage")))
    payload = broker.retained[UNIT]
    assert b"ch1_mode" not in payload
    run, broker = world.run()
    broker.told.clear()
    run.report(Report(info=unreached(model=model)))
    assert broker.told == [(UNIT, payload)]
    run.report(Report(info=telling("voltage")))
    assert broker.retained[UNIT] == payload


def test_birth_and_broker(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    broker.told.clear()
    assert run.handle(birth(retain=True))
    assert broker.told == [], "it is old news"
    assert run.handle(birth())
    assert {topic for topic, _ in broker.told} == {AGENT, UNIT}
    assert run.handle(birth(payload=b"offline"))
    assert not run.handle(birth(topic="psu/psu1/1/set"))
    run, _ = world.run(settings=Settings(discovery_prefix="ha"))
    assert {"ha/status", "homeassistant/status"} <= set(run.subscriptions)


def test_home_assistant_that_missed_a_removal_is_told_when_it_starts(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    run, broker = world.run({})
    world.let_pass(run, 10)
    run, broker = world.run({})
    world.let_pass(run, 10)
    assert (UNIT, b"") not in broker.told, "it has been cleared"
    run.handle(birth())
    placeholder = json.loads(broker.retained[UNIT])
    assert placeholder["components"]["ch1_state"]["unique_id"] == "psu_E36313A_MY61004803_ch1_state"
    assert {c["command_topic"] for c in placeholder["components"].values()} == {"psu/agents/bench3/nowhere"}
    run.handle(Incoming(topic=UNIT, payload=broker.retained[UNIT], retain=True, dup=False))
    world.let_pass(run, 10)
    assert broker.devices == {AGENT}
    broker.told.clear()
    run.handle(birth())
    assert {topic for topic, _ in broker.told} == {AGENT}, "once is enough"
    assert set(world.store.records) == {AGENT}


def test_home_assistant_that_saw_a_removal_is_not_told_again(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    world.let_pass(run, 3)
    run.handle(birth())
    run.report(Report(info=reached(serial="MY2")))
    world.let_pass(run, 10)
    broker.told.clear()
    run.handle(birth())
    assert UNIT not in {topic for topic, _ in broker.told}


def test_two_units_with_one_serial_number_are_two_devices(world: World, caplog: pytest.LogCaptureFixture) -> None:
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.report(Report(info=reached(psu="a")))
    run.report(Report(info=reached(psu="b", uri="ASRL1::INSTR")))
    assert broker.devices == {AGENT, UNIT, "homeassistant/device/psu-agent_bench3_b/config"}
    assert "MY61004803" in caplog.text
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.report(Report(info=reached(psu="a")))
    run.report(Report(info=unreached(psu="b", uri="ASRL1::INSTR")))
    world.let_pass(run, 60)
    assert len(broker.devices) == 3, "the second one keeps its device while it is off"


def test_a_unit_that_is_off_is_not_taken_for_the_one_that_was_at_its_address(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.report(Report(info=reached(psu="b", uri="ASRL1::INSTR")))
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.report(Report(info=reached(psu="a")))
    run.report(Report(info=unreached(psu="b", uri="ASRL1::INSTR")))
    world.let_pass(run, 60)
    assert broker.devices == {AGENT, UNIT}
    assert components(broker)["off"]["command_topic"] == "psu/a/set/state"
    assert "serial number" not in caplog.text


def test_energy_is_told_when_it_is_saved(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))

    def told() -> float:
        return float(json.loads(broker.retained["psu/psu1/1/homeassistant"])["energy"])

    run.report(Report(states=[state(energy=1.0)]))
    assert told() == 0.0
    run.saved({"psu1": {1: (1.2, 0.3)}})
    run.report(Report(states=[state(energy=1.3, state=False)]))
    assert told() == 1.2
    run.report(Report(states=[state(energy=1.1, state=True)]))
    assert told() == 1.1, "what was saved is of another meter then"
    world.meters = {"psu1": {1: (1.2, 0.3)}}
    run, broker = world.run()
    run.report(Report(info=reached()))
    run.report(Report(states=[state(energy=1.2)]))
    assert told() == 1.2, "no zero after a restart"


def test_a_record_of_another_version_is_cleared(world: World) -> None:
    run, broker = world.run()
    run.report(Report(info=reached()))
    world.store.remember(UNIT, '{"platforms": 7}')
    run, broker = world.run({})
    world.let_pass(run, 10)
    assert broker.devices == {AGENT}


def test_an_agent_and_a_broker(make_bench: Callable[..., Bench]) -> None:
    """From an instrument to the topics of discovery, and from a birth message back to them."""
    bench = make_bench(homeassistant=True)
    watcher = bench.observer
    serial = bench.simulator.instrument.serial
    topic = f"homeassistant/device/psu_E36313A_{serial}/config"
    payload = watcher.wait(topic)
    assert payload["device"]["serial_number"] == serial
    field = payload["components"]["ch2_voltage_limit"]["command_topic"]
    watcher.send(field, "2.5")
    shown = payload["components"]["ch2_voltage_limit"]["state_topic"]
    watcher.wait(shown, lambda state: state["voltage_limit"] == 2.5)
    after = watcher.mark()
    watcher.send("homeassistant/status", "online")
    assert watcher.wait(topic, after=after) == payload
    polls = len(watcher.states("psu1"))
    watcher.wait("psu/psu1/1/state", lambda state: state["seq"] > polls + 20)
    assert len([m for m in watcher.on(shown) if not m.retain]) < 5

    del bench.data["settings"]["homeassistant"]
    bench.stop()
    bench.start()
    wait_until(lambda: [m for m in watcher.on(topic) if not m.payload], "the device is cleared")
    wait_until(lambda: [m for m in watcher.on(shown) if not m.payload], "its state is cleared")

"""When Home Assistant is told what: over restarts, renames, removals and lost brokers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import HomeAssistantSettings
from agent.homeassistant import discovery
from agent.homeassistant.discovery import Discovery
from agent.mqtt.broker import Incoming
from agent.protocol.messages import ChannelState, Event, Response, UnitInfo, utc_now
from agent.protocol.report import ReplyTo as Reply
from agent.protocol.topics import Topics
from agent.store.spool import Spool
from agent.unit.meters import Meter
from tests.lab import Bench, wait_until
from tests.test_homeassistant import agent_info, unit_info

URI = "TCPIP::192.168.50.51::inst0::INSTR"
UNIT = "homeassistant/device/psu_E36313A_MY61004803/config"
AGENT = "homeassistant/device/psu-agent_bench3/config"
TOPICS = Topics("psu")


class Broker:
    """What a broker would have retained, and what it was told."""

    congested = False

    def __init__(self, retained: dict[str, bytes] | None = None) -> None:
        self.retained = {} if retained is None else retained
        self.told: list[tuple[str, bytes]] = []
        self.gone_since: float | None = None

    def keep(self, topic: str, payload: bytes) -> None:
        self.told.append((topic, payload))
        self.retained[topic] = payload
        if not payload:
            del self.retained[topic]

    def owes(self, topic: str) -> bool:
        del topic
        return self.gone_since is not None

    def states(self, states: list[ChannelState]) -> None: ...
    def event(self, event: Event) -> None: ...
    def flush(self) -> None: ...
    def response(self, response: Response, reply: Reply) -> None: ...
    def unit(self, info: UnitInfo) -> None: ...

    @property
    def devices(self) -> set[str]:
        return {topic for topic in self.retained if topic.startswith("homeassistant/device/")}


class World:
    """One run of an agent after the other, on one state directory and one broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.retained: dict[str, bytes] = {}
        self.spool: Spool | None = None
        self.now = time.monotonic()

    def run(
        self,
        units: dict[str, str] | None = None,
        settings: HomeAssistantSettings | None = HomeAssistantSettings(),  # noqa: B008
    ) -> tuple[Discovery, Broker]:
        """Start anew with these units, name → address."""
        if self.spool is not None:
            self.spool.close()
        self.spool = Spool(self.folder / "bench3.sqlite3", 10)
        broker = Broker(self.retained)
        found = Discovery(
            settings,
            agent=agent_info(),
            units={"psu1": URI} if units is None else units,
            topics=TOPICS,
            spool=self.spool,
            publisher=broker,
        )
        found.start()
        self.now = time.monotonic()
        return found, broker

    def let_pass(self, run: Discovery, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            run.tick(self.now)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    if found.spool is not None:
        found.spool.close()


def unreached(**changes: Any) -> UnitInfo:
    return unit_info(manufacturer=None, serial=None, firmware=None).model_copy(update={"uri": URI, **changes})


def reached(**changes: Any) -> UnitInfo:
    return unit_info().model_copy(update={"uri": URI, **changes})


def state(**changes: Any) -> ChannelState:
    values = {"online": True, "state": True, "voltage": 5.0, "current": 0.1, "power": 0.5, "energy": 1.0, "charge": 0.2}
    return ChannelState(
        time=utc_now(), seq=1, agent="bench3", psu="psu1", index=1, name="CH1", model="E36313A", **{**values, **changes}
    )


def birth(topic: str = "homeassistant/status", payload: bytes = b"online", retain: bool = False) -> Incoming:
    return Incoming(topic=topic, payload=payload, retain=retain, dup=False)


def components(broker: Broker, topic: str = UNIT) -> dict[str, Any]:
    return dict(json.loads(broker.retained[topic])["components"])


def test_a_unit_is_offered_once_it_has_said_who_it_is(world: World) -> None:
    run, broker = world.run()
    assert broker.devices == {AGENT}
    run.unit(unreached())
    assert broker.devices == {AGENT}
    run.unit(reached())
    assert broker.devices == {AGENT, UNIT}
    before = len(broker.told)
    run.unit(reached(online=False, reason="gone"))
    assert len(broker.told) == before, "what did not change is not published again"


def test_a_unit_that_is_off_when_the_agent_starts_keeps_its_device(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    payload = broker.retained[UNIT]
    world.retained = {}  # a broker without persistence
    run, broker = world.run()
    run.unit(unreached())
    assert broker.retained[UNIT] == payload
    world.let_pass(run, 60)
    assert broker.devices == {AGENT, UNIT}


def test_a_series_in_the_configuration_keeps_the_model_that_was_found(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    payload = broker.retained[UNIT]
    run, broker = world.run()
    run.unit(unreached(model=None, channels=[]))
    assert broker.retained[UNIT] == payload


@pytest.mark.parametrize("is_reached_at_once", [True, False])
def test_a_new_name_keeps_topic_and_unique_ids(world: World, is_reached_at_once: bool) -> None:
    run, broker = world.run()
    run.unit(reached())
    run.states([state()])
    ids = {component["unique_id"] for component in components(broker).values()}
    run, broker = world.run({"left": URI})
    run.unit((reached if is_reached_at_once else unreached)(psu="left"))
    world.let_pass(run, 60)
    assert broker.devices == {AGENT, UNIT}
    assert {component["unique_id"] for component in components(broker).values()} == ids
    assert components(broker)["ch1_state"]["command_topic"] == "psu/left/1/set/state"
    assert "psu/psu1/1/homeassistant" not in broker.retained


def test_a_new_name_and_a_new_address_are_recognised_by_the_serial_number(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    run, broker = world.run({"left": "USB0::1::2::3::INSTR"})
    run.unit(unreached(psu="left", uri="USB0::1::2::3::INSTR"))
    world.let_pass(run, 5)
    assert (UNIT, b"") not in broker.told, "it is not cleared before the unit could say who it is"
    run.unit(reached(psu="left", uri="USB0::1::2::3::INSTR"))
    world.let_pass(run, 60)
    assert (UNIT, b"") not in broker.told
    assert components(broker)["ch1_state"]["command_topic"] == "psu/left/1/set/state"


def test_two_units_that_change_names_are_told_apart(world: World) -> None:
    other = {"serial": "MY2", "uri": "ASRL1::INSTR"}
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.unit(reached(psu="a"))
    run.unit(reached(psu="b", **other))
    run, broker = world.run({"b": URI, "a": "ASRL1::INSTR"})
    run.unit(unreached(psu="b"))
    run.unit(unreached(psu="a", uri="ASRL1::INSTR"))
    assert components(broker)["off"]["command_topic"] == "psu/b/set/state"
    run.unit(reached(psu="b"))
    run.unit(reached(psu="a", **other))
    world.let_pass(run, 60)
    assert components(broker)["off"]["command_topic"] == "psu/b/set/state"
    assert len(broker.devices) == 3
    assert not [topic for topic, payload in broker.told if not payload]


def test_another_unit_in_its_place_comes_after_it_has_gone(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    run.unit(reached(serial="MY2"))
    assert broker.devices == {AGENT}
    world.let_pass(run, discovery.SETTLING + discovery.SUCCESSION + 1)
    assert broker.devices == {AGENT, "homeassistant/device/psu_E36313A_MY2/config"}


def test_a_unit_that_went_while_the_agent_was_down_is_cleared(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    run.states([state()])
    assert "psu/psu1/1/homeassistant" in broker.retained
    run, broker = world.run({})
    world.let_pass(run, discovery.SETTLING - 0.5)
    assert UNIT in broker.devices
    world.let_pass(run, 10)
    assert broker.devices == {AGENT}
    assert "psu/psu1/1/homeassistant" not in broker.retained


def test_a_removal_waits_for_the_broker(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    run, broker = world.run({})
    broker.gone_since = 1.0
    world.let_pass(run, 60)
    assert UNIT in broker.devices
    broker.gone_since = None
    world.let_pass(run, 60)
    assert broker.devices == {AGENT}


@pytest.mark.parametrize("prefix", ["homeassistant", "ha/lab"])
def test_without_the_section_all_is_cleared(world: World, prefix: str) -> None:
    run, broker = world.run(settings=HomeAssistantSettings(discovery_prefix=prefix))
    run.unit(reached())
    assert f"{prefix}/device/psu_E36313A_MY61004803/config" in broker.retained
    run, broker = world.run(settings=None)
    assert f"{prefix}/status" in run.subscriptions
    world.let_pass(run, 10)
    assert broker.retained == {}


def test_another_prefix_clears_the_first(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    run, broker = world.run(settings=HomeAssistantSettings(discovery_prefix="ha"))
    run.unit(reached())
    world.let_pass(run, 10)
    assert {topic for topic in broker.retained if topic.endswith("/config")} == {
        "ha/device/psu_E36313A_MY61004803/config",
        "ha/device/psu-agent_bench3/config",
    }


def test_a_unit_that_another_agent_has_taken_over_is_left_to_it(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    theirs = broker.retained[UNIT].replace(b"psu-agent_bench3", b"psu-agent_bench4")
    broker.retained[UNIT] = theirs
    run, broker = world.run({})
    assert UNIT in run.subscriptions
    assert run.handle(Incoming(topic=UNIT, payload=theirs, retain=True, dup=False))
    world.let_pass(run, 60)
    assert broker.retained[UNIT] == theirs


def test_an_entity_that_is_gone_is_named_bare_from_then_on(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    info = reached()
    poor = [channel.model_copy(update={"fields": ["state", "voltage_limit"]}) for channel in info.channels]
    for _ in range(2):
        run, broker = world.run()
        run.unit(info.model_copy(update={"channels": poor}))
        assert components(broker)["ch1_current_limit"] == {"platform": "number"}
    run, broker = world.run()
    run.unit(reached())
    assert components(broker)["ch1_current_limit"]["max"] == 10.3, "it may come back"


def test_birth_and_broker(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    broker.told.clear()
    assert run.handle(birth(retain=True))
    assert broker.told == [], "it is old news"
    assert run.handle(birth())
    assert {topic for topic, _ in broker.told} == {AGENT, UNIT}
    assert run.handle(birth(payload=b"offline"))
    assert not run.handle(birth(topic="psu/psu1/1/set"))
    run, _ = world.run(settings=HomeAssistantSettings(discovery_prefix="ha"))
    assert {"ha/status", "homeassistant/status"} <= set(run.subscriptions)


def test_home_assistant_that_missed_a_removal_is_told_when_it_starts(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    run, broker = world.run({})
    world.let_pass(run, 10)
    run, broker = world.run({})
    world.let_pass(run, 10)
    assert (UNIT, b"") not in broker.told, "it has been cleared"
    run.handle(birth())
    ghost = json.loads(broker.retained[UNIT])
    assert ghost["components"]["ch1_state"]["unique_id"] == "psu_E36313A_MY61004803_ch1_state"
    assert {c["command_topic"] for c in ghost["components"].values()} == {"psu/agents/bench3/nowhere"}
    run.handle(Incoming(topic=UNIT, payload=broker.retained[UNIT], retain=True, dup=False))
    world.let_pass(run, 10)
    assert broker.devices == {AGENT}
    broker.told.clear()
    run.handle(birth())
    assert {topic for topic, _ in broker.told} == {AGENT}, "once is enough"
    assert world.spool is not None
    assert set(world.spool.discovered()) == {AGENT}


def test_home_assistant_that_saw_a_removal_is_not_told_again(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    world.let_pass(run, 3)
    run.handle(birth())
    run.unit(reached(serial="MY2"))
    world.let_pass(run, 10)
    broker.told.clear()
    run.handle(birth())
    assert UNIT not in {topic for topic, _ in broker.told}


def test_two_units_with_one_serial_number_are_two_devices(world: World, caplog: pytest.LogCaptureFixture) -> None:
    run, broker = world.run({"a": URI, "b": "ASRL1::INSTR"})
    run.unit(reached(psu="a"))
    run.unit(reached(psu="b", uri="ASRL1::INSTR"))
    assert broker.devices == {AGENT, UNIT, "homeassistant/device/psu-agent_bench3_b/config"}
    assert "MY61004803" in caplog.text


def test_energy_is_told_when_it_is_saved(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())

    def told() -> float:
        return float(json.loads(broker.retained["psu/psu1/1/homeassistant"])["energy"])

    run.states([state(energy=1.0)])
    assert told() == 0.0
    run.saved({"psu1": {1: Meter(1.2, 0.3)}})
    run.states([state(energy=1.3, state=False)])
    assert told() == 1.2
    run.states([state(energy=1.1, state=True)])
    assert told() == 1.1, "what was saved is of another meter then"
    assert world.spool is not None
    world.spool.save_meters({"psu1": {1: Meter(1.2, 0.3)}})
    run, broker = world.run()
    run.unit(reached())
    run.states([state(energy=1.2)])
    assert told() == 1.2, "no zero after a restart"


def test_a_record_of_another_version_is_cleared(world: World) -> None:
    run, broker = world.run()
    run.unit(reached())
    assert world.spool is not None
    world.spool.remember_discovered(UNIT, '{"platforms": 7}')
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

"""Units, configuration, broker and Home Assistant change at random: in the end its devices are the units that there are."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from agent.homeassistant.outlet import HomeAssistantOutlet
from agent.mqtt.incoming import Incoming
from agent.protocol.messages import UnitInfo
from agent.protocol.report import Report
from tests.homeassistant.fakes import AGENT, Broker, World
from tests.homeassistant.units import state, unit_info, unreached
from tests.properties import FUZZ

ADDRESSES = ("ASRL1::INSTR", "ASRL2::INSTR", "ASRL3::INSTR")
CONFIGURATIONS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(ADDRESSES), max_size=3).filter(
    lambda units: len(set(units.values())) == len(units)
)
NAMES = st.sampled_from(["a", "b", "c"])


class DiscoveryStates(RuleBasedStateMachine):
    """A unit is what it is by its serial number; names and addresses change around it."""

    run: HomeAssistantOutlet
    broker: Broker

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.units: dict[str, str] = {}
        self.serials = dict(zip(ADDRESSES, ("MY1", "MY2", "MY3"), strict=True))

    def info(self, name: str, *, live: bool) -> UnitInfo:
        address = self.units[name]
        if live:
            return unit_info(psu=name, uri=address, serial=self.serials[address])
        return unreached(psu=name, uri=address)

    @initialize(units=CONFIGURATIONS)
    def begin(self, units: dict[str, str]) -> None:
        """The first start."""
        self.restart(units)

    @rule(units=CONFIGURATIONS)
    def restart(self, units: dict[str, str]) -> None:
        """The agent ends and starts with another configuration; the broker keeps what is retained."""
        self.units = units
        self.run, self.broker = self.world.run(units)
        for name in units:
            self.run.report(Report(info=self.info(name, live=False)))

    @rule(units=CONFIGURATIONS)
    def reload(self, units: dict[str, str]) -> None:
        """The configuration is read again: units that changed start anew, the others notice nothing."""
        changed = [name for name, address in units.items() if self.units.get(name) != address]
        self.units = units
        self.run.serve(units)
        for name in changed:
            self.run.report(Report(info=self.info(name, live=False)))

    @rule(addresses=st.permutations(ADDRESSES))
    def move(self, addresses: list[str]) -> None:
        """Somebody plugs the units in elsewhere."""
        self.serials = dict(zip(addresses, sorted(self.serials.values()), strict=True))

    @precondition(lambda self: self.units)
    @rule(name=NAMES)
    def reach(self, name: str) -> None:
        """A unit answers, and is polled."""
        if name in self.units:
            self.run.report(Report(states=[state(psu=name)]))
            self.run.report(Report(info=self.info(name, live=True)))
            self.run.report(Report(states=[state(psu=name)]))

    @rule(seconds=st.sampled_from([0.25, 2.5, 6.0, 40.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.let_pass(self.run, seconds)

    @rule(is_there=st.booleans())
    def lose_or_find_the_broker(self, is_there: bool) -> None:
        """The connection is lost, or made again."""
        self.broker.gone_since = None if is_there else self.world.now

    @precondition(lambda self: self.broker.gone_since is None)
    @rule(payload=st.sampled_from([b"online", b"offline"]))
    def home_assistant(self, payload: bytes) -> None:
        """Home Assistant starts or stops."""
        self.run.handle(Incoming(topic="homeassistant/status", payload=payload, retain=False, dup=False))
        for topic in self.run.subscriptions:
            if topic in self.broker.retained:
                self.run.handle(Incoming(topic=topic, payload=self.broker.retained[topic], retain=False, dup=False))

    def teardown(self) -> None:
        """In peace: every unit is there, and Home Assistant starts once more."""
        if not hasattr(self, "run"):
            return
        self.broker.gone_since = None
        for _ in range(2):
            for name in self.units:
                self.reach(name)
            self.wait(60.0)
            self.home_assistant(b"online")
        self.wait(60.0)
        expected = {
            f"homeassistant/device/psu_E36313A_{self.serials[address]}/config": name
            for name, address in self.units.items()
        }
        assert self.broker.devices == {AGENT, *expected}
        assert set(self.world.store.records) == self.broker.devices
        for topic, name in expected.items():
            payload = json.loads(self.broker.retained[topic])
            assert payload["device"]["name"] == name
            assert payload["components"]["off"]["command_topic"] == f"psu/{name}/set/state"
            assert payload["components"]["ch1_state"]["state_topic"] == f"psu/{name}/1/homeassistant"
        assert not any(b"/nowhere" in payload for payload in self.broker.retained.values()), "no placeholder is left"
        shown = {topic for topic in self.broker.retained if topic.endswith("/homeassistant")}
        assert shown == {f"psu/{name}/1/homeassistant" for name in self.units}


TestDiscoveryStates = DiscoveryStates.TestCase
TestDiscoveryStates.settings = settings(max_examples=FUZZ or 60, stateful_step_count=20, deadline=None, database=None)


def test_a_unit_that_waits_for_its_topic_goes_with_its_configuration() -> None:
    states = DiscoveryStates()
    states.restart(units={"a": ADDRESSES[0]})
    states.reach(name="a")
    states.reload(units={"a": ADDRESSES[1]})
    states.reach(name="a")
    states.reload(units={})
    states.teardown()


def test_units_that_changed_places_take_their_own_topics() -> None:
    states = DiscoveryStates()
    states.restart(units={"a": ADDRESSES[0], "b": ADDRESSES[1]})
    states.reach(name="a")
    states.move(addresses=[ADDRESSES[1], ADDRESSES[0], ADDRESSES[2]])
    states.reach(name="b")
    states.reach(name="a")
    states.teardown()


def test_a_unit_that_got_another_address_and_went_before_it_answered_is_cleared() -> None:
    states = DiscoveryStates()
    states.restart(units={"a": ADDRESSES[0], "b": ADDRESSES[1]})
    states.reach(name="a")
    states.reach(name="b")
    states.reload(units={"a": ADDRESSES[1]})
    states.reload(units={})
    states.teardown()


def test_the_states_of_a_unit_that_waits_for_its_topic_are_kept() -> None:
    states = DiscoveryStates()
    states.restart(units={"b": ADDRESSES[0]})
    states.lose_or_find_the_broker(is_there=False)
    states.reach(name="b")
    states.move(addresses=[ADDRESSES[1], ADDRESSES[0], ADDRESSES[2]])
    states.reach(name="b")
    states.wait(seconds=6.0)
    states.teardown()


def test_a_unit_that_goes_while_it_is_a_placeholder_takes_its_states_with_it() -> None:
    states = DiscoveryStates()
    states.restart(units={"a": ADDRESSES[1]})
    states.reach(name="a")
    states.move(addresses=[ADDRESSES[0], ADDRESSES[2], ADDRESSES[1]])
    states.reach(name="a")
    states.home_assistant(payload=b"online")
    states.reload(units={"a": ADDRESSES[0]})
    states.reload(units={})
    states.teardown()

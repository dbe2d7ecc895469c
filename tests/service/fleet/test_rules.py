"""Who serves a unit, whatever happens: agents on a simulated broker, with losses, deaths and pauses in any order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.unit.standing import Part
from tests.properties import examples
from tests.service.fleet.world import Agent, Unit, World

A_SUPPLY, ANOTHER, A_THIRD = "SN111", "SN222", "SN333"


def units_of(name: str) -> list[Unit]:
    """`a` and `b` have one supply under one name; `b` and `c` one under two names; `c` has the name again for another supply."""
    return {
        "a": [Unit("psu1", A_SUPPLY, "TCPIP::10.0.0.1::INSTR")],
        "b": [Unit("psu1", A_SUPPLY, "TCPIP::10.0.0.1::INSTR"), Unit("psu2", ANOTHER, "TCPIP::10.0.0.2::INSTR")],
        "c": [Unit("psu1", A_THIRD, "TCPIP::10.0.0.3::INSTR"), Unit("psu3", ANOTHER, "TCPIP::10.0.0.2::INSTR")],
    }[name]


NAMES = st.sampled_from("abc")


@examples(120)
class FleetMachine(RuleBasedStateMachine):
    """Messages arrive one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.running: dict[str, Agent] = {}

    @initialize(names=st.permutations("abc"), count=st.integers(0, 3))
    def begin(self, names: list[str], count: int) -> None:
        for name in names[:count]:
            self.start(name, is_reachable=True)
            self.settle()

    @rule(name=NAMES, is_reachable=st.booleans())
    def start(self, name: str, is_reachable: bool) -> None:
        if name in self.running:
            self.kill(name)
        agent = self.running[name] = self.world.start(name, *units_of(name))
        for unit in agent.units.values():
            unit.is_reachable = is_reachable
        agent.work()
        agent.connect()

    @rule(name=NAMES)
    def kill(self, name: str) -> None:
        if name in self.running:
            self.world.kill(self.running.pop(name))

    @rule(name=NAMES, count=st.integers(1, 12), is_in=st.booleans())
    def step(self, name: str, count: int, is_in: bool) -> None:
        for _ in range(count if name in self.running else 0):
            agent = self.running[name]
            if is_in:
                agent.receive_one()
            else:
                agent.send_one()
            agent.work()
            self.world.check()

    @rule()
    def flow(self) -> None:
        self.settle()

    def settle(self) -> None:
        for _ in range(5):
            self.world.flow()
            self.world.check()
            for agent in self.running.values():
                agent.work()

    @rule(seconds=st.sampled_from([1.0, 6.0, 15.0, 31.0]), is_heard=st.booleans())
    def pause(self, seconds: float, is_heard: bool) -> None:
        """``is_heard``: all that is connected hears the broker meanwhile; else nothing arrives."""
        if not is_heard:
            self.world.clock.now += seconds
            for agent in self.running.values():
                agent.tick()
            return
        end = self.world.clock.now + seconds
        while self.world.clock.now < end:
            self.world.wait(1.0)
            self.settle()

    @rule(name=NAMES, seconds=st.integers(0, 40))
    def cut(self, name: str, seconds: int) -> None:
        """The agent does not notice until it connects again. The others go on."""
        if name in self.running:
            self.running[name].cut()
            self.pause(float(seconds), is_heard=True)

    @rule(name=NAMES)
    def connect_again(self, name: str) -> None:
        if name in self.running:
            self.running[name].disconnect()
            self.running[name].connect()

    @rule(name=NAMES, number=st.integers(0, 1), is_reachable=st.booleans())
    def change_link(self, name: str, number: int, is_reachable: bool) -> None:
        if name in self.running:
            units = list(self.running[name].units.values())
            units[number % len(units)].is_reachable = is_reachable
            self.running[name].work()

    @invariant()
    def nobody_sets_what_another_one_sets(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        """When all can talk again, every unit is served by somebody, and the others say by whom."""
        world = self.world
        for agent in world.agents:
            if agent not in world.broker.clients:
                agent.disconnect()
                agent.connect()
        for _ in range(6):
            for _, unit in world.places():
                unit.is_reachable = True
            self.settle()
            world.wait(45.0)
            world.check()
        places = list(world.places())
        for agent, unit in places:
            standing = agent.standings[unit.name]
            assert standing.part in (Part.SERVES, Part.YIELDS_NAME, Part.YIELDS_SUPPLY), standing
            if standing.yields:
                assert any(
                    other.serves(its.name) and (its.name == unit.name or its.serial == unit.serial)
                    for other, its in places
                    if other is not agent
                ), f"nobody serves {unit.name} of {agent.name}: {standing}"


TestFleet = FleetMachine.TestCase

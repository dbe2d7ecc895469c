"""Who serves a unit, whatever happens: agents on a simulated broker, with losses, deaths and pauses in any order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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

    @precondition(lambda self: len(self.running) < 3)
    @rule(name=NAMES, online=st.booleans())
    def start(self, name: str, online: bool) -> None:
        if name in self.running:
            return
        agent = self.running[name] = self.world.start(name, *units_of(name))
        for unit in agent.units:
            agent.report_unit(unit, online=online)
        agent.connect()

    @rule(name=NAMES)
    def kill(self, name: str) -> None:
        if name in self.running:
            self.world.kill(self.running.pop(name))

    @rule(name=NAMES, count=st.integers(1, 8))
    def send(self, name: str, count: int) -> None:
        for _ in range(count if name in self.running else 0):
            self.running[name].send_one()

    @rule(name=NAMES, count=st.integers(1, 8))
    def receive(self, name: str, count: int) -> None:
        for _ in range(count if name in self.running else 0):
            self.running[name].receive_one()
            self.world.check()

    @rule()
    def flow(self) -> None:
        self.world.flow()

    @rule(seconds=st.sampled_from([0.5, 2.5, 6.0, 15.0, 31.0, 60.0]), hears=st.booleans())
    def pause(self, seconds: float, hears: bool) -> None:
        if hears:
            self.world.wait(seconds)
        else:  # nothing arrives meanwhile
            self.world.clock.now += seconds
            for agent in self.running.values():
                agent.tick()

    @rule(name=NAMES)
    def ping(self, name: str) -> None:
        if name in self.running:
            self.running[name].ping()

    @rule(name=NAMES)
    def cut(self, name: str) -> None:
        if name in self.running:
            self.running[name].cut()

    @rule(name=NAMES)
    def connect_again(self, name: str) -> None:
        if name in self.running:
            self.running[name].disconnect()
            self.running[name].connect()

    @rule(name=NAMES, number=st.integers(0, 1), online=st.booleans())
    def change_link(self, name: str, number: int, online: bool) -> None:
        if name in self.running:
            agent = self.running[name]
            agent.report_unit(list(agent.units)[number % len(agent.units)], online=online)

    @rule()
    def restart_broker(self) -> None:
        """With all that it keeps."""
        for agent in self.running.values():
            agent.cut()

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
        world.flow()
        world.wait(5.0)
        for _ in range(6):
            for agent, unit in world.places():
                agent.report_unit(unit.name, online=True)
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

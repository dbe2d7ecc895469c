"""Who serves a unit, whatever happens: agents on a simulated broker, with losses, deaths and pauses in any order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


class Story:
    """Messages arrive one by one, agents come and go, links break."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.running: dict[str, Agent] = {}

    def tell(self, steps: int) -> None:
        """Do so many things by chance; after each, and after each message, nobody sets what another one sets."""
        names = self.random.sample("abc", 3)
        for name in names[: self.random.randint(0, 3)]:
            self.start(name, is_reachable=True)
            self.settle()
        for _ in range(steps):
            self.do(self.random.choice("abc"), self.random)
            self.world.check()
        self.end()

    def do(self, name: str, random: random.Random) -> None:
        """Do one thing."""
        match random.randrange(8):
            case 0:
                self.start(name, is_reachable=random.random() < 0.7)
            case 1:
                self.kill(name)
            case 2:
                self.step(name, random.randint(1, 12), is_in=random.random() < 0.5)
            case 3:
                self.settle()
            case 4:
                self.pause(random.choice([1.0, 6.0, 15.0, 31.0]), is_heard=random.random() < 0.5)
            case 5:
                self.cut(name, random.randint(0, 40))
            case 6:
                self.connect_again(name)
            case 7:
                self.change_link(name, random.randint(0, 1), is_reachable=random.random() < 0.7)

    def start(self, name: str, is_reachable: bool) -> None:
        if name in self.running:
            self.kill(name)
        agent = self.running[name] = self.world.start(name, *units_of(name))
        for unit in agent.units.values():
            unit.is_reachable = is_reachable
        agent.work()
        agent.connect()

    def kill(self, name: str) -> None:
        if name in self.running:
            self.world.kill(self.running.pop(name))

    def step(self, name: str, count: int, is_in: bool) -> None:
        for _ in range(count if name in self.running else 0):
            agent = self.running[name]
            if is_in:
                agent.receive_one()
            else:
                agent.send_one()
            agent.work()
            self.world.check()

    def settle(self) -> None:
        for _ in range(5):
            self.world.flow()
            self.world.check()
            for agent in self.running.values():
                agent.work()

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

    def cut(self, name: str, seconds: int) -> None:
        """The agent does not notice until it connects again. The others go on."""
        if name in self.running:
            self.running[name].cut()
            self.pause(float(seconds), is_heard=True)

    def connect_again(self, name: str) -> None:
        if name in self.running:
            self.running[name].disconnect()
            self.running[name].connect()

    def change_link(self, name: str, number: int, is_reachable: bool) -> None:
        if name in self.running:
            units = list(self.running[name].units.values())
            units[number % len(units)].is_reachable = is_reachable
            self.running[name].work()

    def end(self) -> None:
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


# The suite tells the same stories in each run. One in some thousands breaks a rule by faults that meet within a second:
# docs/decisions/0016-who-serves.md, "A known hole". `make fuzz` goes on looking.
@examples(120, are_fixed=True)
@given(st.integers(0, 2**32))
def test_nobody_sets_what_another_one_sets_and_in_the_end_all_is_served(seed: int) -> None:
    """A random generator tells the story: the search of hypothesis finds these faults a hundred times more rarely."""
    Story(seed).tell(40)


@pytest.mark.parametrize("seed", [7000301, 7001641, 7002107, 1372173, 12003227])
def test_stories_that_once_broke_a_rule(seed: int) -> None:
    """A claim came ahead of its author's status, and counted as one of nobody; two gave way to each other at one moment; a link
    died while an agent came back, and the time without a broker counted from there."""
    Story(seed).tell(40)

"""Several agents on one broker, all simulated: every message, every loss and every second is a step of the test's.

The broker is one that tells all its clients the same order, unless the test takes messages out of turn.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Serializable
from agent.protocol.messages import AgentInfo, UnitInfo, utc_now
from agent.protocol.report import Report
from agent.protocol.topics import AgentTopic, Topics, UnitTopic
from agent.service.fleet.coordinator import Coordinator
from agent.service.fleet.outlet import FleetOutlet, Origin
from agent.service.fleet.own import UNDECIDED
from agent.unit.standing import Part, Standing

TAKEOVER_AFTER, SETTINGS_FOR = 30.0, 20.0
TOPICS = Topics("psu")

#: A message on its way: topic, payload, the retain flag. `_PING` and `_ACK` are topics of no message.
Message = tuple[str, bytes, bool]
_PING, _ACK = "ping", "ack"


@dataclass
class Clock:
    """The time of all hosts."""

    now: float = 1000.0


@dataclass
class Unit:
    """A unit as it is configured: its name, the serial number of its supply, and where this is."""

    name: str
    serial: str
    uri: str
    takeover: str = "auto"
    pinned: str | None = None
    is_reachable: bool = False  # for `Agent.work`
    is_known: bool = False
    is_online: bool = False

    def info(self, agent: str) -> UnitInfo:
        known = {"manufacturer": "Maker", "model": "M1", "serial": self.serial, "firmware": "1"}
        return UnitInfo(
            time=utc_now(), agent=agent, psu=self.name, online=self.is_online, reason=None if self.is_online else "no answer",
            uri=self.uri, poll_interval=1.0, channels=[],
            **(known if self.is_known else dict.fromkeys(known)),
        )  # fmt: skip


@dataclass
class Configured:
    """The part that the coordinator reads of a unit's configuration."""

    name: str
    takeover: str
    serial: str | None


class Broker:
    """Keeps retained messages, and tells every message to every client."""

    def __init__(self, *, retains: bool = True) -> None:
        self.retains = retains
        self.retained: dict[str, bytes] = {}
        self.clients: list[Agent] = []

    def publish(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain and self.retains:
            if payload:
                self.retained[topic] = payload
            else:
                self.retained.pop(topic, None)
        for client in self.clients:
            client.inbox.append((topic, payload, retain))

    def connect(self, client: Agent) -> None:
        self.clients.append(client)
        client.inbox.extend((topic, payload, True) for topic, payload in self.retained.items())

    def drop(self, client: Agent) -> None:
        if client in self.clients:
            self.clients.remove(client)
            self.publish(TOPICS.agent_status(client.name), b"offline", True)


class Agent:
    """One run of an agent: the real coordinator and the real outlet, on a session that is simulated."""

    _instances = itertools.count(1)

    def __init__(
        self, name: str, units: list[Unit], broker: Broker, clock: Clock, started: datetime | None = None
    ) -> None:
        self.name = name
        self.units = {unit.name: unit for unit in units}
        self.broker = broker
        self.clock = clock
        self.instance = f"i{next(self._instances)}"
        self.started = started or datetime.now(UTC)
        self.inbox: deque[Message] = deque()
        self.outbox: deque[Message] = deque()
        self.retained: dict[str, bytes] = {}
        self.standings: dict[str, Standing] = {}
        self.heard = float("-inf")
        self.present_at = clock.now
        self.has_link = self.is_joining = self.is_connected = self.is_silent = self.is_present = False
        self.is_ending = False
        self.ended: str | None = None
        self.wants_to_rejoin = False
        self.outlet = FleetOutlet(
            [self],
            topics=TOPICS,
            origin=Origin(self.instance, f"host-{name}", SETTINGS_FOR),
            forget=self.forget,
            passing=self.passing,
            initial=UNDECIDED,
            heard=lambda unit, info: self.coordinator.reports(unit, info),  # noqa: PLW0108  # it is made below
        )
        self.coordinator = Coordinator(
            topics=TOPICS,
            info=self.info,
            session=self,
            stand=self.stand,
            tell=self.outlet.tell,
            has_told=self.outlet.has_told,
            is_first=self.end_as_twin,
            takeover_after=TAKEOVER_AFTER,
            settings_for=SETTINGS_FOR,
            clock=lambda: clock.now,
        )
        self.coordinator.serve([Configured(unit.name, unit.takeover, unit.pinned) for unit in units])
        self.keep(TOPICS.agent_info(name), self.info().to_json())

    # The part of a session that the coordinator and the outlet need.

    congested = False

    @property
    def retains(self) -> bool:
        return self.broker.retains

    def info(self) -> AgentInfo:
        return AgentInfo(
            time=utc_now(), agent=self.name, version="1", host=f"host-{self.name}", start_time=self.started,
            units=list(self.units), base_topic="psu", instance=self.instance,
        )  # fmt: skip

    def report(self, report: Report) -> None:
        if report.info is not None:
            self.keep(TOPICS.info(report.info.psu), report.info.to_json())

    def keep(self, topic: str, payload: bytes) -> None:
        self.retained[topic] = payload
        if self.is_connected and not self.is_silent:
            self.outbox.append((topic, payload, True))

    def forget(self, topic: str) -> None:
        self.retained.pop(topic, None)

    def passing(self, topic: str, message: Serializable) -> None:
        if self.is_connected and not self.is_silent:
            self.outbox.append((topic, message.to_json(), False))

    def be_silent(self) -> None:
        self.is_silent = True

    def rejoin(self) -> None:
        self.wants_to_rejoin = True

    def end_as_twin(self, why: str) -> None:
        self.ended = why

    def stand(self, unit: str, standing: Standing, since: datetime) -> None:
        if standing.part is not Part.SERVES:
            self.standings[unit] = standing
        self.outlet.stand(unit, standing, since)
        self.standings[unit] = standing

    # The unit's side.

    def work(self) -> None:
        """Do what the workers of the units do: connect those that may be served, and leave those that may not."""
        for name, unit in self.units.items():
            may = unit.is_reachable and self.standings[name].part is not Part.YIELDS_SUPPLY
            if may != unit.is_online:
                self.report_unit(name, online=may)

    def report_unit(self, name: str, *, online: bool) -> None:
        unit = self.units[name]
        if online and self.standings[name].part is Part.YIELDS_SUPPLY:
            return
        unit.is_known = unit.is_known or online
        unit.is_online = online
        self.outlet.report(Report(info=unit.info(self.name)))

    def may_set(self, name: str) -> bool:
        """True if a setting of this agent would reach the supply now."""
        is_fenced = self.clock.now - self.heard > SETTINGS_FOR
        return self.ended is None and self.units[name].is_online and self.serves(name) and not is_fenced

    def serves(self, name: str) -> bool:
        return self.standings[name].part is Part.SERVES

    # The connection.

    def connect(self) -> None:
        self.inbox.clear()
        self.outbox.clear()
        self.is_present = False
        self.has_link = self.is_joining = True
        self.broker.connect(self)
        self.coordinator.listen()
        self.coordinator.begin(lambda topic, message: self.outbox.append((topic, message.to_json(), False)))

    def disconnect(self) -> None:
        """Notice that the connection is gone."""
        self.broker.drop(self)
        if self.is_connected:
            self.coordinator.broker_gone(self.clock.now)
        self.has_link = self.is_joining = self.is_connected = self.wants_to_rejoin = False
        self.inbox.clear()
        self.outbox.clear()

    def cut(self) -> None:
        """Lose what is on the way; the broker gives the client up, and this one does not notice yet."""
        self.broker.drop(self)
        self.inbox.clear()
        self.outbox.clear()

    def ping(self) -> None:
        self.outbox.append((_PING, str(self.clock.now).encode(), False))

    def send_one(self) -> None:
        if not self.outbox or self not in self.broker.clients:
            self.outbox.clear()
            return
        topic, payload, retain = self.outbox.popleft()
        if topic == _PING:
            self.inbox.append((topic, payload, False))
            return
        self.broker.publish(topic, payload, retain)
        if retain:
            self.inbox.append((_ACK, topic.encode(), False))

    def receive_one(self) -> None:
        if self.inbox:
            topic, payload, retain = self.inbox.popleft()
            if topic == _PING:
                self.heard = float(payload) if self.is_present else self.heard
            elif topic == _ACK:
                if not self.is_present:
                    self.is_present, self.heard = True, self.present_at
                self.coordinator.kept(payload.decode())
            else:
                published = TOPICS.parse_published(topic)
                if isinstance(published, AgentTopic) or (isinstance(published, UnitTopic) and published.kind == "info"):
                    self.coordinator.handle(published, Incoming(topic, payload, retain, False))
        self.look()

    def look(self) -> None:
        if self.is_joining and self.coordinator.is_over():
            self.is_joining = False
            self.is_silent = not self.coordinator.end()
            if self.ended is not None:
                self.broker.clients.remove(self)  # with DISCONNECT
                return
            self.present_at = self.clock.now
            self.is_connected = True
            if not self.is_silent:
                self.keep(TOPICS.agent_status(self.name), b"online")
                for topic, payload in list(self.retained.items()):
                    if topic != TOPICS.agent_status(self.name):
                        self.outbox.append((topic, payload, True))
            self.coordinator.broker_gone(None)

    def tick(self) -> None:
        self.coordinator.tick(0.0)
        self.look()
        if self.wants_to_rejoin:
            if self in self.broker.clients:
                self.broker.clients.remove(self)
            self.disconnect()
            self.connect()


@dataclass
class World:
    """A broker, a clock and the agents that run."""

    broker: Broker = field(default_factory=Broker)
    clock: Clock = field(default_factory=Clock)
    agents: list[Agent] = field(default_factory=list)

    def start(self, name: str, *units: Unit, age: float = 0.0) -> Agent:
        """Start an agent, not connected yet."""
        agent = Agent(name, list(units), self.broker, self.clock, datetime.now(UTC) - timedelta(seconds=age))
        self.agents.append(agent)
        return agent

    def join(self, name: str, *units: Unit) -> Agent:
        """Start an agent, with its units online, and let everything settle."""
        agent = self.start(name, *units)
        for unit in units:
            agent.report_unit(unit.name, online=True)
        agent.connect()
        self.flow()
        return agent

    def kill(self, agent: Agent) -> None:
        """End it without a word; the broker publishes its will."""
        agent.cut()
        self.agents.remove(agent)

    def flow(self) -> None:
        """Let all messages arrive."""
        for _ in range(100_000):
            busy = [agent for agent in self.agents if (agent.outbox or agent.inbox) and agent in self.broker.clients]
            if not busy:
                return
            for agent in busy:
                agent.send_one()
                agent.receive_one()
        raise AssertionError("the agents never stop talking")

    def wait(self, seconds: float) -> None:
        """Let time pass, in which everything arrives and everybody connected hears the broker."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += min(0.5, end - self.clock.now)
            for agent in self.agents:
                if agent in self.broker.clients:
                    agent.ping()
                agent.tick()
            self.flow()

    def serving(self) -> dict[str, list[str]]:
        """The agents that may set units now, by the units' names and by the serial numbers of supplies."""
        found: dict[str, list[str]] = {}
        for agent, unit in self.places():
            if agent.may_set(unit.name):
                found.setdefault(f"name {unit.name}", []).append(agent.name)
                found.setdefault(f"supply {unit.serial}", []).append(agent.name)
        return found

    def places(self) -> Iterator[tuple[Agent, Unit]]:
        """Each unit of each agent that runs."""
        for agent in self.agents:
            for unit in agent.units.values():
                yield agent, unit

    def check(self) -> None:
        """No name and no supply is served by two."""
        crowded = {what: who for what, who in self.serving().items() if len(who) > 1}
        assert not crowded, crowded

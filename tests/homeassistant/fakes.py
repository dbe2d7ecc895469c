"""A broker, a store and a clock for the tests of what Home Assistant is told, without MQTT and without a disk."""

from __future__ import annotations

from dataclasses import dataclass

from agent.homeassistant.outlet import HomeAssistantOutlet
from agent.protocol.topics import Topics
from tests.homeassistant.units import URI, agent_info

UNIT = "homeassistant/device/psu_E36313A_MY61004803/config"
AGENT = "homeassistant/device/psu-agent_bench3/config"
TOPICS = Topics("psu")


@dataclass(frozen=True)
class Settings:
    """The configuration's section."""

    discovery_prefix: str = "homeassistant"
    update_interval: float = 10.0


class Broker:
    """A broker: the messages that it would have retained, and all that it was told."""

    def __init__(self, retained: dict[str, bytes] | None = None) -> None:
        self.retained = {} if retained is None else retained
        self.told: list[tuple[str, bytes]] = []
        self.gone_since: float | None = None

    def keep(self, topic: str, payload: bytes) -> None:
        self.told.append((topic, payload))
        self.retained[topic] = payload
        if not payload:
            del self.retained[topic]

    def forget(self, topic: str) -> None:
        """What was kept stays on the broker."""

    def is_pending(self, topic: str) -> bool:
        del topic
        return self.gone_since is not None

    @property
    def devices(self) -> set[str]:
        return {topic for topic in self.retained if topic.startswith("homeassistant/device/")}


class Store:
    """The records, as a run leaves them to the next."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        return dict(self.records)

    def remember(self, topic: str, record: str) -> None:
        self.records[topic] = record

    def forget(self, topic: str) -> None:
        self.records.pop(topic, None)


class World:
    """One run of an agent after the other, with one store, one broker and a clock that only `let_pass` moves."""

    def __init__(self) -> None:
        self.store = Store()
        self.retained: dict[str, bytes] = {}
        self.meters: dict[str, dict[int, tuple[float, float]]] = {}
        self.now = 1000.0

    def run(
        self,
        units: dict[str, str] | None = None,
        settings: Settings | None = Settings(),
    ) -> tuple[HomeAssistantOutlet, Broker]:
        """Start anew with these units, name → address."""
        broker = Broker(self.retained)
        found = HomeAssistantOutlet(
            settings,
            agent=agent_info(),
            units={"psu1": URI} if units is None else units,
            topics=TOPICS,
            store=self.store,
            saved=self.meters,
            publisher=broker,
            clock=lambda: self.now,
        )
        found.start()
        return found, broker

    def let_pass(self, run: HomeAssistantOutlet, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            run.tick()

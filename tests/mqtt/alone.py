"""A session without a daemon, on a broker behind a proxy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.mqtt.incoming import Incoming
from agent.mqtt.session import Session
from agent.protocol.topics import Topics
from agent.store.store import Store
from tests.faults.proxy import Proxy
from tests.lab import PATIENCE, Observer, wait_until

TOPICS = Topics("psu")


class Alone:
    """A session, its store, its way to the broker, and an observer that has a way of its own."""

    def __init__(self, broker: LocalBroker, folder: Path) -> None:
        self.store = Store(folder / "bench.sqlite3", 1000)
        self.store.start()
        self.way = Proxy(broker.port)
        self.observer_port = broker.port
        self.observer = Observer(broker.port)
        self.heard: list[Incoming] = []
        self.presence: list[float | None] = []
        self.session = Session(
            Mqtt(host="127.0.0.1", port=self.way.port, keepalive=60),
            agent="bench",
            topics=TOPICS,
            backlog=self.store.backlog,
            commands=self.store.commands,
            subscriptions=TOPICS.subscriptions(["psu1"]),
        )
        self.session.on_presence(self.presence.append)

    def start(self, handle: Callable[[Incoming], None] | None = None) -> None:
        self.session.start(handle or self.heard.append)
        self.observer.wait_agent()

    def reconnected(self) -> None:
        """Wait for the next connection."""
        count = self.session.reconnects
        self.way.start()
        wait_until(lambda: self.session.reconnects > count and self.session.connected, "the next connection")

    def lost(self) -> None:
        self.way.stop()
        wait_until(lambda: not self.session.connected, "the loss")

    def close(self) -> None:
        assert self.session.stop(PATIENCE)
        self.store.close(PATIENCE)
        self.observer.close()
        self.way.close()

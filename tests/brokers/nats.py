"""NATS with JetStream, alone and as a cluster of three."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from agent.local.ports import free_port
from tests.brokers.getting import go_program
from tests.brokers.program import AGENT, PASSWORD, READER, BrokerProgram

VERSION = "v2.15.0"


class Nats(BrokerProgram):
    """One server. MQTT 3.1.1."""

    name = "nats"
    title = "NATS Server"
    source = "Go client, `github.com/nats-io/nats-server/v2`"
    access_control = "permissions of a user, on subjects (`psu.>` for `psu/#`), publish and subscribe apart"

    def command(self) -> Sequence[str | Path]:
        program = go_program("github.com/nats-io/nats-server/v2", VERSION, "nats-server", build=self.build)
        return [program, "-c", self.write("nats.conf", self.configuration())]

    def configuration(self) -> str:
        """The text of its configuration file."""
        users = [
            {"user": AGENT, "password": PASSWORD},
            # A client of MQTT needs the subjects $MQTT.>, for its own subscriptions.
            {
                "user": READER,
                "password": PASSWORD,
                "permissions": {"publish": ["clients.>", "$MQTT.>"], "subscribe": [">"]},
            },
        ]
        parts: dict[str, object] = {
            "server_name": self.folder.name,
            "host": self.host,
            "port": free_port(),
            "jetstream": {"store_dir": str(self.folder / "jetstream")},
            "mqtt": {"host": self.host, "port": self.port, **self.mqtt_options()},
        }
        if self.access:
            parts["authorization"] = {"users": users}
        return json.dumps(parts, indent=1)

    def mqtt_options(self) -> dict[str, object]:
        """More of the configuration's part ``mqtt``."""
        return {}

    def version(self) -> str:
        return VERSION.removeprefix("v")


class NatsNode(Nats):
    """One of a cluster, whose streams for MQTT each have a copy on three nodes."""

    name = "nats-node"
    title = "NATS Server, a node of a cluster"
    replicas: ClassVar[int] = 3

    def __init__(self, folder: Path, *, routes: Sequence[int], number: int, build: bool = False) -> None:
        self._routes = routes
        self._number = number
        super().__init__(folder, build=build)

    def configuration(self) -> str:
        """The text of its configuration file."""
        parts = json.loads(super().configuration())
        parts["server_name"] = f"node{self._number}"
        parts["cluster"] = {
            "name": "lab",
            "host": self.host,
            "port": self._routes[self._number],
            "routes": [f"nats://{self.host}:{port}" for port in self._routes],
        }
        return json.dumps(parts, indent=1)

    def mqtt_options(self) -> dict[str, object]:
        """Copies of what is stored for MQTT."""
        return {"stream_replicas": self.replicas}

    def is_ready(self) -> bool:
        """True: it does so only when two of the three are there."""
        return True

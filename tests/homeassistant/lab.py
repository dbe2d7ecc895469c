"""The bench of the tests with a real Home Assistant: a broker, simulated supplies, and an agent in its own process."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.homeassistant.instance import HomeAssistant
from tests.lab import AgentProcess, Observer, settings


class Lab:
    """``settings`` and ``units`` are the agent's configuration, and take effect when it starts."""

    def __init__(self, folder: Path, broker: LocalBroker, homeassistant: HomeAssistant) -> None:
        self.folder = folder
        self.broker = broker
        self.homeassistant = homeassistant
        self.units: list[dict[str, Any]] = []
        self.data = settings(
            broker.port, self.units, folder / "state", homeassistant={"discovery_prefix": "homeassistant"}
        )
        self.simulators: dict[str, Simulator] = {}
        self._agent: AgentProcess | None = None

    def start_agent(self) -> None:
        self._agent = AgentProcess(self.data, self.folder).start()

    def stop_agent(self) -> None:
        if self._agent is not None:
            self._agent.stop()

    def kill_agent(self) -> None:
        if self._agent is not None:
            self._agent.kill()

    def observe(self, topic: str) -> Observer:
        """Somebody new on the broker: hears first what is retained."""
        return Observer(self.broker.port, topic)

    def tell(self, unit: str, message: str) -> None:
        """Send SCPI to a simulated supply past the agent, and wait until it is carried out."""
        simulator = self.simulators[unit]
        with socket.create_connection((simulator.host, simulator.socket_port or 0), timeout=10) as connection:
            connection.sendall(f"{message};*OPC?\n".encode())
            connection.recv(16)

    def close(self) -> None:
        self.kill_agent()
        for simulator in self.simulators.values():
            if simulator.running:
                simulator.stop()

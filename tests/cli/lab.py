"""A broker, the real daemon and simulated supplies, for the commands that need them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result

from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from agent.simulator import Simulator
from tests.commandline import Running, invoke


@dataclass
class Lab:
    """A broker, two simulated supplies, one of them not there, and the agent that polls them."""

    broker: LocalBroker
    supply: Simulator
    file: Path
    agent: Running

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker.port}"

    def call(self, *arguments: str) -> Result:
        return invoke(*arguments, PSU_AGENT_BROKER=self.url)

    def get(self, target: str) -> Any:
        result = self.call("get", target)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


def configuration(broker: LocalBroker, supply: Simulator, folder: Path, **mqtt: Any) -> Path:
    """The file of `Lab`."""
    file = folder / "psu-agent.yaml"
    data = {
        "settings": {
            "agent": "lab",
            "poll_interval": 0.1,
            "state_dir": str(folder / "state"),
            "mqtt": {"host": "127.0.0.1", "port": broker.port, **mqtt},
        },
        "units": [
            {
                "name": "psu1",
                "model": "E36313A",
                "uri": supply.resource,
                "pyvisa_args": {"timeout": 5000, "open_timeout": 5000},  # ms: the machine may be busy
                "channels": {1: {"name": "VDD", "voltage_max": 5}},
            },
            {"name": "psu2", "model": "E36313A", "uri": f"TCPIP::127.0.0.1::{free_port()}::SOCKET"},
        ],
    }
    file.write_text(yaml.safe_dump(data))
    return file

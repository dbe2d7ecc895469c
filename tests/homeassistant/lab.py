"""A laboratory for the tests with a real Home Assistant: a broker, simulated supplies, and an agent in its own process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import yaml
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.localbroker import LocalBroker
from agent.simulator import Simulator
from tests.homeassistant.instance import CHECKOUT, HomeAssistant

_RUN = """
import ctypes, logging, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # end with the tests
from agent import config
from agent.daemon import Daemon
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
sys.exit(Daemon(config.load(sys.argv[1])).run())
"""


class Lab:
    """One bench. ``settings`` and ``units`` are the agent's configuration, and take effect when it starts."""

    def __init__(self, folder: Path, broker: LocalBroker, homeassistant: HomeAssistant) -> None:
        self.folder = folder
        self.broker = broker
        self.homeassistant = homeassistant
        self.settings: dict[str, Any] = {
            "agent": "bench3",
            "poll_interval": 0.1,
            "state_dir": str(folder / "state"),
            "mqtt": {"host": broker.host, "port": broker.port, "keepalive": 5},
            "homeassistant": {"discovery_prefix": "homeassistant"},
        }
        self.units: list[dict[str, Any]] = []
        self.simulators: dict[str, Simulator] = {}
        self.log = folder / "agent.log"
        self._agent: subprocess.Popen[bytes] | None = None

    def start_agent(self) -> None:
        file = self.folder / "psu-agent.yaml"
        file.write_text(yaml.safe_dump({"settings": self.settings, "units": self.units}, allow_unicode=True))
        with self.log.open("ab") as log:
            self._agent = subprocess.Popen(
                [sys.executable, "-c", _RUN, str(file)], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop_agent(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._agent is not None:
            self._agent.send_signal(how)
            self._agent.wait(10)
            self._agent = None

    def tell(self, unit: str, message: str) -> None:
        """Send SCPI to a simulated supply past the agent, and wait until it is carried out."""
        simulator = self.simulators[unit]
        with socket.create_connection((simulator.host, simulator.socket_port or 0), timeout=10) as connection:
            connection.sendall(f"{message};*OPC?\n".encode())
            connection.recv(16)

    def close(self) -> None:
        self.stop_agent(signal.SIGKILL)
        for simulator in self.simulators.values():
            if simulator.running:
                simulator.stop()


class Listener:
    """What comes in on some topics: ``seen`` holds topic, payload and whether it was a retained message, in order."""

    def __init__(self, broker: LocalBroker, *filters: str) -> None:
        self.seen: list[tuple[str, bytes, bool]] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = lambda _, __, message: self.seen.append(
            (message.topic, bytes(message.payload), bool(message.retain))
        )
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.subscribe([(name, SubscribeOptions(qos=1)) for name in filters])
        self._client.loop_start()
        if not self._subscribed.wait(10):
            raise AssertionError("the broker did not confirm the subscription")

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

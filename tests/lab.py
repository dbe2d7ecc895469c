"""A laboratory in a test: an agent on simulated supplies and a real broker, and somebody who watches and commands over MQTT."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.config import loading as config
from agent.service.daemon import Daemon
from agent.simulator import Simulator

#: s. What takes longer than this on a busy machine is taken to hang.
PATIENCE = 25.0

_numbers = itertools.count()


def wait_until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """The first true value of a condition; fails with ``what`` where there is none in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain for {what}"
        time.sleep(0.005)
    return value


def needs(program: str) -> None:
    """Skip the test where a program of Mosquitto's is not installed; `.ci/run` sees to it that all are."""
    if (
        shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
        is None
    ):
        pytest.skip(f"{program} is not installed (Debian, Ubuntu: apt install mosquitto mosquitto-clients)")


@dataclass(frozen=True)
class Received:
    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None
    moment: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


def _no_delay(_: Client, __: Any, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Observer:
    """An MQTT 5 client that keeps all it hears, and sends."""

    def __init__(self, port: int, topic: str = "#", **arguments: Any) -> None:
        self.received: list[Received] = []
        self._by_topic: dict[str, list[Received]] = defaultdict(list)
        self._correlations = itertools.count()
        self._subscribed = threading.Event()
        self.name = f"observer-{os.getpid()}-{next(_numbers)}"
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda *_: self._subscribe(topic)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_socket_open = _no_delay
        self._client.reconnect_delay_set(1, 1)
        if "username" in arguments:
            self._client.username_pw_set(arguments["username"], arguments["password"])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE)

    def _subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        received = Received(message.topic, bytes(message.payload), bool(message.retain), correlation)
        self.received.append(received)
        self._by_topic[message.topic].append(received)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str) -> list[Received]:
        return list(self._by_topic[topic])

    def count(self, topic: str) -> int:
        return len(self._by_topic[topic])

    def clear(self) -> None:
        """Forget what was received."""
        self.received.clear()
        self._by_topic.clear()

    def wait(
        self, topic: str, matching: Callable[[Any], bool] = lambda _: True, *, after: int = 0, timeout: float = PATIENCE
    ) -> Any:
        """The JSON of the first message on a topic that matches, from the ``after``-th received on."""

        def look() -> Any:
            for message in self.received[after:]:
                if message.topic == topic and message.payload and matching(message.json):
                    return message
            return None

        return wait_until(look, f"a message on {topic}", timeout).json

    def mark(self) -> int:
        """To be given to `wait` as ``after``."""
        return len(self.received)

    def send(
        self,
        topic: str,
        payload: bytes | str | dict[str, Any],
        *,
        retain: bool = False,
        expiry: int | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        qos: int = 1,
    ) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        content = json.dumps(payload) if isinstance(payload, dict) else payload
        self._client.publish(topic, content, qos=qos, retain=retain, properties=properties).wait_for_publish(PATIENCE)

    def ask(self, topic: str, payload: bytes | str | dict[str, Any], **arguments: Any) -> Any:
        """Send a command and wait for its response, by Response Topic and Correlation Data."""
        correlation = f"{self.name}-{next(self._correlations)}".encode()
        answers = f"clients/{self.name}"
        self.send(topic, payload, response_topic=answers, correlation=correlation, **arguments)

        def answer() -> Any:
            return [m for m in self.on(answers) if m.correlation == correlation]

        found = wait_until(answer, f"the response to {str(payload)[:80]} on {topic}")
        assert len(found) == 1
        return found[0].json

    def code(self, topic: str, payload: bytes | str | dict[str, Any], **arguments: Any) -> str:
        """The code that a command is refused with; ``ok`` if it is carried out."""
        response = self.ask(topic, payload, **arguments)
        return "ok" if response["ok"] else str(response["error"]["code"])

    def responses(self, unit: str, channel: int | None = None) -> list[Any]:
        own = f"psu/{unit}/response" if channel is None else f"psu/{unit}/{channel}/response"
        return [m.json for m in self.on(own)]

    def states(self, unit: str, channel: int = 1) -> list[Any]:
        return [m.json for m in self.on(f"psu/{unit}/{channel}/state") if not m.retain]

    def events(self, unit: str, channel: int = 1) -> list[Any]:
        return [m.json for m in self.on(f"psu/{unit}/{channel}/event")]

    def wait_state(self, unit: str, channel: int = 1, *, after: int = 0, **fields: Any) -> Any:
        """The next state in which every field has that value."""
        return self.wait(
            f"psu/{unit}/{channel}/state",
            lambda s: all(s[name] == value for name, value in fields.items()),
            after=after,
        )

    def wait_online(self, unit: str, *, after: int = 0, online: bool = True) -> Any:
        return self.wait(f"psu/{unit}/info", lambda info: info["online"] is online, after=after)

    def wait_agent(self, agent: str = "bench", *, status: str = "online", after: int = 0) -> None:
        topic = f"psu/agents/{agent}/status"
        wait_until(
            lambda: any(m.topic == topic and m.payload == status.encode() for m in self.received[after:]),
            f"agent {agent} {status}",
        )


def unit(name: str, simulator: Simulator | None = None, **entry: Any) -> dict[str, Any]:
    """A ``units:`` entry with timeouts that suit a test."""
    args = {"timeout": 300, "open_timeout": 300, **entry.pop("pyvisa_args", {})}
    made = {"name": name, "model": "E36313A", "pyvisa_args": args, **entry}
    if simulator is not None:
        made.setdefault("uri", simulator.resource)
        made["model"] = entry.get("model", simulator.instrument.model)
    return made


def settings(
    port: int, units: list[dict[str, Any]], state_dir: Path, *, mqtt: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A whole configuration as plain data."""
    return {
        "settings": {
            "agent": "bench",
            "poll_interval": 0.1,
            "state_dir": str(state_dir),
            **more,
            "mqtt": {"host": "127.0.0.1", "port": port, "keepalive": 2, **(mqtt or {})},
        },
        "units": units,
    }


class Agent:
    """The agent in a thread of this process."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.daemon = Daemon(config.from_data(data))
        self._thread = threading.Thread(target=self.daemon.run, name="agent", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread.ident is not None:
            self.daemon.stop()
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


_ROOT = Path(__file__).resolve().parent.parent
_RUN = "import sys; from agent.cli.main import main; sys.argv = ['psu-agent', 'run', *sys.argv[1:]]; sys.exit(main())"


class AgentProcess:
    """The agent as a process of its own, so that it can be killed, stopped and starved."""

    def __init__(self, data: dict[str, Any], folder: Path, *, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "psu-agent.yaml"
        self.file.write_text(yaml.safe_dump(data))
        self.log = folder / "agent.log"
        self._environment = {**os.environ, "PYTHONPATH": str(_ROOT), **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, before: str = "") -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", before + _RUN, str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def __enter__(self) -> Self:
        return self if self.process is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.kill()


class Bench:
    """Simulated supplies ``psu1``, ``psu2`` …, an agent and an observer on one broker."""

    def __init__(
        self,
        port: int,
        folder: Path,
        simulators: list[Simulator],
        units: list[dict[str, Any]] | None = None,
        *,
        observer_port: int | None = None,
        **more: Any,
    ) -> None:
        self.simulators = simulators
        for simulator in simulators:
            if not simulator.running:
                simulator.start()
        self.units = units or [unit(f"psu{number}", s) for number, s in enumerate(simulators, 1)]
        self.data = settings(port, self.units, folder / "state", **more)
        self.folder = folder
        self.observer = Observer(observer_port or port)
        self.agent: Agent | None = None

    @property
    def simulator(self) -> Simulator:
        return self.simulators[0]

    @property
    def daemon(self) -> Daemon:
        assert self.agent is not None
        return self.agent.daemon

    def start(self, *, online: bool = True) -> Self:
        """Start the agent, and wait until it serves every unit."""
        after = self.observer.mark()
        self.agent = Agent(self.data).start()
        if online:
            self.observer.wait_agent(after=after)
            for entry in self.units:
                self.observer.wait_online(entry["name"], after=after)
                self.observer.wait_state(entry["name"], after=after, online=True)
        return self

    def stop(self) -> None:
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def close(self) -> None:
        self.stop()
        self.observer.close()
        for simulator in self.simulators:
            if simulator.running:
                simulator.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

"""An MQTT client of the tests, which receives everything and sends commands."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.waiting import PATIENCE, WaitedInVainError, wait_until

_numbers = itertools.count()


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


def no_delay(_: Client, __: Any, connection: Any) -> None:
    """For paho's ``on_socket_open``: Nagle's algorithm and delayed acknowledgements together cost 40 ms a message."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Client(Client):
    """Leaves no socket open where a broker's Unix socket is not there, as paho 2.1 does."""

    def _create_unix_socket_connection(self) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._host)
        except OSError:
            connection.close()
            raise
        return connection


class Observer:
    """An MQTT 5 client that keeps all it hears, and sends.

    :param port: of 127.0.0.1, or the path of a broker's Unix socket
    :param qos: 0 for one that hears all that a broker passed on before it was killed. One that acknowledges fails in sending,
        and paho then closes the connection with what is unread.
    """

    def __init__(self, port: int | Path, topic: str = "#", *, qos: int = 1, **arguments: Any) -> None:
        self.received: list[Received] = []
        self._lock = threading.Lock()  # who finds a message in one of the two finds it in the other as well
        self._by_topic: dict[str, list[Received]] = defaultdict(list)
        self._correlations = itertools.count()
        self._qos = qos
        self._subscribed = threading.Event()
        self.name = f"observer-{os.getpid()}-{next(_numbers)}"
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.name,
            protocol=MQTTProtocolVersion.MQTTv5,
            transport="unix" if isinstance(port, Path) else "tcp",
        )
        self._client.on_message = self._on_message
        self._client.on_connect = lambda *_: self._subscribe(topic)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_socket_open = no_delay
        self._client.reconnect_delay_set(1, 1)
        if "username" in arguments:
            self._client.username_pw_set(arguments["username"], arguments["password"])
        if isinstance(port, Path):
            self._client.connect(str(port))
        else:
            self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        for _ in range(5):
            if self._subscribed.wait(PATIENCE / 5):
                return
            # iotcore 0.4 was seen, once and on a busy machine, to leave a SUBSCRIBE without an answer.
            self._subscribe(topic)
        state = "connected" if self._client.is_connected() else "not connected"
        self.close()
        raise WaitedInVainError(f"the broker at {port} did not answer SUBSCRIBE for {PATIENCE:g} s; {state}")

    def _subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=self._qos)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        received = Received(message.topic, bytes(message.payload), bool(message.retain), correlation)
        with self._lock:
            self._by_topic[message.topic].append(received)
            self.received.append(received)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str) -> list[Received]:
        with self._lock:
            return list(self._by_topic[topic])

    def count(self, topic: str) -> int:
        with self._lock:
            return len(self._by_topic[topic])

    def clear(self) -> None:
        """Forget what was received."""
        with self._lock:
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

    def post(self, topic: str, payload: bytes, *, correlation: bytes | None = None) -> None:
        """Send with QoS 1, and do not wait until the broker has it. With ``correlation``, responses come on `answers`."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if correlation is not None:
            properties.ResponseTopic = self.answers
            properties.CorrelationData = correlation
        self._client.publish(topic, payload, qos=1, properties=properties)

    @property
    def answers(self) -> str:
        """The topic for responses to this client."""
        return f"clients/{self.name}"

    def ask(self, topic: str, payload: bytes | str | dict[str, Any], **arguments: Any) -> Any:
        """Send a command and wait for its response, by Response Topic and Correlation Data."""
        correlation = f"{self.name}-{next(self._correlations)}".encode()
        answers = self.answers
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

    def wait_samples(self, unit: str, channel: int = 1) -> None:
        """Wait until each sample between the first and the last state is there: as a state, once, or as backlog.

        A state that a newer one overtakes comes as backlog, as where the broker has no processor for a while.
        """
        seqs = [state["seq"] for state in self.states(unit, channel)]
        assert seqs == sorted(set(seqs))

        def late() -> set[int]:
            return {message.json["seq"] for message in self.on(f"psu/{unit}/{channel}/backlog")}

        wait_until(lambda: {*range(seqs[0], seqs[-1])} <= {*seqs} | late(), f"each sample of {unit}/{channel}")

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
        info = self.wait(f"psu/{unit}/info", lambda info: info["online"] is online, after=after)
        topic, status = f"psu/{unit}/status", b"online" if online else b"offline"
        wait_until(
            lambda: any(m.topic == topic and m.payload == status for m in self.received[after:]),
            f"{unit} {status.decode()}",
        )  # which follows the info
        return info

    def wait_agent(self, agent: str = "bench", *, status: str = "online", after: int = 0) -> None:
        topic = f"psu/agents/{agent}/status"
        wait_until(
            lambda: any(m.topic == topic and m.payload == status.encode() for m in self.received[after:]),
            f"agent {agent} {status}",
        )

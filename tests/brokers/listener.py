"""A client of either version of MQTT that hears everything under one topic, and counts what is missing."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import defaultdict
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.brokers.program import Protocol
from tests.support.observer import Received, no_delay
from tests.support.waiting import PATIENCE, wait_until

_numbers = itertools.count(1)


class Listener:
    """Connected and subscribed when it is made; it connects again by itself, and subscribes again.

    :param client_id: with one the broker keeps its session while it is away; without, it is a new client each time
    """

    def __init__(
        self, port: int, protocol: Protocol, topic: str, login: dict[str, str], *, client_id: str | None = None
    ) -> None:
        self.received: list[Received] = []
        self.refusals: dict[int, str] = {}
        self.acknowledged: dict[int, str] = {}
        self.lost: list[str] = []
        self._topic = topic
        self._subscribed = threading.Event()
        is_v5 = protocol == "5"
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"listener{next(_numbers)}",
            protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if is_v5 else client_id is None,
        )
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_socket_open = no_delay
        client.reconnect_delay_set(1, 1)
        if login:
            client.username_pw_set(login["username"], login["password"])
        client.connect("127.0.0.1", port)
        client.loop_start()
        wait_until(self._subscribed.is_set, f"a listener on port {port} to have subscribed")

    # Called by paho, in its thread.

    def _on_connect(self, client: Client, _: object, __: object, code: ReasonCode, ___: object) -> None:
        if not code.is_failure:
            client.subscribe(self._topic, qos=1)

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        self.received.append(Received(message.topic, bytes(message.payload), bool(message.retain), None))

    def _on_publish(self, _: Client, __: object, mid: int, code: ReasonCode, ___: object) -> None:
        self.acknowledged[mid] = str(code)

    def _on_disconnect(self, _: Client, __: object, ___: object, code: ReasonCode, ____: object) -> None:
        self._subscribed.clear()
        self.lost.append(str(code))

    # For its users.

    def wait_subscribed(self, timeout: float = PATIENCE) -> None:
        """Until it is connected and subscribed."""
        wait_until(self._subscribed.is_set, "a listener to have subscribed again", timeout)

    def send(self, topic: str, payload: object, *, retain: bool = False) -> int:
        """Publish at QoS 1 without waiting: the packet identifier. A payload that is no text is sent as JSON."""
        content = payload if isinstance(payload, str) else json.dumps(payload)
        return self._client.publish(topic, content, qos=1, retain=retain).mid

    def deliver(self, topic: str, payload: object, *, retain: bool = False) -> str:
        """Publish at QoS 1, and wait for the broker's acknowledgement: its text."""
        mid = self.send(topic, payload, retain=retain)
        return str(wait_until(lambda: self.acknowledged.get(mid), f"the acknowledgement of a message on {topic}"))

    def on(self, topic: str, after: int = 0) -> list[Received]:
        """What came on a topic, from the ``after``-th message on."""
        return [message for message in self.received[after:] if message.topic == topic]

    def wait(self, topic: str, *, after: int = 0, timeout: float = PATIENCE, **fields: Any) -> Any:
        """The JSON of the first message on a topic whose fields have these values."""

        def look() -> Received | None:
            for message in self.on(topic, after):
                if message.payload and all(message.json.get(name) == value for name, value in fields.items()):
                    return message
            return None

        return wait_until(look, f"a message on {topic} with {fields}", timeout).json

    def ask(self, unit: str, channel: int, command: dict[str, Any], timeout: float = PATIENCE) -> tuple[Any, float]:
        """Send a command: the response on the channel's topic, and the s that it took."""
        name = f"ask{next(_numbers)}"
        after = len(self.received)
        begun = time.monotonic()
        self.send(f"psu/{unit}/{channel}/set", {"id": name, **command})
        response = self.wait(f"psu/{unit}/{channel}/response", after=after, timeout=timeout, id=name)
        return response, time.monotonic() - begun

    def samples(self) -> dict[tuple[str, str, int], list[int]]:
        """The `seq` of every sample that came, as state or as backlog, by agent, unit and channel."""
        found: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        for message in list(self.received):
            kind = message.topic.rpartition("/")[2]
            if kind in ("state", "backlog") and message.payload and not message.retain:
                state = message.json
                found[state["agent"], state["psu"], state["index"]].append(state["seq"])
        return found

    def close(self) -> None:
        """End the connection in good order."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def gaps(seqs: list[int]) -> list[int]:
    """The numbers that are missing between the smallest and the largest."""
    return sorted(set(range(min(seqs), max(seqs) + 1)) - set(seqs)) if seqs else []

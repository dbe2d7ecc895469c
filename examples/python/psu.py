#!/usr/bin/env python3
"""Command supplies from Python, with paho-mqtt alone: requests and responses by MQTT 5's properties.

    python psu.py psu1/2 state=on voltage_limit=3.3

As a module::

    with Supplies("localhost") as supplies:
        state = supplies.set("psu1/2", voltage_limit=3.3, state=True)
        print(state["voltage_limit"], supplies.state("psu1/2")["current"])
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import uuid
from typing import Any, Self

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Refused(Exception):
    """The command was not, or not wholly, carried out. ``code`` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Supplies:
    """A connection to the broker. A target is ``unit/channel``, by the channel's number or its name."""

    def __init__(
        self,
        host: str,
        port: int = 1883,
        *,
        username: str | None = None,
        password: str | None = None,
        base: str = "psu",
    ) -> None:
        self._base = base
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._address = (host, port)
        # A topic that nobody else listens to, and for each request a correlation that no other has.
        self._answers = f"clients/{uuid.uuid4().hex}"
        self._waiting: dict[bytes, queue.SimpleQueue[dict[str, Any]]] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe([(self._answers, 1), (f"{base}/+/+/state", 1)])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def will(self, target: str, command: str) -> None:
        """Have the broker send this to a channel if the program dies. To be called before the connection."""
        self._client.will_set(f"{self._base}/{target}/set", command, qos=1)

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            self._client.loop_stop()
            raise TimeoutError("the broker did not let us in within 10 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def set(self, target: str, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        """Send a command, wait until it has been carried out, and return the channel's state as it was read back.

        :raises Refused: it was not carried out
        :raises TimeoutError: nobody answered; whether it happened is not known
        """
        correlation = uuid.uuid4().bytes
        answer = self._waiting[correlation] = queue.SimpleQueue()
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = self._answers
        properties.CorrelationData = correlation
        # The broker drops it when nobody took it in time: it must not happen later, when nobody expects it.
        properties.MessageExpiryInterval = max(1, int(timeout))
        try:
            self._client.publish(f"{self._base}/{target}/set", json.dumps(fields), qos=1, properties=properties)
            response = answer.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"nobody answered for {target} within {timeout:g} s") from None
        finally:
            del self._waiting[correlation]
        if not response["ok"]:
            raise Refused(response["error"]["code"], response["error"]["message"])
        return response["result"]

    def state(self, target: str, timeout: float = 10.0) -> dict[str, Any]:
        """The newest state of a channel. Unknown values are None; ``online`` is True if the unit can be reached.

        :raises TimeoutError: no agent has published any
        """
        unit, _, channel = target.partition("/")
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for state in self._states.values():
                    if state["psu"] == unit and channel in (str(state["index"]), state["name"]):
                        return state
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"nothing is known of {target}")

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        if message.topic == self._answers:
            answer = self._waiting.get(getattr(message.properties, "CorrelationData", b""))
            if answer is not None:
                answer.put(json.loads(message.payload))
        elif message.payload:
            with self._changed:
                self._states[message.topic] = json.loads(message.payload)
                self._changed.notify_all()


def _value(text: str) -> Any:
    """``on``, ``off`` and numbers as what they are: a number in quotes would be refused."""
    if text.lower() in ("on", "off"):
        return text.lower() == "on"
    try:
        return float(text)
    except ValueError:
        return text


def main() -> int:
    if len(sys.argv) < 3 or not all("=" in argument for argument in sys.argv[2:]):
        print("usage: psu.py UNIT/CH FIELD=VALUE …", file=sys.stderr)
        return 2
    fields = {name: _value(text) for name, _, text in (argument.partition("=") for argument in sys.argv[2:])}
    with Supplies(os.environ.get("MQTT_HOST", "localhost"), int(os.environ.get("MQTT_PORT", "1883"))) as supplies:
        try:
            print(json.dumps(supplies.set(sys.argv[1], **fields)))
        except Refused as refused:
            print(f"{refused.code}: {refused}", file=sys.stderr)
            return 1
        except TimeoutError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

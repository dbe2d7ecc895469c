"""Messages as an agent publishes them, over a connection that knows which ones the broker has acknowledged."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.waiting import wait_until

from .services import Broker

#: Samples start here, so that a test knows each one's time to the millisecond.
START = datetime.now(UTC).replace(second=2, microsecond=417000) - timedelta(minutes=10)


def stamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


class Channel:
    """One channel's samples, one a second from :data:`START` on, each different from the one before."""

    def __init__(self, agent: str = "bench3", psu: str = "psu1", index: int = 1, start: datetime = START) -> None:
        self.agent, self.psu, self.index, self.start = agent, psu, index, start

    def time(self, seq: int) -> datetime:
        return self.start + timedelta(seconds=seq)

    def state(self, seq: int, **changed: Any) -> dict[str, Any]:
        current = round(0.5 + 0.4 * math.sin(seq / 7), 4)
        values: dict[str, Any] = {
            "time": stamp(self.time(seq)),
            "seq": seq,
            "agent": self.agent,
            "psu": self.psu,
            "index": self.index,
            "name": f"CH{self.index}",
            "model": "E36313A",
            "online": True,
            "state": True,
            "voltage": 5 if seq % 2 else 4.9998,
            "current": current,
            "power": round(5 * current, 5),
            "voltage_limit": 5.0,
            "current_limit": 1.0,
            "mode": "CV",
            "tripped": None,
            "voltage_protection": 27.5,
            "current_protection": False,
            "current_protection_level": 1.5,
            "voltage_protection_state": True,
            "energy": round(seq * 0.0007, 4),
            "charge": round(seq * 0.00014, 5),
        }
        return values | changed

    def offline(self, seq: int) -> dict[str, Any]:
        known = ("time", "seq", "agent", "psu", "index", "name", "model", "online", "energy", "charge")
        state = self.state(seq, online=False)
        return {key: value if key in known else None for key, value in state.items()}

    def event(self, seq: int, field: str, text: str, by: str = "command", **changed: Any) -> dict[str, Any]:
        state = self.state(seq)
        common = {key: state[key] for key in ("time", "agent", "psu", "index", "name", "model")}
        values = {
            "field": field,
            "from": 5.0,
            "to": 3.3,
            "by": by,
            "id": "42" if by == "command" else None,
            "text": text,
        }
        return common | values | changed


def metrics(agent: str = "bench3", time: datetime = START, **changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "time": stamp(time),
        "agent": agent,
        "version": "0.1.0",
        "uptime": 125.0,
        "units": 2,
        "units_online": 2,
        "polls": 250,
        "late_polls": 1,
        "errors": 0,
        "reconnects": 0,
        "commands": 3,
        "refusals": 1,
        "published": 750,
        "undeliverable": 0,
        "backlog": 0,
        "dropped_samples": 0,
        "broker_reconnects": 0,
        "memory": 48_000_000,
        "poll_rate": 2.0,
    }
    return values | changed


def info(psu: str = "psu1", time: datetime = START, **changed: Any) -> dict[str, Any]:
    """A unit's info, as its agent publishes it."""
    values: dict[str, Any] = {
        "time": stamp(time),
        "agent": "bench3",
        "psu": psu,
        "online": True,
        "reason": None,
        "model": "E36313A",
        "poll_interval": 1.0,
        "channels": [{"index": 1, "name": "CH1"}],
        "heartbeat": None,
        "serves": True,
        "conflict": None,
    }
    return values | changed


class Publisher:
    """An agent's connection: QoS 1, and `acknowledged` counts what the broker has taken over."""

    def __init__(self, broker: Broker, user: str = "agent", base: str = "psu", port: int | None = None) -> None:
        self.base = base
        self.acknowledged = 0
        self.sent = 0
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(user, broker.password(user))
        self._client.max_inflight_messages_set(1000)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._on_publish
        self._port = port or broker.port

    def _on_publish(self, _client: object, _data: object, _mid: int, code: Any, _properties: object) -> None:
        with self._lock:
            assert not code.is_failure, code
            self.acknowledged += 1

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        wait_until(self._client.is_connected, "the publisher is connected")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, payload: dict[str, Any] | str | None, retain: bool = False) -> None:
        text = json.dumps(payload) if isinstance(payload, dict) else payload
        self._client.publish(f"{self.base}/{topic}", text, qos=1, retain=retain)
        self.sent += 1

    def state(self, message: dict[str, Any], leaf: str = "state") -> None:
        self.send(f"{message['psu']}/{message['index']}/{leaf}", message, retain=leaf == "state")

    def settle(self) -> None:
        """Wait until the broker has acknowledged everything."""
        wait_until(lambda: self.acknowledged == self.sent, "the broker acknowledges everything")

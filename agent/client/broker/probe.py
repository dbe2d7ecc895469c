"""A connection that asks a broker one thing at a time, in the caller's thread, and never waits longer than it is told to."""

from __future__ import annotations

import contextlib
import struct
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.mqtt import faults
from agent.mqtt.broker.abilities import Abilities
from agent.mqtt.broker.attempts import Outcome, Version
from agent.mqtt.publishing import PublishingClient
from agent.mqtt.settings import LoginSettings
from agent.mqtt.setup import prepare

_UNSUPPORTED_VERSION, _NO_RETAIN = 0x84, 0x9A
_OUTCOMES = {_UNSUPPORTED_VERSION: Outcome.REFUSED_VERSION, _NO_RETAIN: Outcome.NO_RETAINED_WILL}
#: s. The broker notices a client that is cut off by its socket, not by this.
_KEEPALIVE = 30


class NotConnectedError(Exception):
    """The broker did not take the connection. One sentence that says why; ``outcome`` is for `Attempts`."""

    def __init__(self, why: str, outcome: Outcome) -> None:
        super().__init__(why)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that came in. ``expiry`` in s."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    response_topic: str | None
    correlation: bytes | None
    expiry: int | None


class Probe:
    """One connection, as a context manager. Its methods return None where the broker does not answer in time or closes it."""

    def __init__(
        self,
        settings: LoginSettings,
        version: Version,
        *,
        patience: Callable[[], float],
        will: str | None = None,
        retains_will: bool = False,
    ) -> None:
        """Connect nothing yet.

        :param patience: s that each answer of the broker may take, asked before each
        :param will: the topic of a will
        :raises tls.TlsError: a certificate can't be used
        """
        #: What the broker told when it took the connection.
        self.abilities = Abilities()
        #: Every message that came.
        self.heard: list[Heard] = []
        #: True until the broker, or this side, has closed the connection.
        self.is_open = False
        self._settings = settings
        self._version = version
        self._patience = patience
        self._connack: ReasonCode | None = None
        self._published: dict[int, int] = {}  # packet identifier → reason code
        self._subscribed: dict[int, list[int]] = {}
        # Unlike paho's own client it takes reason codes that MQTT does not have for a PUBACK.
        self._client = client = PublishingClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"psu-agent-check-{uuid.uuid4().hex[:12]}",
            protocol=MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311,
            clean_session=None if version == "5" else True,
            reconnect_on_failure=False,
        )
        if will is not None:
            client.will_set(will, b"cut", qos=1, retain=retains_will)
        prepare(client, settings)
        client.on_socket_register_write = lambda *_: None  # so that it queues what is sent for `loop`
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_acknowledged = self._on_acknowledged
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect.

        :raises NotConnectedError: the broker does not take it
        """
        settings, seconds = self._settings, self._patience()
        self._client.connect_timeout = max(0.1, seconds)
        try:
            self._client.connect(settings.host, settings.port, keepalive=_KEEPALIVE)
        except (OSError, ValueError) as error:
            raise NotConnectedError(faults.unreachable(error, settings), Outcome.OTHER) from None
        self.is_open = True
        self.wait(lambda: self._connack is not None)
        if self._connack is not None and not self._connack.is_failure:
            return self
        was_closed = not self.is_open
        self.close()
        if self._connack is not None:
            code = self._connack.value
            why = faults.refusal(code, str(self._connack), settings, self._version)
            raise NotConnectedError(f"it refused the connection: {why}", _OUTCOMES.get(code, Outcome.REFUSED))
        if was_closed:
            raise NotConnectedError(faults.closed_early(settings, self._version), Outcome.CLOSED)
        raise NotConnectedError(f"it does not answer CONNECT within {round(seconds, 1):g} s", Outcome.SILENT)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection with DISCONNECT, so that the broker does not publish the will."""
        with contextlib.suppress(OSError, ValueError, MQTTException):
            self._client.disconnect()
            self._client.loop(0)
        self.cut()

    def cut(self) -> None:
        """End the connection without DISCONNECT, as a process that was killed does."""
        self.is_open = False
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def subscribe(self, filters: Sequence[str], *, as_published: bool = False) -> list[int] | None:
        """Subscribe with QoS 1, in one packet.

        :param as_published: messages that are published live keep their retain flag (MQTT 5, 3.8.3.1)
        :return: the reason code for each filter
        """
        if self._version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=as_published)
            _, mid = self._client.subscribe([(name, options) for name in filters])
        else:
            _, mid = self._client.subscribe([(name, 1) for name in filters])
        self.wait(lambda: mid in self._subscribed)
        return self._subscribed.get(mid or 0)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry: int | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> int | None:
        """Publish with QoS 1. MQTT 3.1.1 leaves out the last three; ``expiry`` in s.

        :return: the reason code of the acknowledgement, 0 on MQTT 3.1.1
        """
        properties = None
        if self._version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            for name, value in (
                ("MessageExpiryInterval", expiry),
                ("ResponseTopic", response_topic),
                ("CorrelationData", correlation),
            ):
                if value is not None:
                    setattr(properties, name, value)
        with contextlib.suppress(OSError, ValueError):
            mid = self._client.send(topic, payload, retain=retain, properties=properties)
            self.wait(lambda: mid in self._published)
            return self._published.get(mid)
        return None

    def hears(self, topic: str, payload: bytes | None = None) -> Heard | None:
        """Wait for a message on a topic, with a certain payload if one is given."""
        found: list[Heard] = []

        def look() -> bool:
            found[:] = [one for one in self.heard if one.topic == topic and payload in (None, one.payload)]
            return bool(found)

        self.wait(look)
        return found[0] if found else None

    def wait(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Exchange packets until the condition holds, the connection ends or the time (s) is over. Returns if it holds."""
        until = time.monotonic() + (self._patience() if seconds is None else seconds)
        while not condition():
            left = until - time.monotonic()
            if left <= 0 or not self.is_open:
                return False
            try:
                result = self._client.loop(min(left, 0.1))
                while result == MQTTErrorCode.MQTT_ERR_SUCCESS and self._client.has_more:
                    result = self._client.loop_read()
                if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    self.is_open = False
            except (OSError, ArithmeticError, LookupError, ValueError, struct.error, MQTTException):
                self.is_open = False  # what came is no MQTT of this version
        return True

    # Callbacks of paho.

    def _on_connect(
        self, _: Client, __: Any, ___: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._connack = code
        self.abilities = Abilities.from_connack(properties)

    def _on_disconnect(self, _: Client, __: Any, ___: DisconnectFlags, ____: ReasonCode, _____: Any) -> None:
        self.is_open = False

    def _on_acknowledged(self, mid: int, code: int) -> None:
        self._published[mid] = code

    def _on_subscribe(self, _: Client, __: Any, mid: int, codes: list[ReasonCode], ___: Any) -> None:
        self._subscribed[mid] = [code.value for code in codes]

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        properties = message.properties
        self.heard.append(
            Heard(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retain=bool(message.retain),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                expiry=getattr(properties, "MessageExpiryInterval", None),
            )
        )

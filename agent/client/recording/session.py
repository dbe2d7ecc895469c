"""The connection of a recording: the broker keeps what it has not taken yet, also while it is away.

The caller's thread takes messages from `inbox` and acknowledges them when they are safe. paho's thread receives.
"""

from __future__ import annotations

import contextlib
import queue
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.client import faults
from agent.client.address import Address
from agent.mqtt.broker.filters import packets
from agent.mqtt.setup import prepare

#: s for which the broker keeps messages for a recording that is away (MQTT 5).
EXPIRY = 3600
_KEEPALIVE = 15
_CONNECT_TIMEOUT = 5.0
#: Messages that the broker may send before one is acknowledged. Mosquitto takes 20 without it, and drops what comes while those
#: wait for a busy disk.
_WINDOW = 2000
#: s between two tries. The agents come back after 0.2 s at the earliest; a recording that comes later than they do misses states.
_FIRST_RETRY, _LAST_RETRY = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message. ``mid``, ``connection``: for its acknowledgement."""

    topic: str
    payload: bytes
    retain: bool
    mid: int
    connection: int


@dataclass(frozen=True, slots=True)
class Link:
    """The connection was lost or refused, with the reason, a clause with "it" for the broker; or it is there (None).

    ``was_kept``: the broker has kept the messages that came meanwhile, as many as it is set to. ``refused``: the filters that it
    does not let this user read.
    """

    reason: str | None
    was_kept: bool = False
    refused: tuple[str, ...] = ()


class RecordingSession:
    """A connection with a session that lasts, as a context manager. It is established again whenever it is lost.

    Over MQTT 3.1.1 nothing is kept: there a session has no end, and a broker would keep messages for ever.
    """

    def __init__(
        self,
        address: Address,
        filters: Sequence[str],
        *,
        protocol: Literal["5", "3.1.1"],
        client_id: str | None,
        goes_on: bool,
    ) -> None:
        """Prepare it, without a connection.

        :param client_id: None: one of its own, with which no recording will go on
        :param goes_on: take what the broker has kept for this client identifier; else that is forgotten
        """
        self.inbox: queue.SimpleQueue[Delivery | Link] = queue.SimpleQueue()
        self._address = address
        self._filters = list(filters)
        self._is_v5 = protocol == "5"
        self._goes_on = goes_on
        self._ends_for_good = client_id is None
        self._connection = 0
        self._subscribing: dict[int | None, list[str]] = {}
        self._refused: list[str] = []
        self._has_subscribed = False
        self._was_refused = False
        self._client = PahoClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"psu-agent-log-{uuid.uuid4().hex[:12]}",
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if self._is_v5 else True,
            manual_ack=True,
        )
        self._client.connect_timeout = _CONNECT_TIMEOUT
        self._client.reconnect_delay_set(_FIRST_RETRY, _LAST_RETRY)  # type: ignore[arg-type]  # it takes fractions
        prepare(self._client, address)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        properties = None
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = EXPIRY
            properties.ReceiveMaximum = _WINDOW
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive=_KEEPALIVE,
            clean_start=False if self._is_v5 and self._goes_on else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        self._client.loop_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        properties = None
        if self._is_v5 and (
            kind is None or self._ends_for_good
        ):  # else the broker keeps messages for a recording that goes on
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        self._client.loop_stop()

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the broker that these are safe, in the order in which they came."""
        connection = self._connection
        for delivery in deliveries:
            # The numbers of an older connection may mean other messages now. The broker sends those again.
            if delivery.mid and delivery.connection == connection:
                self._client.ack(delivery.mid, 1)

    # Called by paho, in its thread.

    def _on_connect(self, client: PahoClient, _: Any, flags: ConnectFlags, code: ReasonCode, __: Any) -> None:
        self._was_refused = code.is_failure
        if code.is_failure:
            self.inbox.put(Link(f"it refuses the connection: {faults.meaning(code.value, str(code).lower())}"))
            return
        self._connection += 1
        if flags.session_present and self._has_subscribed:
            self.inbox.put(Link(None, was_kept=True))
            return
        self._subscribing.clear()
        self._refused = []
        for some in packets(self._filters):
            _, mid = client.subscribe([(topic, 1) for topic in some])
            self._subscribing[mid] = some

    def _on_subscribe(self, _: PahoClient, __: Any, mid: int, codes: list[ReasonCode], ___: Any) -> None:
        wanted = self._subscribing.pop(mid, [])
        self._refused += [topic for topic, code in zip(wanted, codes, strict=False) if code.value >= 128]
        if not self._subscribing:
            self._has_subscribed = True
            self.inbox.put(Link(None, refused=tuple(self._refused)))

    def _on_disconnect(self, _: PahoClient, __: Any, flags: DisconnectFlags, code: ReasonCode, ___: Any) -> None:
        if self._was_refused:
            return  # the broker's reason was told
        text = faults.lost(code.value, str(code).lower(), by_broker=flags.is_disconnect_packet_from_server)
        self.inbox.put(Link(text))

    def _on_message(self, _: PahoClient, __: Any, message: MQTTMessage) -> None:
        mid = message.mid if message.qos else 0
        topic = ""
        with contextlib.suppress(UnicodeDecodeError):
            topic = message.topic
        self.inbox.put(Delivery(topic, bytes(message.payload), message.retain, mid, self._connection))

"""One connection to the broker, from CONNECT to its end: one paho client, driven by paho's external loop."""

from __future__ import annotations

import contextlib
import logging
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.mqtt import faults
from agent.mqtt.broker.abilities import Abilities
from agent.mqtt.broker.attempts import Attempts, Outcome
from agent.mqtt.broker.filters import packets
from agent.mqtt.broker.subscribing import Subscribing, is_delivered
from agent.mqtt.freshness import Freshness
from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Item
from agent.mqtt.publishing import PublishingClient
from agent.mqtt.settings import BrokerSettings
from agent.mqtt.setup import prepare
from agent.timing import system_clock

log = logging.getLogger(__name__)

#: bytes. A broker that knows MQTT 5 keeps larger messages to itself; the largest command has 16 KiB.
LARGEST_PACKET = 16 * 1024 * 1024
#: Packets that are handled before anything else is done: in a flood of commands some 5 ms.
MOST_PACKETS = 50
#: Reason codes of CONNACK, but for `Outcome.REFUSED`: it keeps no retained messages, and the will is one.
_OUTCOMES = {0x84: Outcome.REFUSED_VERSION, 0x9A: Outcome.NO_RETAINED_WILL}


class ConnectionLost(Exception):
    """The connection is gone, or was never made; says why. ``outcome``: what became of the try to connect."""

    def __init__(self, why: str, outcome: Outcome = Outcome.OTHER) -> None:
        super().__init__(why)
        self.outcome = outcome


class Connection:
    """One connection. All methods are for the thread that has the session's turn; none but `open` waits."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        agent: str,
        client_id: str,
        will: str,
        handle: Callable[[Incoming], None],
        acknowledged: Callable[[int, int], None],
        complain: Callable[[str], None] = log.error,
        attempts: Attempts | None = None,
    ) -> None:
        """Make the client without connecting it.

        :param client_id: where the settings have none
        :param will: the topic on which the broker publishes ``offline``, retained, when the connection ends unexpectedly
        :param handle: gets every message that comes in
        :param acknowledged: gets the packet identifier and the reason code of every PUBACK
        :param complain: gets a sentence on each thing that the broker does not let this client do
        :param attempts: how it is to be tried
        :raises tls.TlsError: a certificate can't be used
        """
        #: s, `time.monotonic`: when the broker was last heard.
        self.last_heard = time.monotonic()
        #: PINGRESPs that have come.
        self.answers = 0
        #: s, `time.monotonic`: when the PINGREQ was sent whose answer has not come; None where there is none.
        self.asked_at: float | None = None
        #: What the broker takes, as far as it has told.
        self.abilities = Abilities()
        #: True if the broker has closed it; and if it said that it did so for a message that it could not take.
        self.was_closed = self.was_refused_message = False
        self._settings = settings
        self._agent = agent
        self._will = will
        self._handle = handle
        self._complain = complain
        self._freshness = Freshness(system_clock())
        self._has_subscribed = False
        self._has_refused = False  # a message of unknown age, in the present stall
        self._attempts = attempts = attempts or Attempts(settings.protocol)
        self._is_v5 = attempts.protocol == "5"
        self._connack: ReasonCode | None = None
        self._subscribing = Subscribing(complain, faults.user(settings))
        self._lost: str | None = None
        self._refusal: ConnectionLost | None = None
        self._client = client = PublishingClient(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id or client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if self._is_v5 else True,
            # The session tries again; paho would fall back to MQTT 3.1 by itself.
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = attempts.opening_limit
        client.will_set(will, b"offline", qos=1, retain=attempts.retains_will)
        prepare(client, settings)
        # With this callback there paho queues what is published, and `loop_write` sends it all.
        client.on_socket_register_write = lambda *_: None
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda _, __, mid, codes, ___: self._subscribing.answered(mid, codes, time.monotonic())
        client.on_acknowledged = acknowledged
        client.on_ping_answered = self._on_ping_answered
        client.on_malformed = self._on_malformed
        client.on_message = self._on_message

    def open(self) -> None:
        """Make the TCP connection, with TLS, and send CONNECT. Takes up to `Attempts.opening_limit` s.

        :raises ConnectionLost: it can't be made
        """
        arguments: dict[str, Any] = {}
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = LARGEST_PACKET
            arguments = {"clean_start": True, "properties": properties}
        settings = self._settings
        try:
            self._client.connect(settings.host, settings.port, keepalive=settings.keepalive, **arguments)
        except (OSError, ValueError) as error:
            outcome = Outcome.UNANSWERED if isinstance(error, TimeoutError) else Outcome.OTHER
            raise ConnectionLost(faults.unreachable(error, settings), outcome) from error

    @property
    def is_accepted(self) -> bool:
        """True if CONNACK has come."""
        return self._connack is not None

    @property
    def unconfirmed(self) -> int:
        """The number of SUBSCRIBEs that the broker has not confirmed."""
        return self._subscribing.open_count

    @property
    def is_busy(self) -> bool:
        """True if all that was sent is at the broker's host, which has not come to the PINGREQ behind it (Linux)."""
        return self.answers == 0 and is_delivered(self.socket_number)

    @property
    def is_in_doubt(self) -> bool:
        """True while the messages that come in are of unknown age, until the broker has answered in time."""
        return self.answers == 0 or self._freshness.in_doubt

    @property
    def is_open(self) -> bool:
        """True while there is a socket."""
        return self._client.socket() is not None

    @property
    def socket_number(self) -> int | None:
        """The socket's file descriptor; None where there is none."""
        connection = self._client.socket()
        return None if connection is None else connection.fileno()

    # Sending.

    def subscribe(self, filters: Sequence[str]) -> None:
        """Send SUBSCRIBE, for some filters each, ahead of everything that is published after this call.

        :raises ConnectionLost: the connection is broken
        """
        if not self._has_subscribed:
            self._has_subscribed = True
            self._freshness.proven = system_clock()  # nothing that was published before comes, except retained messages
        for some in packets(filters):
            if self._is_v5:
                # As published: a live message that was sent with the retain flag keeps it, and is refused for it.
                options = SubscribeOptions(qos=1, retainAsPublished=True)
                _, mid = self._client.subscribe([(name, options) for name in some])
            else:
                _, mid = self._client.subscribe([(name, 1) for name in some])
            if mid is not None:
                self._subscribing.asked(mid, some)
        self.flush()  # paho keeps its own packets apart, and would send them after those of `publish`

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Send UNSUBSCRIBE, ahead of everything that is published after this call.

        :raises ConnectionLost: the connection is broken
        """
        for some in packets(filters):
            self._client.unsubscribe(some)
        self._subscribing.dropped(filters)
        self.flush()

    def ask_again(self, now: float) -> None:
        """Subscribe again to filters that the broker refused a while ago. To be called now and then (s, `time.monotonic`).

        :raises ConnectionLost: the connection is broken
        """
        if again := self._subscribing.due(now):
            self.subscribe(again)

    def acknowledge(self, mid: int) -> None:
        """Queue the acknowledgement (PUBACK) of a message that came in."""
        self._client.ack(mid, 1)

    def publish(self, item: Item) -> int:
        """Queue a message for the next `flush`, and return its packet identifier; 0 if it is too large for the broker."""
        properties = None
        if item.correlation is not None and self._is_v5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = item.correlation
        retain = item.retain and self.abilities.retains
        return self._client.send(item.topic, item.payload, retain=retain, properties=properties)

    @property
    def wants_to_write(self) -> bool:
        """True if something waits for `flush`, for instance because the socket did not take all of it."""
        return self._client.want_write()

    def flush(self) -> None:
        """Send the queued messages, as far as the socket takes them.

        :raises ConnectionLost: the connection is broken
        """
        try:
            self._client.loop_write()
        except OSError as error:
            self.was_closed = True
            outcome = Outcome.CLOSED if self._client.connack_code is None else Outcome.OTHER
            raise ConnectionLost(f"the connection broke: {error.strerror or error}", outcome) from error

    def disconnect(self) -> None:
        """Send DISCONNECT: the broker does not publish the will.

        :raises ConnectionLost: the connection is broken
        """
        self._client.on_disconnect = None  # it is not the broker that closes it
        self._client.disconnect()
        self.flush()

    def keep_alive(self) -> None:
        """Queue a PINGREQ where one is due. To be called every `freshness.INTERVAL` s or so."""
        now = system_clock()
        unacknowledged = self._client.unacknowledged
        if self._freshness.wants_to_ask(now, unacknowledged):
            self._freshness.asks(now, unacknowledged)
            self.asked_at = time.monotonic()
            self._client.ping()

    def hold_acknowledgements(self, hold: bool) -> None:
        """Keep the broker from sending more messages than its window; or let it go on."""
        self._client.hold_acknowledgements(hold)

    # Receiving.

    def read(self) -> bool:
        """Read and handle the packets that have come, `MOST_PACKETS` of them and the acknowledgements between.

        :return: true if more have been read from the socket, which no poll shows
        :raises ConnectionLost: the broker sent something that is no MQTT
        """
        self.last_heard = time.monotonic()
        client = self._client
        try:
            for _ in range(MOST_PACKETS):
                client.loop_read()
                if not client.has_more:
                    return False
        except (ArithmeticError, LookupError, ValueError, struct.error, MQTTException) as error:
            is_of_another_version = self._connack is None and client.connack_code is not None
            outcome = Outcome.REFUSED_VERSION if is_of_another_version else Outcome.OTHER
            raise ConnectionLost(f"it sent something that is not MQTT ({error})", outcome) from error
        finally:
            if self._freshness.in_doubt:
                self.keep_alive()
        return True

    @property
    def has_unread(self) -> bool:
        """True if more of the broker's packets are there to be read."""
        return self._client.has_unread

    def check(self) -> None:
        """Do nothing while the connection is there.

        :raises ConnectionLost: it is gone, or the broker refused it
        """
        if self._refusal is not None:
            raise self._refusal
        if self._lost is None and self.is_open:
            return
        if self._client.strange_answer:
            raise ConnectionLost(faults.strange_answer(self._client.strange_answer, self._settings))
        if self._client.connack_code is None:
            raise ConnectionLost(faults.closed_early(self._settings, self._settings.protocol), Outcome.CLOSED)
        if self._connack is None:  # paho says no more of the only code that it does not pass on
            raise self._refused(0x84, "Unsupported protocol version")
        raise ConnectionLost(self._lost or "the connection broke")

    def close(self) -> None:
        """Close the socket without DISCONNECT, which makes the broker publish the will."""
        self._client.on_disconnect = None
        connection = self._client.socket()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    # Callbacks of paho.

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._connack = reason
        self.abilities = abilities = Abilities.from_connack(properties, retains=self._attempts.retains_will)
        if reason.is_failure:
            self._refusal = self._refused(reason.value, str(reason))
        elif not abilities.takes_qos_1:
            why = faults.refusal(0x9B, "it takes no QoS 1", self._settings, "5")
            self._refusal = ConnectionLost(f"it is of no use: {why}")
        elif self._attempts.is_trial:
            self._refusal = ConnectionLost("it takes MQTT 3.1.1, and is asked for 5 once more", Outcome.TRIED)
        if abilities.largest_packet is not None:
            self._client.largest_packet = abilities.largest_packet

    def _refused(self, code: int, text: str) -> ConnectionLost:
        why = faults.refusal(code, text, self._settings, self._settings.protocol)
        return ConnectionLost(f"it refused the connection: {why}", _OUTCOMES.get(code, Outcome.REFUSED))

    def _on_disconnect(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, __: Properties | None
    ) -> None:
        self.was_refused_message = flags.is_disconnect_packet_from_server and reason.value in faults.BAD_MESSAGE
        taken_over = flags.is_disconnect_packet_from_server and reason.value == faults.TAKEN_OVER
        self.was_closed = self.was_closed or not taken_over  # for a message, maybe
        if taken_over or self._lost is None:
            self._lost = faults.disconnected(reason, self._settings, by_agent=self._agent if taken_over else None)

    def _on_ping_answered(self) -> None:
        self.answers += 1
        self.asked_at = None
        self._freshness.answered(system_clock())
        if self._has_refused and not self._freshness.in_doubt:
            self._has_refused = False
            log.info("broker: commands are carried out again")
        self.keep_alive()  # the next is due if this answer was late

    def _on_malformed(self, why: str) -> None:
        self._freshness.came(system_clock(), is_numbered=True)
        self._complain(f"a message was ignored, as it is no valid MQTT ({why}); its sender must mend it")

    def _is_stale(self, message: MQTTMessage, now: float) -> bool:
        if self._freshness.came(now, is_numbered=message.qos > 0):
            return False
        if not self._has_refused:
            self._has_refused = True
            log.warning(
                "broker: what comes in may be %.1f s old, as the link, the broker or this process was held up; until an answer "
                "comes in time, nothing but off is carried out",
                now - self._freshness.proven,
            )
        return True

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        now = system_clock()
        stale = self._is_stale(message, now)
        try:
            topic = message.topic
        except UnicodeDecodeError:  # paho decodes the topic when it is asked for it
            if message.qos:
                self.acknowledge(message.mid)
            self._complain("a message was ignored, as its topic is not UTF-8; its sender must encode it so")
            return
        properties = message.properties
        try:
            self._handle(
                Incoming(
                    topic=topic,
                    payload=bytes(message.payload),
                    retain=bool(message.retain),
                    dup=bool(message.dup),
                    response_topic=getattr(properties, "ResponseTopic", None),
                    correlation=getattr(properties, "CorrelationData", None),
                    expiry=getattr(properties, "MessageExpiryInterval", None),
                    stale=stale,
                    came=now,
                    mid=message.mid if message.qos else 0,
                )
            )
        except Exception:  # one message must not end the connection that all the others come by
            log.exception("broker: a message could not be handled; it is ignored")

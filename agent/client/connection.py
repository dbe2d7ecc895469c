"""A user's connection to the broker, to read what agents publish and to send commands.

The caller's thread connects, subscribes and publishes, and waits there for the broker's answers. paho's thread receives: it puts
messages into the inbox and answers into a queue of their own.
"""

from __future__ import annotations

import contextlib
import math
import queue
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Self

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.client import faults
from agent.client.address import Address
from agent.client.errors import BrokerError, NobodyAnsweredError, NotAllowedError, NotReadableError, SilentBrokerError
from agent.mqtt.broker.attempts import Attempts, Outcome
from agent.mqtt.broker.filters import packets
from agent.mqtt.setup import prepare
from agent.mqtt.tls import TlsError
from agent.protocol.topics import Topics

__all__ = ["BrokerError", "Client", "LinkChange", "Message", "NobodyAnsweredError"]

#: s after which a silent link counts as lost, one and a half times.
KEEPALIVE = 15
#: s for the TCP connection and TLS, and for each of the broker's answers.
CONNECT_TIMEOUT = 5.0
#: s without a further retained message after which all of them are taken to have come.
QUIET = 0.25
#: s without a further message, where the broker keeps none: the units' next polls are waited for.
QUIET_WITHOUT_RETAINED = 2.0
#: s that reading retained messages takes at most.
LONGEST_READING = 10.0

# MQTT 5, 2.4: reason codes of a PUBACK.
_NO_MATCHING_SUBSCRIBERS = 16
_NOT_AUTHORIZED = 135


@dataclass(frozen=True, slots=True)
class Message:
    """A message that came in. ``correlation``: MQTT 5's Correlation Data. ``at``: when it came (s, `time.monotonic`)."""

    topic: str
    payload: bytes
    retain: bool = False
    correlation: bytes | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class LinkChange:
    """The connection was lost, with the reason, or was established again, with its subscriptions (reason None).

    The reason is a clause with "it" for the broker.
    """

    reason: str | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """The broker's answer to a packet of ours, and when it came; ``lost``: the connection ended instead."""

    kind: Literal["connack", "suback", "puback", "lost"]
    mid: int = 0
    code: int = 0
    text: str = ""
    codes: tuple[int, ...] = ()
    at: float = field(default_factory=time.monotonic)


class Client:
    """A connection, as a context manager. After a first success it is established again by itself, with its subscriptions.

    ``inbox``: messages and changes of the connection, in their order. ``protocol``: the version of MQTT that is spoken.
    ``retains``: false if the broker keeps no retained messages.

    :param will: topic and payload of a message that the broker publishes if the connection ends without `__exit__`
    :param reconnects: False: a connection that was lost stays lost, and nothing that was to be sent can be sent again
    :raises BrokerError: from `__enter__`, and from every method while there is no broker
    """

    def __init__(self, address: Address, *, will: tuple[str, bytes] | None = None, reconnects: bool = True) -> None:
        self.address = address
        self._will = will
        self._reconnects = reconnects
        self.topics = Topics(address.base_topic)
        self.protocol: Literal["5", "3.1.1"] = "3.1.1" if address.protocol == "3.1.1" else "5"
        self.retains = True
        self.inbox: queue.SimpleQueue[Message | LinkChange] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._filters: dict[str, int] = {}
        self._lock = threading.Lock()
        self._established = False
        self._was_refused = False
        self._resubscribing: set[int | None] = set()  # packet identifiers of SUBSCRIBE after a reconnection
        self._client: PahoClient | None = None
        self._has_sent = False
        self._unacknowledged = False  # a message is under way
        self._may_be_late = False  # and may be delivered later

    def __enter__(self) -> Self:
        attempts = Attempts(self.address.protocol)
        while True:
            self.protocol = attempts.protocol
            try:
                self._connect()
            except _RefusedError as refused:
                if attempts.failed(refused.outcome):
                    raise
                continue
            if not attempts.is_trial:
                return self
            self.__exit__()
            self._established = False
            attempts.failed(Outcome.TRIED)

    def __exit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connect(self) -> None:
        client = self._new_client()
        try:
            client.connect(self.address.host, self.address.port, keepalive=KEEPALIVE)
        except (OSError, ValueError) as error:
            raise BrokerError(faults.unreachable(self.address, error, CONNECT_TIMEOUT)) from None
        self._client = client
        client.loop_start()
        try:
            answer = self._await("connack")
            if answer.kind == "connack" and answer.code == 0:
                self._established = True
                return
            self._raise_refused(answer)
        finally:
            if not self._established:
                self.__exit__()
                self._answers = queue.SimpleQueue()

    def _new_client(self) -> PahoClient:
        is_v5 = self.protocol == "5"
        client = PahoClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"psu-agent-cli-{uuid.uuid4().hex[:12]}",
            protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if is_v5 else True,
            reconnect_on_failure=self._reconnects,
        )
        if self._will is not None:
            client.will_set(*self._will, qos=1)
        client.connect_timeout = CONNECT_TIMEOUT
        client.reconnect_delay_set(1, 5)
        try:
            prepare(client, self.address)
        except TlsError as error:
            raise BrokerError(str(error)) from None
        client.on_socket_close = self._on_socket_close
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _raise_refused(self, answer: _Answer) -> NoReturn:
        address = self.address
        if answer.kind == "lost":
            hint = (
                "does it speak MQTT there, without TLS?"
                if address.tls is None
                else "does it want a client's certificate?"
            )
            raise _RefusedError(f"{address} closed the connection before it answered; {hint}", Outcome.CLOSED)
        if answer.text == "Unsupported protocol version":
            versions = "5 or 3.1.1" if address.protocol == "auto" else self.protocol
            why = f"{address} does not speak MQTT {versions}; set settings.mqtt.protocol"
            raise _RefusedError(why, Outcome.REFUSED_VERSION)
        raise _RefusedError(faults.refused(address, answer.code, answer.text, self.protocol), Outcome.REFUSED)

    def _await(self, kind: str, mid: int | None = None) -> _Answer:
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                why = f"{self.address} took the connection and does not answer; is it a broker?"
                if self._established:
                    why = f"{self.address} does not answer any more; is its host up, and the network there?"
                raise SilentBrokerError(why) from None
            if answer.kind == "lost" or (answer.kind == kind and mid in (None, answer.mid)):
                return answer

    def subscribe(self, filters: Iterable[str], qos: int = 0) -> None:
        """Subscribe, and again after each loss of the connection. Messages arrive in `inbox`.

        :raises NotReadableError: the broker refuses it
        :raises BrokerError: the broker does not confirm it
        """
        wanted = list(filters)
        try:
            self._subscribe_all(wanted, qos)
        except _LostError:
            if self._has_sent or self._filters:
                raise
            # Once: iotcore 0.4 ends one in twelve connections that are made right after another client's end.
            self._begin_anew()
            self._subscribe_all(wanted, qos)

    def _begin_anew(self) -> None:
        self.__exit__()
        self._established = False
        self._answers = queue.SimpleQueue()
        while not self.inbox.empty():  # it tells of the loss alone
            self.inbox.get()
        self.__enter__()

    def _subscribe_all(self, wanted: list[str], qos: int) -> None:
        for some in packets(wanted):
            self._subscribe(some, qos)

    def _subscribe(self, wanted: list[str], qos: int) -> None:
        client = self._connected()
        _, mid = client.subscribe([(topic, qos) for topic in wanted])
        answer = self._await("suback", mid)
        if answer.kind == "lost":
            raise _LostError(f"the connection to {self.address} was lost: {answer.text}")
        refused = [topic for topic, code in zip(wanted, answer.codes, strict=False) if code >= 128]
        if refused:
            why = faults.meaning(answer.code, answer.text.lower())
            raise NotReadableError(f"{self.address} does not let this user read {', '.join(refused)}: {why}")
        with self._lock:
            self._filters.update(dict.fromkeys(wanted, qos))

    def retained(self, filters: Iterable[str]) -> list[Message]:
        """The messages that are retained under the filters, and those that are published meanwhile.

        It takes little more than `QUIET` s, or `QUIET_WITHOUT_RETAINED` s, at most `LONGEST_READING` s.

        :raises BrokerError: as `subscribe`
        """
        self.subscribe(filters)
        messages: list[Message] = []
        now = time.monotonic()
        pause = QUIET if self.retains else QUIET_WITHOUT_RETAINED
        deadline, quiet = now + LONGEST_READING, now + pause
        while (left := min(deadline, quiet) - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                item = self.inbox.get(timeout=left)
                if isinstance(item, Message):
                    messages.append(item)
                    if item.retain:
                        quiet = time.monotonic() + pause
        return messages

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        expiry: float | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        may_be_late: bool = False,
    ) -> float:
        """Publish at QoS 1, and wait until the broker has taken it. MQTT 3.1.1 has no ``expiry`` (s), no response topic and no
        correlation.

        Returns the moment at which its answer came: messages with an earlier `Message.at` had reached the broker before this one.

        :param may_be_late: False: where the connection fails, this host does not go on sending it, for a minute and more
        :raises NobodyAnsweredError: an MQTT 5 broker says that nobody listens on that topic
        :raises BrokerError: the broker does not take it
        """
        client = self._connected()
        properties = None
        if self.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if expiry is not None:
                properties.MessageExpiryInterval = max(1, math.ceil(expiry))
            if response_topic is not None:
                properties.ResponseTopic = response_topic
            if correlation is not None:
                properties.CorrelationData = correlation
        self._has_sent = self._unacknowledged = True
        self._may_be_late = may_be_late
        published: MQTTMessageInfo = client.publish(topic, payload, qos=1, properties=properties)
        answer = self._await("puback", published.mid)
        if answer.kind == "lost":
            raise BrokerError(
                f"the connection to {self.address} was lost: {answer.text}; whether it was sent is not known"
            )
        self._unacknowledged = False
        if answer.code == _NO_MATCHING_SUBSCRIBERS:
            raise NobodyAnsweredError(f"no agent listens on {topic}; is the unit's name right, and its agent running?")
        if answer.code == _NOT_AUTHORIZED:
            why = faults.meaning(answer.code, answer.text.lower())
            raise NotAllowedError(f"{self.address} did not take it: {why}; may this user publish there?")
        if answer.code >= 128:
            raise BrokerError(f"{self.address} did not take it: {faults.meaning(answer.code, answer.text.lower())}")
        return answer.at

    def _connected(self) -> PahoClient:
        if self._client is None:
            raise BrokerError(f"there is no connection to {self.address}")
        return self._client

    # Called by paho, in its thread.

    def _on_socket_close(self, _: PahoClient, __: Any, connection: Any) -> None:
        if self._unacknowledged and not self._may_be_late:
            # A socket that is closed leaves what was written to the kernel, which sends it again for a minute and more.
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _on_connect(self, client: PahoClient, _: Any, flags: ConnectFlags, code: ReasonCode, properties: Any) -> None:
        self.retains = getattr(properties, "RetainAvailable", 1) != 0
        self._was_refused = code.is_failure
        if not self._established:
            self._answers.put(_Answer("connack", code=code.value, text=str(code)))
        elif not code.is_failure:
            with self._lock:
                filters = list(self._filters.items())
            self._resubscribing.clear()
            # The answer of a request that failed with the old connection must not be taken for that of the next one.
            self._answers = queue.SimpleQueue()
            for some in packets(filters):
                _, mid = client.subscribe(some)
                self._resubscribing.add(mid)
            if not filters:
                self.inbox.put(LinkChange(None))
        else:
            self.inbox.put(LinkChange(f"it refuses the connection: {faults.meaning(code.value, str(code).lower())}"))

    def _on_disconnect(self, client: PahoClient, __: Any, flags: DisconnectFlags, code: ReasonCode, ___: Any) -> None:
        if self._client is None:
            return
        text = faults.lost(code.value, str(code).lower(), by_broker=flags.is_disconnect_packet_from_server)
        self._answers.put(_Answer("lost", text=text))
        if self._established:
            if not self._was_refused:  # else the broker's reason was told
                self.inbox.put(LinkChange(text))
        else:
            client.loop_stop()  # or paho's thread would sleep before the next connection, and its end be waited for

    def _on_subscribe(self, _: PahoClient, __: Any, mid: int, codes: list[ReasonCode], ___: Any) -> None:
        worst = max(codes, key=lambda code: code.value)
        if mid in self._resubscribing:
            self._resubscribing.discard(mid)
            if worst.value >= 128:
                self.inbox.put(
                    LinkChange(f"it does not let this user read: {faults.meaning(worst.value, str(worst).lower())}")
                )
            elif not self._resubscribing:
                self.inbox.put(LinkChange(None))
            return
        values = tuple(code.value for code in codes)
        self._answers.put(_Answer("suback", mid, worst.value, str(worst), values))

    def _on_publish(self, _: PahoClient, __: Any, mid: int, code: ReasonCode, ___: Any) -> None:
        self._answers.put(_Answer("puback", mid, code.value, str(code)))

    def _on_message(self, _: PahoClient, __: Any, message: MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None) if message.properties else None
        with contextlib.suppress(UnicodeDecodeError):
            self.inbox.put(Message(message.topic, bytes(message.payload), message.retain, correlation))


class _RefusedError(BrokerError):
    """The broker took the TCP connection and refused the rest."""

    def __init__(self, why: str, outcome: Outcome) -> None:
        super().__init__(why)
        self.outcome = outcome


class _LostError(BrokerError):
    """The connection ended before the broker answered."""

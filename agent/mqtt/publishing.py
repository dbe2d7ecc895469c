"""paho's client with a faster path for PUBLISH with QoS 1 and for PUBACK, which are nearly all of an agent's packets.

paho asks the system for each byte of a packet's header, sends each packet by itself, keeps several objects for each message
and makes several more for a PUBACK without a reason code: some 100 µs a message, most of an agent's time. This client
encodes a message once, sends several of them together, and reads acknowledgements from the bytes. Connecting, TLS,
subscriptions and incoming messages are left to paho. It replaces or uses paho's inner methods `_sock_recv`, `_sock_send`,
`_in_packet`, `_mid_generate`, `_handle_pubackcomp`, `_handle_publish`, `_handle_pingresp`, `_handle_connack`, `_send_pingreq`,
`_send_puback` and `_loop_rc_handle`, which have been unchanged since paho 1.3; tests/mqtt/test_publishing.py fails if they
change.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.properties import Properties

_CHUNK = 65536
_PUBLISH_QOS1 = 0x32
_PUBACK = 0x40
_CONNACK = 0x20
_DISCONNECT = 0xE0
_RETAIN = 0x01
_QOS = 0x06
#: bytes. The first byte and the length, which takes up to four; and the largest packet that they can tell of.
_LONGEST_HEADER = 5
_LARGEST_POSSIBLE = 268_435_460


def _ignore(*_: object) -> None:
    pass


class PublishingClient(Client):
    """A client for a thread that drives paho's external loop: `loop_read` while `has_received`, `loop_write` to send."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        #: Called with the packet identifier of a message from `send` and the broker's reason code, below 0x80 for success.
        self.on_acknowledged: Callable[[int, int], None] = _ignore
        #: Called with each PINGRESP.
        self.on_ping_answered: Callable[[], None] = _ignore
        #: Called with the reason, for a message that is no valid MQTT; it is acknowledged and ignored.
        self.on_malformed: Callable[[str], None] = _ignore
        #: Messages with QoS 1 that have come and were not acknowledged yet.
        self.unacknowledged = 0
        #: The first bytes of an answer to CONNECT that is no CONNACK.
        self.strange_answer = b""
        #: The return code in CONNACK; above 0 for a refusal.
        self.connack_code: int | None = None
        self._held: deque[int] | None = None
        self._is_v5 = keywords.get("protocol") == MQTTProtocolVersion.MQTTv5
        self._received = b""
        self._position = 0
        self._ended = False
        self._to_send = bytearray()
        #: bytes. The largest packet that the broker takes, as far as it has told (MQTT 5, 3.2.2.3.6).
        self.largest_packet = _LARGEST_POSSIBLE

    def send(self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None = None) -> int:
        """Queue a message with QoS 1 for the next `loop_write`, and return its packet identifier; 0 if it is too large.

        Unlike `publish`, this keeps nothing: the caller sends again what was not acknowledged when it ended.
        MQTT 5, 3.3 and MQTT 3.1.1, 3.3.
        """
        name = topic.encode()
        length = 2 + len(name) + 2 + len(payload)
        packed = b""
        if self._is_v5:
            packed = b"\0" if properties is None else properties.pack()  # type: ignore[no-untyped-call]
            length += len(packed)
        if length + _LONGEST_HEADER > self.largest_packet:
            return 0
        mid = self._mid_generate()
        out = self._to_send
        out.append(_PUBLISH_QOS1 | _RETAIN if retain else _PUBLISH_QOS1)
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        out.append(length)
        out += len(name).to_bytes(2, "big")
        out += name
        out += mid.to_bytes(2, "big")
        out += packed
        out += payload
        return mid

    def ping(self) -> None:
        """Queue a PINGREQ for the next `loop_write`, behind the acknowledgements that were queued before."""
        self._send_pingreq()

    def hold_acknowledgements(self, hold: bool) -> None:
        """Keep back the acknowledgements of incoming messages from now on, so that the broker sends no more; or send them."""
        if hold:
            self._held = self._held or deque()
        elif self._held is not None:
            held, self._held = self._held, None
            for mid in held:
                self._send_puback(mid)

    # Writing.

    def _send_puback(self, mid: int) -> MQTTErrorCode:
        if self._held is not None:
            self._held.append(mid)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        self.unacknowledged -= 1
        return super()._send_puback(mid)

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self._to_send += buf
        if buf[0] == _DISCONNECT:  # paho closes the socket right afterwards
            self._flush()
        return len(buf)

    def _flush(self) -> None:
        while self._to_send:
            del self._to_send[: super()._sock_send(self._to_send)]

    def want_write(self) -> bool:
        """True if something waits for `loop_write`."""
        return bool(self._to_send) or super().want_write()

    def loop_write(self) -> MQTTErrorCode:
        """Send the queued messages, as far as the socket takes them.

        :raises OSError: the connection is broken
        """
        result = super().loop_write()
        if self._to_send and self.socket() is not None:
            try:
                self._flush()
            except BlockingIOError:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return result

    # Reading.

    @property
    def has_received(self) -> bool:
        """True if bytes have been read from the socket and not been handled yet."""
        return self._position < len(self._received)

    @property
    def has_more(self) -> bool:
        """True if `loop_read` has more to handle that no poll of the socket shows, as after TLS."""
        connection = self.socket()
        if connection is None:
            return False
        return self.has_received or (isinstance(connection, ssl.SSLSocket) and connection.pending() > 0)

    @property
    def has_unread(self) -> bool:
        """True if `loop_read` has more to handle, in the socket or read from it."""
        connection = self.socket()
        if connection is None:
            return False
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return self.has_more or bool(poll.poll(0))

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.has_received:
            if self._ended:
                return b""
            self._received, self._position = super()._sock_recv(max(bufsize, _CHUNK)), 0
        taken = self._received[self._position : self._position + bufsize]
        self._position += len(taken)
        return taken

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read from the socket, and handle acknowledgements before paho sees them."""
        if not self.has_received and self.socket() is not None:
            try:
                self._received, self._position = super()._sock_recv(_CHUNK), 0
            except BlockingIOError:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            except OSError:
                return super().loop_read(max_packets)  # it meets the error again and ends the connection
            self._ended = not self._received
            if self.connack_code is None and self._received and self._received[0] != _CONNACK:
                self.strange_answer, self._received = self._received[:64], b""
                return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        self._take_acknowledgements()
        if self.has_received or self._ended or self.socket() is None:
            return super().loop_read(max_packets)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take_acknowledgements(self) -> None:
        """Handle the PUBACKs at the front of the received bytes. paho handles those that are longer or incomplete."""
        if self._in_packet["command"]:  # paho is in the middle of a packet
            return
        data, position = self._received, self._position
        # Two bytes of packet identifier, alone for success; or with a reason; or with that and no properties (MQTT 5, 3.4.2).
        while position + 4 <= len(data) and data[position] == _PUBACK:
            length = data[position + 1]
            end = position + 2 + length
            if length not in (2, 3, 4) or end > len(data) or (length == 4 and data[end - 1] != 0):
                break
            mid = data[position + 2] << 8 | data[position + 3]
            reason = data[position + 4] if length > 2 else 0
            self._position = position = end
            self.on_acknowledged(mid, reason)

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if len(packet) < 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.on_acknowledged(int.from_bytes(packet[:2], "big"), packet[2] if len(packet) > 2 else 0)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_pingresp(self) -> MQTTErrorCode:
        result = super()._handle_pingresp()
        self.on_ping_answered()
        return result

    def _handle_connack(self) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        self.connack_code = packet[1] if len(packet) > 1 else -1
        return super()._handle_connack()

    def _handle_publish(self) -> MQTTErrorCode:
        is_numbered = bool(self._in_packet["command"] & _QOS)
        if is_numbered:
            self.unacknowledged += 1
        try:
            return super()._handle_publish()
        except MalformedPacket as error:
            # paho would close the connection, and a stranger could have it closed again and again where the broker is lax.
            self.on_malformed(str(error))
        if not is_numbered:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        packet = self._in_packet["packet"]
        end = 2 + int.from_bytes(packet[:2], "big")
        if len(packet) < end + 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return self._send_puback(int.from_bytes(packet[end : end + 2], "big"))

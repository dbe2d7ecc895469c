"""paho's client with fewer system calls and less work for each message, for a thread that drives it by its external loop.

paho asks the system for each byte of a packet's header, sends each packet by itself, and makes several objects of an
acknowledgement that says nothing but "yes". At a few thousand messages a second that is most of an agent's time. What is
overridden here are inner methods of paho's: should a later paho call them no more, the agent becomes slower, not wrong.
"""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_CHUNK = 65536
_DISCONNECT = 0xE0
_NO_SUBSCRIBERS = 0x10  # the broker has it, and nobody who listens: as good as success
_SUCCESS = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]


class BufferedClient(Client):
    """A client whose reading and writing go through a buffer each: `loop_read` until not `has_received`, `loop_write` flushes."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._received = b""
        self._position = 0
        self._to_send = bytearray()

    @property
    def has_received(self) -> bool:
        """Whether bytes wait here that no poll of the socket shows."""
        return self._position < len(self._received)

    def _sock_recv(self, bufsize: int) -> bytes:
        position = self._position
        if position >= len(self._received):
            self._received = super()._sock_recv(max(bufsize, _CHUNK))
            position = 0
        taken = self._received[position : position + bufsize]
        self._position = position + len(taken)
        return taken

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self._to_send += buf
        if buf[0] == _DISCONNECT:  # paho closes the socket right after it
            self._flush()
        return len(buf)

    def _flush(self) -> None:
        while self._to_send:
            del self._to_send[: super()._sock_send(self._to_send)]

    def want_write(self) -> bool:
        return bool(self._to_send) or super().want_write()

    def loop_write(self) -> MQTTErrorCode:
        """Send what is queued; see paho's.

        :raises OSError: the connection is broken
        """
        result = super().loop_write()
        if self._to_send and self.socket() is not None:
            try:
                self._flush()
            except BlockingIOError:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return result

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        # The message's id; then, unless it is plain success, a reason; then, if there are any, properties (MQTT 5, 3.4.2).
        if cmd != "PUBACK" or not (len(packet) == 2 or (len(packet) == 3 and packet[2] == _NO_SUBSCRIBERS)):
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:2], "big")
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, _SUCCESS, _NO_PROPERTIES)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

"""A broker with a fault of other makers' brokers: a way to a real one, which refuses or closes what those refuse or close."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

CONNECT, PUBLISH, SUBSCRIBE = 1, 3, 8


class Gatekeeper:
    """Listens on ``port``, and passes on to the broker what its rules, which may change, are not against."""

    def __init__(self, broker: int, broker_311: int | None = None) -> None:
        """
        :param broker_311: the broker's port for MQTT 3.1.1, if it is another one
        """
        #: The answer to CONNECT of MQTT 5, after which the connection is closed; None: it is passed on.
        self.refusal: bytes | None = None
        #: The same for how many connections; after that everything is passed on.
        self.refusals = 10**9
        #: The same for every version of MQTT.
        self.refuses_all = False
        #: s that CONNACK takes.
        self.delay = 0.0
        #: Filters in one SUBSCRIBE; the connection is closed for more.
        self.most_filters = 10**9
        #: SUBSCRIBEs for which the connection is closed.
        self.lost_subscribes = 0
        #: bytes of the largest packet; the connection is closed for a larger one.
        self.largest = 10**9
        #: A topic that the connection is closed for.
        self.forbidden = ""
        #: True: a SUBSCRIBE is not answered.
        self.is_deaf = False
        #: A filter that is refused (MQTT 5). The broker does not learn of the others in its packet.
        self.refused = b""
        #: The version of each CONNECT that came: 5 or 4 (3.1.1).
        self.versions: list[int] = []
        #: The number of filters of each SUBSCRIBE that came.
        self.subscribed: list[int] = []
        self._brokers = {5: broker, 4: broker_311 or broker}
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            _end(one)

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(near)
            threading.Thread(target=self._up, args=(near,), daemon=True).start()

    def _up(self, near: socket.socket) -> None:
        far: socket.socket | None = None
        version = 0
        with contextlib.suppress(OSError, EOFError):
            stream = near.makefile("rb")
            while True:
                kind, packet = _packet(stream)
                if kind == CONNECT:
                    version = packet[packet.index(b"MQTT") + 4]
                    self.versions.append(version)
                    if self.refusal is not None and self.refusals > 0 and (version == 5 or self.refuses_all):
                        self.refusals -= 1
                        near.sendall(self.refusal)
                        break
                    far = socket.create_connection(("127.0.0.1", self._brokers[version]))
                    self._sockets.append(far)
                    threading.Thread(target=self._down, args=(far, near), daemon=True).start()
                elif kind == SUBSCRIBE:
                    mid, filters = _filters(packet, has_properties=version == 5)
                    self.subscribed.append(len(filters))
                    if len(filters) > self.most_filters:
                        break
                    if self.lost_subscribes > 0:
                        self.lost_subscribes -= 1
                        break
                    if self.is_deaf:
                        continue
                    if self.refused and self.refused in filters:
                        codes = bytes(0x87 if name == self.refused else 1 for name in filters)
                        near.sendall(bytes([0x90, 3 + len(codes)]) + mid + b"\x00" + codes)
                        continue
                elif kind == PUBLISH and (len(packet) > self.largest or self._is_forbidden(packet)):
                    break
                assert far is not None
                far.sendall(packet)
        _end(near)
        if far is not None:
            _end(far)

    def _is_forbidden(self, packet: bytes) -> bool:
        return bool(self.forbidden) and self.forbidden.encode() in packet[:200]

    def _down(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = far.recv(65536)
            end = time.monotonic() + self.delay
            while time.monotonic() < end:
                time.sleep(0.01)
            while data:
                near.sendall(data)
                data = far.recv(65536)
        _end(near)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def _packet(stream: object) -> tuple[int, bytes]:
    """The next packet: its kind and its bytes."""
    read = stream.read  # type: ignore[attr-defined]
    head = read(1)
    length, shift = 0, 0
    while head:
        byte = read(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return head[0] >> 4, head + read(length)
    raise EOFError


def _filters(packet: bytes, *, has_properties: bool) -> tuple[bytes, list[bytes]]:
    """The packet identifier and the filters of a SUBSCRIBE; its properties are no longer than 127 bytes."""
    position = 1
    while packet[position] >= 0x80:
        position += 1
    mid = packet[position + 1 : position + 3]
    position += 3
    if has_properties:
        position += 1 + packet[position]
    filters = []
    while position < len(packet):
        end = position + 2 + int.from_bytes(packet[position : position + 2], "big")
        filters.append(packet[position + 2 : end])
        position = end + 1
    return mid, filters

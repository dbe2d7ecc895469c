"""Instruments that speak VXI-11: the portmapper of each is asked by a broadcast into each network (RFC 1833; VXI-11, B.6)."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections.abc import Sequence

from agent.instruments.finding.interfaces import Interface, obstacle

_PORT = 111
_CALL, _REPLY, _ACCEPTED = 0, 1, 0
_PORTMAPPER, _VERSION, _GET_PORT = 100000, 2, 3
_VXI11_CORE, _TCP = (0x0607AF, 1), 6
#: s after which the question is sent once more: a datagram may get lost.
_AGAIN = 0.5


def search(
    interfaces: Sequence[Interface], seconds: float, remarks: list[str]
) -> tuple[list[str], Sequence[Interface]]:
    """The addresses of hosts that say that they serve VXI-11, in the order of their numbers, and the interfaces asked on.

    :param seconds: to wait for answers
    :param remarks: takes a sentence for each interface on which that can't be asked
    """
    number = os.urandom(4)
    found: set[str] = set()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        asked: list[tuple[socket.socket, str, Interface]] = []
        for interface in interfaces:
            target = interface.address if interface.is_loopback else interface.broadcast
            if target is None:
                remarks.append(f"{interface} was not searched for VXI-11: its network has no broadcast")
                continue
            channel = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                _prepare(channel, interface)
                channel.sendto(_question(number), (target, _PORT))
            except OSError as error:
                remarks.append(f"{interface} was not searched for VXI-11: {obstacle(error)}")
                continue
            asked.append((channel, target, interface))
            selector.register(channel, selectors.EVENT_READ)
        begun = time.monotonic()
        repeated = False
        while asked and (left := begun + seconds - time.monotonic()) > 0:
            if not repeated and time.monotonic() - begun >= _AGAIN:
                repeated = True
                for channel, target, _ in asked:
                    with contextlib.suppress(OSError):
                        channel.sendto(_question(number), (target, _PORT))
            for key, _ in selector.select(min(left, _AGAIN)):
                with contextlib.suppress(OSError):  # nobody listens there
                    answer, sender = key.fileobj.recvfrom(1024)  # type: ignore[union-attr]
                    if serves(answer, number):
                        found.add(sender[0])
    return sorted(found, key=socket.inet_aton), [interface for _, _, interface in asked]


def serves(answer: bytes, number: bytes) -> bool:
    """True if it is the answer to the question of that number, and says that VXI-11 is served."""
    try:
        their_number, kind, state, _, length = struct.unpack_from(">4sIIII", answer)
        if (their_number, kind, state) != (number, _REPLY, _ACCEPTED):
            return False
        outcome, port = struct.unpack_from(">II", answer, 20 + (length + 3) // 4 * 4)
    except struct.error:
        return False
    return bool(outcome == 0 and 0 < port < 65536)


def _prepare(channel: socket.socket, interface: Interface) -> None:
    channel.setblocking(False)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    with contextlib.suppress(OSError):  # before Linux 5.7 for root alone; the route to the network does it as well
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.card.encode())
    channel.bind((interface.address, 0))


def _question(number: bytes) -> bytes:
    header = struct.pack(">4sIIIIIQQ", number, _CALL, 2, _PORTMAPPER, _VERSION, _GET_PORT, 0, 0)
    return header + struct.pack(">IIII", *_VXI11_CORE, _TCP, 0)

"""VXI-11 for pyvisa-py with one deadline a message, which notices at once when the peer is gone.

pyvisa-py's own spins at full load for a second and more when the peer closes, takes five more to close such a link, starts
its timeout anew with every byte, and reads as many bytes as the peer claims to send. Here a connection that failed stays
failed, and an answer has a greatest size.

Protocol: TCP/IP Instrument Protocol Specification VXI-11, revision 1.0.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from pyvisa import errors
from pyvisa.constants import StatusCode
from pyvisa_py import tcpip
from pyvisa_py.protocols import rpc, vxi11

from agent.instruments.tcp import DEFAULT_OPEN_TIMEOUT, BoundedSocket, connect, end_in_order
from agent.instruments.visa.sockets import LONGEST_RECORD

#: s. A VXI-11 server is told the timeout and answers when it has run out: how much longer its answer may take.
GRACE = 0.5
_PYVISA_GRACE = 1.0
#: The error "device locked by another link" (B.5.2).
_LOCKED = 11
#: The portmapper's procedure (RFC 1833).
_GET_PORT = 3


class _Records(rpc.RawTCPClient):  # type: ignore[misc]  # pyvisa-py has no types
    """ONC RPC over TCP (RFC 5531, record marking in chapter 11)."""

    sock: BoundedSocket

    def connect(self, timeout: float = DEFAULT_OPEN_TIMEOUT) -> None:
        """Open the connection within the timeout (s)."""
        self.sock = connect(self.host, self.port, timeout)
        self._open_timeout = timeout

    def do_call(self) -> None:
        """Send the call that is packed and wait for its reply.

        :raises OSError: no reply in time, or the connection is gone
        :raises rpc.RPCError: a reply to another call, or too long a one
        """
        opening = self.packer.proc in (_GET_PORT, vxi11.CREATE_LINK, vxi11.DESTROY_LINK)
        try:
            self.sock.check_peer()
            self.sock.allow(self._open_timeout if opening else self.timeout - _PYVISA_GRACE + GRACE)
            call = self.packer.get_buf()
            self.sock.sendall(struct.pack(">I", len(call) | 0x8000_0000) + call)
            while True:
                self.unpacker.reset(self._receive_record())
                xid, _ = self.unpacker.unpack_replyheader()
                if xid == self.lastxid:
                    return
                if xid > self.lastxid:
                    raise rpc.RPCError(f"wrong xid in reply {xid} instead of {self.lastxid}")
        except BaseException:
            # Late bytes must not be taken for the reply to a later call. pyvisa-py's close(), a call too, ends at once then.
            self.sock.close()
            raise

    def _receive_record(self) -> bytes:
        record = bytearray()
        last = False
        while not last:
            (header,) = struct.unpack(">I", self._receive(4))
            last, length = bool(header & 0x8000_0000), header & 0x7FFF_FFFF
            if len(record) + length > LONGEST_RECORD:
                raise rpc.RPCError(f"a reply of more than {LONGEST_RECORD} bytes")
            record += self._receive(length)
            # Some portmappers do not mark the last fragment; there is only one.
            last = last or self.packer.proc == _GET_PORT
        return bytes(record)

    def _receive(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            received += self.sock.recv(count - len(received))
        return bytes(received)


class _PortMapper(_Records, rpc.TCPPortMapperClient):  # type: ignore[misc]
    """The portmapper of a host (RFC 1833)."""


class CoreClient(_Records, tcpip.Vxi11CoreClient):  # type: ignore[misc]
    """The core channel of VXI-11; ``open_timeout`` in ms."""

    def __init__(self, host: str, port: int | None, open_timeout: float | None = None) -> None:
        if port is None:
            with contextlib.closing(_PortMapper(host, open_timeout)) as mapper:
                port = mapper.get_port((vxi11.DEVICE_CORE_PROG, vxi11.DEVICE_CORE_VERS, rpc.IPPROTO_TCP, 0))
            if not port:
                raise ConnectionRefusedError(
                    f"{host} is there, but its portmapper knows no VXI-11; turn it on in the unit's LAN settings, or reach the "
                    f"unit in another way, such as TCPIP::{host}::5025::SOCKET"
                )
        super().__init__(host, port, open_timeout)

    def device_read(
        self, link: int, request_size: int, io_timeout: int, lock_timeout: int, flags: int, term_char: int
    ) -> Any:
        """Read a part of the answer; timeouts in ms.

        :raises errors.VisaIOError: another client has locked the unit
        """
        # pyvisa-py counts the timeout down over the parts of an answer, and at 0 goes on asking without one.
        if io_timeout <= 0:
            return vxi11.ErrorCodes.io_timeout, 0, b""
        answer = super().device_read(link, request_size, io_timeout, lock_timeout, flags, term_char)
        _check_lock(answer[0])
        return answer

    def device_write(self, link: int, io_timeout: int, lock_timeout: int, flags: int, data: bytes) -> Any:
        """Send a message; timeouts in ms.

        :raises errors.VisaIOError: another client has locked the unit
        """
        answer = super().device_write(link, io_timeout, lock_timeout, flags, data)
        _check_lock(answer[0])
        return answer

    def create_link(self, client: int, lock: int, lock_timeout: int, name: str) -> Any:
        """Open the link on the connection.

        :raises OSError: no reply in time, or the connection is gone
        """
        answer = super().create_link(client, lock, lock_timeout, name)
        if answer[0]:
            self.sock.close()  # pyvisa-py raises an exception then, and leaves this to the garbage collector
        return answer

    def finish(self) -> None:
        """Have the close that follows deliver the last message: nothing failed."""
        end_in_order(self.sock)


def _check_lock(error: int) -> None:
    """:raises errors.VisaIOError: another client has locked the unit; pyvisa-py says "input/output error" of that"""
    if error == _LOCKED:
        raise errors.VisaIOError(StatusCode.error_resource_locked)


def register() -> None:
    """Make it what pyvisa-py opens, for this process: it looks the name up when it opens a link."""
    tcpip.Vxi11CoreClient = CoreClient

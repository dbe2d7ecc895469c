"""VXI-11 and HiSLIP for pyvisa-py over sockets that keep to a time and notice when the peer is gone.

pyvisa-py's VXI-11 spins at full load for a second and more when the peer closes, and for five more to say goodbye to it;
it starts its timeout anew with every byte and reads as many as the peer claims to send. Its HiSLIP has no limit for
opening the second connection, starts its timeout anew as well, and spins for ever when the peer closes within a message
that it skips. Here every message has one deadline, a broken connection stays broken, and an answer has a size.

Protocols: TCP/IP Instrument Protocol Specification VXI-11, revision 1.0; IVI-6.1, High-Speed LAN Instrument Protocol.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Any

from pyvisa_py import tcpip
from pyvisa_py.protocols import hislip, rpc, vxi11

from agent.instruments.visa.sockets import LONGEST_ANSWER

#: bytes of one RPC record or HiSLIP payload: the longest answer, and room for what is around it.
_LONGEST_RECORD = LONGEST_ANSWER + 4096
#: s, where the session has no timeout.
_FOR_EVER = 365 * 86400.0
#: s that a VXI-11 server, which is told the timeout and answers when it has run out, may take longer than that to answer.
GRACE = 0.5
_PYVISA_GRACE = 1.0
#: The portmapper's procedure (RFC 1833).
_GET_PORT = 3
#: s, where no timeout was asked for; pyvisa-py's own figure.
_DEFAULT_OPEN_TIMEOUT = 5.0


class BoundedSocket(socket.socket):
    """A TCP connection whose every operation ends at `deadline`, and which raises where the peer has closed it."""

    deadline = _FOR_EVER

    def allow(self, seconds: float | None) -> None:
        """All that follows has this long (s) together, None for ever."""
        self.deadline = time.monotonic() + (_FOR_EVER if seconds is None else seconds)

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        self._arm()
        data = super().recv(count, flags)
        if not data:
            raise ConnectionResetError("the unit closed the connection")
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        self._arm()
        count = super().recv_into(buffer, nbytes, flags)
        if count == 0:
            raise ConnectionResetError("the unit closed the connection")
        return count

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._arm()
        super().sendall(data, flags)


def connect(host: str, port: int, timeout: float) -> BoundedSocket:
    """Open a TCP connection within the timeout (s).

    :raises OSError: with the last address's reason
    """
    with socket.create_connection((host.strip("[]"), port), timeout) as connection:
        bounded = BoundedSocket(connection.family, connection.type, connection.proto, connection.detach())
    bounded.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bounded.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    bounded.allow(timeout)
    return bounded


class _Records(rpc.RawTCPClient):  # type: ignore[misc]  # pyvisa-py has no types
    """ONC RPC over TCP (RFC 5531, record marking in chapter 11)."""

    sock: BoundedSocket

    def connect(self, timeout: float = _DEFAULT_OPEN_TIMEOUT) -> None:
        self.sock = connect(self.host, self.port, timeout)
        self._open_timeout = timeout

    def do_call(self) -> None:
        opening = self.packer.proc in (_GET_PORT, vxi11.CREATE_LINK, vxi11.DESTROY_LINK)
        try:
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
            # Nothing that is still to come belongs to a later call; so closing, which is a call as well, ends at once.
            self.sock.close()
            raise

    def _receive_record(self) -> bytes:
        record = bytearray()
        last = False
        while not last:
            (header,) = struct.unpack(">I", self._receive(4))
            last, length = bool(header & 0x8000_0000), header & 0x7FFF_FFFF
            if len(record) + length > _LONGEST_RECORD:
                raise rpc.RPCError(f"a reply of more than {_LONGEST_RECORD} bytes")
            record += self._receive(length)
            # Some portmappers forget to mark the last fragment; theirs is the only one.
            last = last or self.packer.proc == _GET_PORT
        return bytes(record)

    def _receive(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            received += self.sock.recv(count - len(received))
        return bytes(received)


class _PortMapper(_Records, rpc.TCPPortMapperClient):  # type: ignore[misc]
    pass


class CoreClient(_Records, tcpip.Vxi11CoreClient):  # type: ignore[misc]
    """The core channel of VXI-11; ``open_timeout`` in ms."""

    def __init__(self, host: str, port: int | None, open_timeout: float | None = None) -> None:
        if port is None:
            with contextlib.closing(_PortMapper(host, open_timeout)) as mapper:
                port = mapper.get_port((vxi11.DEVICE_CORE_PROG, vxi11.DEVICE_CORE_VERS, rpc.IPPROTO_TCP, 0))
            if not port:
                raise ConnectionRefusedError(f"the portmapper of {host} knows no VXI-11")
        super().__init__(host, port, open_timeout)

    def device_read(
        self, link: int, request_size: int, io_timeout: int, lock_timeout: int, flags: int, term_char: int
    ) -> Any:
        # pyvisa-py counts the timeout down over the parts of an answer and then goes on asking with none.
        if io_timeout <= 0:
            return vxi11.ErrorCodes.io_timeout, 0, b""
        return super().device_read(link, request_size, io_timeout, lock_timeout, flags, term_char)


class Instrument(hislip.Instrument):  # type: ignore[misc]
    """The two connections of HiSLIP. ``timeout`` in s; ``open_timeout`` as pyvisa-py gives it, in thousandths of a ms."""

    _sync: BoundedSocket
    _async: BoundedSocket

    def __init__(
        self,
        ip_addr: str,
        open_timeout: float | None = None,
        timeout: float | None = None,
        port: int = hislip.PORT,
        sub_address: str = "hislip0",
    ) -> None:
        within = open_timeout / 1e6 if open_timeout else _DEFAULT_OPEN_TIMEOUT
        self._timeout = timeout or _DEFAULT_OPEN_TIMEOUT
        with contextlib.ExitStack() as stack:
            self._sync = stack.enter_context(connect(ip_addr, port, within))
            init = self.initialize(sub_address=sub_address.encode("ascii"))
            self._async = stack.enter_context(connect(ip_addr, port, within))
            self._async_init = self.async_initialize(session_id=init.session_id)
            self._rmt = 0
            self._message_id = 0xFFFF_FF00
            self._last_message_id: int | None = None
            self._msg_type = ""
            self._payload_remaining = 0
            self._keepalive = True
            self.max_msg_size = hislip.DEFAULT_MAX_MSG_SIZE
            stack.pop_all()

    @property
    def timeout(self) -> float:
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._timeout = seconds

    def send(self, data: bytes) -> int:
        self._sync.allow(self._timeout)
        return int(super().send(data))

    def receive(self, max_len: int = 4096) -> bytes:
        self._sync.allow(self._timeout)
        return bytes(super().receive(max_len))

    def device_clear(self) -> None:
        self._sync.allow(self._timeout)
        self._async.allow(self._timeout)
        super().device_clear()


def _receive_exact(connection: socket.socket, count: int) -> bytearray:
    if count > _LONGEST_RECORD:
        raise ConnectionError(f"a payload of {count} bytes")
    buffer = bytearray(count)
    hislip.receive_exact_into(connection, buffer)
    return buffer


def register() -> None:
    """Make them what pyvisa-py opens, for this process: it looks these names up when it opens a link."""
    tcpip.Vxi11CoreClient = CoreClient
    hislip.Instrument = Instrument
    hislip.receive_exact = _receive_exact

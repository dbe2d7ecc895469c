"""ONC RPC, as far as VXI-11 needs it: XDR, calls and replies over TCP and UDP, and a portmapper.

After RFC 5531 (RPC version 2), RFC 4506 (XDR) and RFC 1833 (port mapper version 2).
"""

from __future__ import annotations

import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from agent.simulator.reactor import Connection, Listener, Reactor

_LAST_FRAGMENT = 1 << 31
_CALL, _REPLY = 0, 1
_ACCEPTED, _DENIED = 0, 1
_SUCCESS, _NO_PROGRAM, _NO_VERSION, _NO_PROCEDURE, _GARBAGE = range(5)
_RPC_VERSION: Final = 2

_PORTMAPPER_PROGRAM, _PORTMAPPER_VERSION, _PORTMAPPER_PORT = 100000, 2, 111
_TCP: Final = 6
_NO_PORT = struct.pack(">I", 0)


class BadArgumentsError(ValueError):
    """A call whose arguments are not what its procedure takes."""


class Unpacker:
    """Reads XDR.

    Every method raises `BadArgumentsError` where the data ends too early.
    """

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    def uint(self) -> int:
        """The next unsigned integer of 32 bits."""
        end = self._position + 4
        if end > len(self._data):
            raise BadArgumentsError
        value = int.from_bytes(self._data[self._position : end], "big")
        self._position = end
        return value

    def opaque(self) -> bytes:
        """The next variable-length bytes."""
        length = self.uint()
        end = self._position + length
        if end > len(self._data):
            raise BadArgumentsError
        data = self._data[self._position : end]
        self._position = end + -length % 4
        return data

    @property
    def rest(self) -> bytes:
        """The bytes that were not read yet."""
        return self._data[self._position :]


def pack_uints(*values: int) -> bytes:
    """Unsigned integers of 32 bits as XDR."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def pack_opaque(data: bytes) -> bytes:
    """Variable-length bytes as XDR."""
    return len(data).to_bytes(4, "big") + data + bytes(-len(data) % 4)


Respond = Callable[[bytes], None]
Procedure = Callable[["RpcConnection | None", Unpacker, Respond], None]
"""Gets the connection (None over UDP), the arguments, and what to call, once, with the packed result."""

Program = tuple[int, Mapping[int, Procedure]]
"""A version, and the procedures by their numbers."""


def dispatch(
    programs: Mapping[int, Program], record: bytes, connection: RpcConnection | None, send: Callable[[bytes], None]
) -> bool:
    """Carry out one call; ``send`` gets the reply, now or later. False if the record is no call at all."""
    call = Unpacker(record)
    try:
        transaction, direction = call.uint(), call.uint()
        if direction != _CALL:
            return False
        version, program, program_version, procedure = call.uint(), call.uint(), call.uint(), call.uint()
        for _ in ("credentials", "verifier"):
            call.uint()
            call.opaque()
    except BadArgumentsError:
        return False
    if version != _RPC_VERSION:
        send(pack_uints(transaction, _REPLY, _DENIED, 0, _RPC_VERSION, _RPC_VERSION))
        return True

    def accept(status: int, result: bytes = b"") -> None:
        send(pack_uints(transaction, _REPLY, _ACCEPTED, 0, 0, status) + result)

    if program not in programs:
        accept(_NO_PROGRAM)
        return True
    known_version, procedures = programs[program]
    if program_version != known_version:
        accept(_NO_VERSION, pack_uints(known_version, known_version))
    elif procedure == 0:
        accept(_SUCCESS)
    elif procedure not in procedures:
        accept(_NO_PROCEDURE)
    else:
        try:
            procedures[procedure](connection, Unpacker(call.rest), lambda result: accept(_SUCCESS, result))
        except BadArgumentsError:
            accept(_GARBAGE)
    return True


class RpcConnection(Connection):
    """One TCP connection of a client. Calls are carried out one after the other; ``ended`` is told of its end."""

    def __init__(
        self,
        reactor: Reactor,
        stream: socket.socket,
        programs: Mapping[int, Program],
        longest_record: int,
        ended: Callable[[RpcConnection], None],
    ) -> None:
        super().__init__(reactor, stream)
        self._programs = programs
        self._longest = longest_record
        self._ended = ended
        self._buffer = b""
        self._record = b""
        self._waiting: deque[bytes] = deque()
        self._busy = False

    def received(self, data: bytes) -> None:
        """Carry out the calls that ``data`` completes."""
        self._buffer += data
        while self.open and len(self._buffer) >= 4:
            header = int.from_bytes(self._buffer[:4], "big")
            end = 4 + (header & ~_LAST_FRAGMENT)
            # A record that claims to be longer than any call is no RPC; reading on would only fill the memory.
            if end - 4 + len(self._record) > self._longest:
                self.close()
                return
            if len(self._buffer) < end:
                return
            self._record += self._buffer[4:end]
            self._buffer = self._buffer[end:]
            if header & _LAST_FRAGMENT:
                self._waiting.append(self._record)
                self._record = b""
        self._next()

    def _next(self) -> None:
        while self.open and not self._busy and self._waiting:
            self._busy = True
            if not dispatch(self._programs, self._waiting.popleft(), self, self._respond):
                self.close()

    def _respond(self, reply: bytes) -> None:
        self.send((len(reply) | _LAST_FRAGMENT).to_bytes(4, "big") + reply)
        self._busy = False
        if self._waiting:
            self.reactor.call_soon(self._next)

    def closed(self) -> None:
        """Drop the calls that wait, and call ``ended``."""
        self._waiting.clear()
        self._ended(self)


class RpcServer(Listener):
    """Serves RPC programs over TCP."""

    def __init__(
        self,
        reactor: Reactor,
        host: str,
        port: int,
        programs: Mapping[int, Program],
        *,
        longest_record: int = 4096,
        ended: Callable[[RpcConnection], None] = lambda _: None,
    ) -> None:
        super().__init__(
            reactor, host, port, lambda stream: RpcConnection(reactor, stream, programs, longest_record, ended)
        )


class Portmapper:
    """Tells the ports of programs, on port 111 of one address, over TCP and UDP.

    :param mappings: program number, version and port of each program over TCP
    :raises OSError: the port can't be had
    """

    def __init__(self, reactor: Reactor, host: str, mappings: Iterable[tuple[int, int, int]]) -> None:
        self._reactor = reactor
        self._mappings = list(mappings)
        self._programs: Mapping[int, Program] = {
            _PORTMAPPER_PROGRAM: (_PORTMAPPER_VERSION, {3: self._get_port, 4: self._dump})
        }
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setblocking(False)
        try:
            self._udp.bind((host, _PORTMAPPER_PORT))
            self._tcp = RpcServer(reactor, host, _PORTMAPPER_PORT, self._programs)
        except OSError:
            self._udp.close()
            raise
        reactor.call(lambda: reactor.watch(self._udp, selectors.EVENT_READ, self))

    def on_events(self, _events: int) -> None:
        """Answer one call over UDP; called by the reactor."""
        try:
            record, sender = self._udp.recvfrom(65536)
        except OSError:
            return

        def send(reply: bytes) -> None:
            try:
                self._udp.sendto(reply, sender)
            except OSError:
                return

        dispatch(self._programs, record, None, send)

    def disconnect(self, *, reset: bool = False) -> None:
        """Close every connection, and go on listening."""
        self._tcp.disconnect(reset=reset)

    def close(self) -> None:
        """Stop listening on TCP and UDP."""

        def close() -> None:
            self._reactor.watch(self._udp, 0, self)
            self._udp.close()

        self._reactor.call(close)
        self._tcp.close()

    def _get_port(self, _connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        program, version, protocol, _ = call.uint(), call.uint(), call.uint(), call.uint()
        for known, known_version, port in self._mappings:
            if (program, version, protocol) == (known, known_version, _TCP):
                respond(pack_uints(port))
                return
        respond(_NO_PORT)

    def _dump(self, _connection: RpcConnection | None, _call: Unpacker, respond: Respond) -> None:
        entries = (pack_uints(1, program, version, _TCP, port) for program, version, port in self._mappings)
        respond(b"".join(entries) + pack_uints(0))

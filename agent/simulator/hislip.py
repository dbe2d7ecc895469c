"""HiSLIP (IVI-6.1 revision 1.1, protocol version 1.0) for a simulated instrument, in synchronized mode.

A lock that another session holds is not waited for: the answer to AsyncLock is a failure at once.
"""

from __future__ import annotations

import itertools
import socket
import struct
from typing import Final

from agent.simulator.exchange import INPUT_LIMIT, Exchange
from agent.simulator.reactor import Connection, Listener
from agent.simulator.scpi import ScpiError

_HEADER = struct.Struct(">2sBBIQ")

INITIALIZE, INITIALIZE_RESPONSE, FATAL_ERROR, ERROR, ASYNC_LOCK, ASYNC_LOCK_RESPONSE, DATA, DATA_END = range(8)
DEVICE_CLEAR_COMPLETE, DEVICE_CLEAR_ACKNOWLEDGE, ASYNC_REMOTE_LOCAL_CONTROL, ASYNC_REMOTE_LOCAL_RESPONSE = range(8, 12)
TRIGGER, INTERRUPTED, ASYNC_INTERRUPTED, ASYNC_MAX_MESSAGE_SIZE, ASYNC_MAX_MESSAGE_SIZE_RESPONSE = range(12, 17)
ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE, ASYNC_DEVICE_CLEAR, ASYNC_SERVICE_REQUEST = range(17, 21)
ASYNC_STATUS_QUERY, ASYNC_STATUS_RESPONSE, ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = range(21, 24)
ASYNC_LOCK_INFO, ASYNC_LOCK_INFO_RESPONSE = range(24, 26)

_FATAL_BAD_HEADER, _FATAL_NO_CHANNELS, _FATAL_BAD_SEQUENCE, _FATAL_TOO_MANY = 1, 2, 3, 4
_ERROR_UNKNOWN_TYPE, _ERROR_TOO_LARGE = 1, 4

_PROTOCOL_VERSION: Final = 0x0100
_VENDOR: Final = 0x4B54  # "KT", as Keysight's instruments say
_MAX_MESSAGE: Final = 1 << 20  # bytes that a client may send in one message
_MAX_SESSIONS: Final = 32
_REMOTE_LOCAL_CODES: Final = range(7)


class _Session:
    """The two connections of one client."""

    def __init__(self, server: HislipServer, number: int, synchronous: _HislipConnection) -> None:
        self.number = number
        self.synchronous = synchronous
        self.asynchronous: _HislipConnection | None = None
        self.shared_lock: bytes | None = None
        self._server = server
        self._exchange = server.exchange
        self._client_max = _MAX_MESSAGE
        self._input = b""
        self._generation = 0  # answers to messages from before a clear are dropped
        self._answer_unread = False  # an answer was sent whose delivery the client has not confirmed

    def data(self, end: bool, delivered: bool, message_id: int, payload: bytes) -> None:
        if delivered:
            self._answer_unread = False
        if self._answer_unread and not self._input:
            # IVI-6.1, 3.1.1: a new message although the last answer was not read.
            self._answer_unread = False
            self._exchange.instrument.report(ScpiError(-410))
            self.synchronous.transmit(INTERRUPTED, 0, message_id)
            if self.asynchronous is not None:
                self.asynchronous.transmit(ASYNC_INTERRUPTED, 0, message_id)
        self._input = (self._input + payload)[: INPUT_LIMIT + 1]
        if end:
            message, self._input = self._input, b""
            self._submit(message, message_id)

    def trigger(self, delivered: bool, message_id: int) -> None:
        if delivered:
            self._answer_unread = False
        self._submit(b"*TRG", message_id)

    def confirm(self) -> None:
        """The client has read the last answer to its end."""
        self._answer_unread = False

    def status(self) -> int:
        return self._exchange.instrument.status_byte(message_available=self._answer_unread)

    def set_client_max(self, size: int) -> None:
        self._client_max = max(size, 64)

    def clear(self) -> None:
        self._generation += 1
        self._input = b""
        self._answer_unread = False
        self._exchange.discard(self)
        self._exchange.instrument.device_clear()

    def end(self) -> None:
        self.clear()
        self._exchange.forget(self)
        self.synchronous.close()
        if self.asynchronous is not None:
            self.asynchronous.close()

    def _submit(self, message: bytes, message_id: int) -> None:
        generation = self._generation

        def answered(answer: bytes | None) -> None:
            if answer is not None and generation == self._generation and self.synchronous.open:
                self._send(answer + b"\n", message_id)

        self._exchange.submit(self, message, answered)

    def _send(self, answer: bytes, message_id: int) -> None:
        self._answer_unread = True
        size = self._client_max - _HEADER.size
        while len(answer) > size:
            self.synchronous.transmit(DATA, 0, message_id, answer[:size])
            answer = answer[size:]
        self.synchronous.transmit(DATA_END, 0, message_id, answer)


class _HislipConnection(Connection):
    """One TCP connection. Its first message makes it the synchronous or the asynchronous channel of a session."""

    def __init__(self, server: HislipServer, stream: socket.socket) -> None:
        super().__init__(server.exchange.reactor, stream)
        self._server = server
        self._session: _Session | None = None
        self._buffer = b""

    def transmit(self, kind: int, control: int, parameter: int, payload: bytes = b"") -> None:
        self.send(_HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)

    def received(self, data: bytes) -> None:
        self._buffer += data
        while self.usable and len(self._buffer) >= _HEADER.size:
            prologue, kind, control, parameter, length = _HEADER.unpack_from(self._buffer)
            if prologue != b"HS":
                self._fail(_FATAL_BAD_HEADER, b"Poorly formed message header")
                return
            if length > _MAX_MESSAGE:
                self.transmit(ERROR, _ERROR_TOO_LARGE, 0, b"Message too large")
                self.finish()
                return
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = self._buffer[_HEADER.size : end]
            self._buffer = self._buffer[end:]
            self._message(kind, control, parameter, payload)

    def closed(self) -> None:
        if self._session is not None:
            self._server.remove(self._session)

    def _fail(self, code: int, text: bytes) -> None:
        self.transmit(FATAL_ERROR, code, 0, text)
        self.finish()

    def _message(self, kind: int, control: int, parameter: int, payload: bytes) -> None:
        session = self._session
        if session is None:
            self._first_message(kind, parameter, payload)
        elif kind in (INITIALIZE, ASYNC_INITIALIZE):
            self._fail(_FATAL_BAD_SEQUENCE, b"Invalid initialization sequence")
        elif session.asynchronous is None:
            self._fail(_FATAL_NO_CHANNELS, b"Attempt to use connection without both channels established")
        elif kind in (FATAL_ERROR, ERROR):
            if kind == FATAL_ERROR:
                self.close()
        elif self is session.synchronous:
            self._synchronous_message(session, kind, control, parameter, payload)
        else:
            self._asynchronous_message(session, kind, control, parameter, payload)

    def _first_message(self, kind: int, parameter: int, payload: bytes) -> None:
        if kind == INITIALIZE:
            if payload.lower() not in (b"hislip0", b""):
                self._fail(_FATAL_BAD_SEQUENCE, b"Unknown sub-address")
                return
            self._session = self._server.add(self)
            if self._session is None:
                self._fail(_FATAL_TOO_MANY, b"Maximum number of clients exceeded")
                return
            version = min(_PROTOCOL_VERSION, parameter >> 16)
            self.transmit(INITIALIZE_RESPONSE, 0, version << 16 | self._session.number)
        elif kind == ASYNC_INITIALIZE:
            session = self._server.session(parameter)
            if session is None or session.asynchronous is not None:
                self._fail(_FATAL_BAD_SEQUENCE, b"Invalid initialization sequence")
                return
            self._session = session
            session.asynchronous = self
            self.transmit(ASYNC_INITIALIZE_RESPONSE, 0, _VENDOR)
        else:
            self._fail(_FATAL_BAD_SEQUENCE, b"Invalid initialization sequence")

    def _synchronous_message(self, session: _Session, kind: int, control: int, parameter: int, payload: bytes) -> None:
        if kind in (DATA, DATA_END):
            session.data(kind == DATA_END, bool(control & 1), parameter, payload)
        elif kind == TRIGGER:
            session.trigger(bool(control & 1), parameter)
        elif kind == DEVICE_CLEAR_COMPLETE:
            session.clear()
            self.transmit(DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
        else:
            self.transmit(ERROR, _ERROR_UNKNOWN_TYPE, 0, b"Unrecognized message type")

    def _asynchronous_message(self, session: _Session, kind: int, control: int, parameter: int, payload: bytes) -> None:
        if kind == ASYNC_STATUS_QUERY:
            if control & 1:
                session.confirm()
            self.transmit(ASYNC_STATUS_RESPONSE, session.status(), 0)
        elif kind == ASYNC_DEVICE_CLEAR:
            session.clear()
            self.transmit(ASYNC_DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
        elif kind == ASYNC_MAX_MESSAGE_SIZE and len(payload) == 8:
            session.set_client_max(int.from_bytes(payload, "big"))
            self.transmit(ASYNC_MAX_MESSAGE_SIZE_RESPONSE, 0, 0, _MAX_MESSAGE.to_bytes(8, "big"))
        elif kind == ASYNC_LOCK:
            response = self._server.lock(session, payload) if control & 1 else self._server.unlock(session)
            self.transmit(ASYNC_LOCK_RESPONSE, response, 0)
        elif kind == ASYNC_LOCK_INFO:
            exclusive, holders = self._server.lock_info()
            self.transmit(ASYNC_LOCK_INFO_RESPONSE, int(exclusive), holders)
        elif kind == ASYNC_REMOTE_LOCAL_CONTROL and control in _REMOTE_LOCAL_CODES:
            self.transmit(ASYNC_REMOTE_LOCAL_RESPONSE, 0, 0)
        else:
            self.transmit(ERROR, _ERROR_UNKNOWN_TYPE, 0, b"Unrecognized message type")


class HislipServer(Listener):
    """The HiSLIP interface of one instrument, as ``hislip0``.

    :raises OSError: the port can't be had
    """

    def __init__(self, exchange: Exchange, host: str, port: int) -> None:
        self.exchange = exchange
        self._sessions: dict[int, _Session] = {}
        self._numbers = itertools.count(1)
        super().__init__(exchange.reactor, host, port, lambda stream: _HislipConnection(self, stream))

    def add(self, synchronous: _HislipConnection) -> _Session | None:
        """A new session, or None if there are too many."""
        if len(self._sessions) >= _MAX_SESSIONS:
            return None
        number = next(n for n in (next(self._numbers) & 0xFFFF for _ in itertools.count()) if n not in self._sessions)
        session = _Session(self, number, synchronous)
        self.exchange.instrument.connected()
        self._sessions[number] = session
        return session

    def session(self, number: int) -> _Session | None:
        """The session of that number, or None."""
        return self._sessions.get(number)

    def remove(self, session: _Session) -> None:
        """End a session with both of its connections and its locks."""
        if self._sessions.pop(session.number, None) is not None:
            session.end()

    def lock(self, session: _Session, shared: bytes) -> int:
        """0 refused, 1 granted, 3 the session has it already (IVI-6.1, 6.5)."""
        holders = [other for other in self._sessions.values() if other.shared_lock is not None and other is not session]
        if shared:
            if session.shared_lock is not None:
                return 3
            if self.exchange.lock_owner not in (None, session) or any(h.shared_lock != shared for h in holders):
                return 0
            session.shared_lock = shared
            return 1
        if self.exchange.lock_owner is session:
            return 3
        if any(holder.shared_lock != session.shared_lock for holder in holders):
            return 0
        return int(self.exchange.lock(session))

    def unlock(self, session: _Session) -> int:
        """1 an exclusive lock was released, 2 a shared one, 3 there was none."""
        if self.exchange.lock_owner is session:
            self.exchange.unlock()
            return 1
        if session.shared_lock is not None:
            session.shared_lock = None
            return 2
        return 3

    def lock_info(self) -> tuple[bool, int]:
        """True for an exclusive lock, and the number of sessions that hold any."""
        owner = self.exchange.lock_owner
        holders = sum(1 for s in self._sessions.values() if s.shared_lock is not None or s is owner)
        return owner is not None, holders

"""VXI-11 (TCP/IP Instrument Protocol, revision 1.0, and VXI-11.3) for a simulated instrument.

The core and the abort channel. There is no interrupt channel: creating one is refused as not supported.
"""

from __future__ import annotations

import itertools
from typing import Final

from agent.simulator.base import Instrument
from agent.simulator.exchange import INPUT_LIMIT, Exchange
from agent.simulator.reactor import Timer
from agent.simulator.rpc import (
    BadArgumentsError,
    Portmapper,
    Procedure,
    Respond,
    RpcConnection,
    RpcServer,
    Unpacker,
    pack_opaque,
    pack_uints,
)
from agent.simulator.scpi import ScpiError

CORE_PROGRAM: Final = 0x0607AF
ASYNC_PROGRAM: Final = 0x0607B0
VERSION: Final = 1

_NO_ERROR = 0
_NOT_ACCESSIBLE = 3
_INVALID_LINK = 4
_NOT_SUPPORTED = 8
_OUT_OF_RESOURCES = 9
_LOCKED = 11
_NO_LOCK = 12
_TIMEOUT = 15
_ABORTED = 23

_FLAG_END, _FLAG_TERMINATOR = 8, 128
_REASON_COUNT, _REASON_TERMINATOR, _REASON_END = 1, 2, 4

_MAX_RECEIVE = 16384  # bytes in one device_write
_MAX_LINKS = 64


class _Link:
    """One link, as create_link opens it."""

    def __init__(self, server: Vxi11Server, connection: RpcConnection) -> None:
        self.connection = connection
        self._server = server
        self._exchange = server.exchange
        self._input = b""
        self._output = b""
        self._generation = 0  # answers to messages from before a clear are dropped
        self._pending = 0
        self._reading: tuple[int, int | None, Respond, Timer | None] | None = None

    @property
    def message_available(self) -> bool:
        return bool(self._output)

    def write(self, data: bytes, end: bool) -> None:
        self._input += data
        if not end:
            # A message that is too long is cut to one byte above the limit, by which the exchange sees it.
            self._input = self._input[: INPUT_LIMIT + 1]
            return
        message, self._input = self._input, b""
        if self._output:
            # IEEE 488.2 6.3.2.3: a new message before the last answer was read.
            self._output = b""
            self._exchange.instrument.report(ScpiError(-410))
        generation = self._generation
        self._pending += 1

        def answered(answer: bytes | None) -> None:
            if generation == self._generation:
                self._pending -= 1
                if answer is not None:
                    self._output += answer + b"\n"
                self._serve()

        self._exchange.submit(self, message, answered)

    def read(self, size: int, terminator: int | None, timeout: int, respond: Respond) -> None:
        self._reading = (size, terminator, respond, None)
        if self._serve():
            return
        if timeout == 0:
            self._timed_out()
        else:
            timer = self._exchange.reactor.call_later(timeout / 1000, self._timed_out)
            self._reading = (size, terminator, respond, timer)

    def abort(self) -> None:
        self._end_read(pack_uints(_ABORTED, 0) + pack_opaque(b""))

    def clear(self) -> None:
        self._generation += 1
        self._pending = 0
        self._input = self._output = b""
        self._exchange.discard(self)
        self._exchange.instrument.device_clear()

    def destroy(self) -> None:
        self.clear()
        if self._reading and self._reading[3]:
            self._reading[3].cancel()
        self._reading = None
        self._exchange.forget(self)

    def _serve(self) -> bool:
        if self._reading is None or not self._output:
            return False
        size, terminator, _, _ = self._reading
        data = self._output[:size]
        reason = 0
        if terminator is not None and (at := data.find(terminator)) >= 0:
            data = data[: at + 1]
            reason |= _REASON_TERMINATOR
        self._output = self._output[len(data) :]
        if not self._output:
            reason |= _REASON_END
        if len(data) == size:
            reason |= _REASON_COUNT
        self._end_read(pack_uints(_NO_ERROR, reason) + pack_opaque(data))
        return True

    def _timed_out(self) -> None:
        if self._reading is not None and not self._pending:
            self._exchange.instrument.report(ScpiError(-420))
        self._end_read(pack_uints(_TIMEOUT, 0) + pack_opaque(b""))

    def _end_read(self, result: bytes) -> None:
        if self._reading is not None:
            _, _, respond, timer = self._reading
            self._reading = None
            if timer is not None:
                timer.cancel()
            respond(result)


class Vxi11Server:
    """The VXI-11 interface of one instrument, as device ``inst0``.

    :raises OSError: a port can't be had
    """

    def __init__(self, exchange: Exchange, host: str, port: int, *, portmapper: bool = False) -> None:
        self.exchange = exchange
        self._links: dict[int, _Link] = {}
        self._numbers = itertools.count(1)
        procedures: dict[int, Procedure] = {
            10: self._create_link,
            11: self._device_write,
            12: self._device_read,
            13: self._device_readstb,
            14: self._device_trigger,
            15: self._device_clear,
            16: self._device_remote_or_local,
            17: self._device_remote_or_local,
            18: self._device_lock,
            19: self._device_unlock,
            20: self._device_enable_srq,
            22: self._device_docmd,
            23: self._destroy_link,
            25: self._interrupt_channel,
            26: self._interrupt_channel,
        }
        reactor = exchange.reactor
        self._core = RpcServer(
            reactor,
            host,
            port,
            {CORE_PROGRAM: (VERSION, procedures)},
            longest_record=_MAX_RECEIVE + 1024,
            ended=self._connection_ended,
        )
        self.port = self._core.port
        try:
            self._abort = RpcServer(reactor, host, 0, {ASYNC_PROGRAM: (VERSION, {1: self._device_abort})})
        except OSError:
            self._core.close()
            raise
        self._portmapper: Portmapper | None = None
        if portmapper:
            programs = [(CORE_PROGRAM, VERSION, self._core.port), (ASYNC_PROGRAM, VERSION, self._abort.port)]
            try:
                self._portmapper = Portmapper(reactor, host, programs)
            except OSError:
                self._abort.close()
                self._core.close()
                raise

    def disconnect(self, *, reset: bool = False) -> None:
        """Close every connection, and go on listening."""
        for server in (self._core, self._abort):
            server.disconnect(reset=reset)

    def close(self) -> None:
        """Stop listening and close every connection."""
        if self._portmapper is not None:
            self._portmapper.close()
        self._abort.close()
        self._core.close()

    @property
    def _instrument(self) -> Instrument:
        return self.exchange.instrument

    def _connection_ended(self, connection: RpcConnection) -> None:
        for number in [number for number, link in self._links.items() if link.connection is connection]:
            self._links.pop(number).destroy()

    def _link(self, number: int, connection: RpcConnection | None) -> _Link | None:
        link = self._links.get(number)
        return link if link is not None and link.connection is connection else None

    def _is_locked_for(self, link: _Link) -> bool:
        return self.exchange.lock_owner not in (None, link)

    # --- core channel (VXI-11 B.6)

    def _create_link(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        _client, lock, _lock_timeout, device = call.uint(), call.uint(), call.uint(), call.opaque()
        if connection is None:
            raise BadArgumentsError
        if device.lower() not in (b"inst0", b""):
            respond(pack_uints(_NOT_ACCESSIBLE, 0, 0, 0))
        elif len(self._links) >= _MAX_LINKS:
            respond(pack_uints(_OUT_OF_RESOURCES, 0, 0, 0))
        else:
            link = _Link(self, connection)
            if lock and not self.exchange.lock(link):
                respond(pack_uints(_LOCKED, 0, 0, 0))
                return
            number = next(self._numbers)
            self._links[number] = link
            self._instrument.connected()
            respond(pack_uints(_NO_ERROR, number, self._abort.port, _MAX_RECEIVE))

    def _device_write(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._link(call.uint(), connection)
        _timeout, _lock_timeout, flags, data = call.uint(), call.uint(), call.uint(), call.opaque()
        if link is None:
            respond(pack_uints(_INVALID_LINK, 0))
        elif self._is_locked_for(link):
            respond(pack_uints(_LOCKED, 0))
        else:
            respond(pack_uints(_NO_ERROR, len(data)))
            link.write(data, bool(flags & _FLAG_END))

    def _device_read(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._link(call.uint(), connection)
        size, timeout, _lock_timeout, flags, terminator = (call.uint() for _ in range(5))
        if link is None:
            respond(pack_uints(_INVALID_LINK, 0) + pack_opaque(b""))
        elif self._is_locked_for(link):
            respond(pack_uints(_LOCKED, 0) + pack_opaque(b""))
        else:
            link.read(max(size, 1), terminator & 0xFF if flags & _FLAG_TERMINATOR else None, timeout, respond)

    def _device_readstb(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._generic(connection, call)
        if link is None:
            respond(pack_uints(_INVALID_LINK, 0))
        else:
            available = link.message_available
            respond(pack_uints(_NO_ERROR, self._instrument.status_byte(message_available=available)))

    def _device_trigger(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._generic(connection, call)
        if link is not None:
            self.exchange.submit(link, b"*TRG", lambda _: None)
        respond(pack_uints(_INVALID_LINK if link is None else _NO_ERROR))

    def _device_clear(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._generic(connection, call)
        if link is not None:
            link.clear()
        respond(pack_uints(_INVALID_LINK if link is None else _NO_ERROR))

    def _device_remote_or_local(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._generic(connection, call)
        respond(pack_uints(_INVALID_LINK if link is None else _NO_ERROR))

    def _device_lock(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._link(call.uint(), connection)
        if link is None:
            respond(pack_uints(_INVALID_LINK))
        else:
            # A lock held by another link is not waited for, whatever the timeout.
            respond(pack_uints(_NO_ERROR if self.exchange.lock(link) else _LOCKED))

    def _device_unlock(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._link(call.uint(), connection)
        if link is None:
            respond(pack_uints(_INVALID_LINK))
        elif self.exchange.lock_owner is not link:
            respond(pack_uints(_NO_LOCK))
        else:
            self.exchange.unlock()
            respond(pack_uints(_NO_ERROR))

    def _device_enable_srq(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        respond(pack_uints(_INVALID_LINK if self._link(call.uint(), connection) is None else _NO_ERROR))

    def _device_docmd(self, _connection: RpcConnection | None, _call: Unpacker, respond: Respond) -> None:
        respond(pack_uints(_NOT_SUPPORTED) + pack_opaque(b""))

    def _destroy_link(self, connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        number = call.uint()
        link = self._link(number, connection)
        if link is not None:
            del self._links[number]
            link.destroy()
        respond(pack_uints(_INVALID_LINK if link is None else _NO_ERROR))

    def _interrupt_channel(self, _connection: RpcConnection | None, _call: Unpacker, respond: Respond) -> None:
        respond(pack_uints(_NOT_SUPPORTED))

    def _generic(self, connection: RpcConnection | None, call: Unpacker) -> _Link | None:
        """The link of a call that has nothing else to say (Device_GenericParms)."""
        link = self._link(call.uint(), connection)
        for _ in ("flags", "lock timeout", "io timeout"):
            call.uint()
        return link

    # --- abort channel (VXI-11 B.6.13): another connection, so the link is known by its number alone

    def _device_abort(self, _connection: RpcConnection | None, call: Unpacker, respond: Respond) -> None:
        link = self._links.get(call.uint())
        if link is not None:
            link.abort()
        respond(pack_uints(_INVALID_LINK if link is None else _NO_ERROR))

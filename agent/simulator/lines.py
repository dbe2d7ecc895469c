"""Transports of bare bytes, framed as the instrument's `Framing` says: a raw TCP socket and a serial line."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
import tty
from collections.abc import Callable

from agent.simulator.base import Framing
from agent.simulator.exchange import INPUT_LIMIT, Exchange
from agent.simulator.reactor import Connection, Listener, Reactor, Timer


class LineReader:
    """Cuts a stream into messages for ``submit``, at the byte that ends them or at a pause, as the instrument's framing says.

    One of more than `INPUT_LIMIT` bytes comes out cut short, but still too long. For the reactor's thread.
    """

    def __init__(self, reactor: Reactor, framing: Framing, submit: Callable[[bytes], None]) -> None:
        self._reactor = reactor
        self._framing = framing
        self._submit = submit
        self._rest = b""
        self._pause: Timer | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes that came in; empty ones if the line is broken."""
        end, quiet = self._framing.message_end, self._framing.quiet
        rest = self._rest + data
        messages: list[bytes] = []
        if self._framing.cut is not None:
            messages, rest = self._framing.cut(rest)
        elif end:
            *messages, rest = rest.split(end)
        # One byte above the limit is kept, so that the exchange sees that the message was too long.
        self._rest = rest[: INPUT_LIMIT + 1]
        if quiet is not None:
            self.stop()
            if rest:
                self._pause = self._reactor.call_later(quiet, self._end_at_pause)
        for message in messages:
            self._submit(message)

    def stop(self) -> None:
        """Wait for no pause any longer."""
        if self._pause is not None:
            self._pause.cancel()

    def _end_at_pause(self) -> None:
        message, self._rest = self._rest, b""
        self._submit(message)


class _LineConnection(Connection):
    def __init__(self, exchange: Exchange, stream: socket.socket) -> None:
        super().__init__(exchange.reactor, stream)
        self._exchange = exchange
        self._framing = exchange.instrument.framing
        self._reader = LineReader(exchange.reactor, self._framing, self._submit)
        exchange.instrument.connected()

    def received(self, data: bytes) -> None:
        self._reader.feed(data)

    def _submit(self, message: bytes) -> None:
        self._exchange.submit(self, message, self._reply)

    def _reply(self, answer: bytes | None) -> None:
        if answer is not None:
            self.send(answer + self._framing.answer_end)

    def closed(self) -> None:
        self._reader.stop()
        self._exchange.forget(self)


class SocketServer(Listener):
    """The raw SCPI socket of one instrument. Sessions above ``max_sessions`` are closed as soon as they are opened."""

    def __init__(self, exchange: Exchange, host: str, port: int, *, max_sessions: int | None = None) -> None:
        self._exchange = exchange
        self._max_sessions = max_sessions
        super().__init__(exchange.reactor, host, port, self._connect)

    def _connect(self, stream: socket.socket) -> Connection:
        connection = _LineConnection(self._exchange, stream)
        if self._max_sessions is not None and self.open_connections >= self._max_sessions:
            connection.close()
        return connection


_BITS_OF_A_CHARACTER = 10  # with start and stop bit, without parity


class _Pace:
    """One direction of a serial line, on which each byte takes its time."""

    def __init__(self, reactor: Reactor, baud: int) -> None:
        self._reactor = reactor
        self._seconds = _BITS_OF_A_CHARACTER / baud
        self._free_at = 0.0

    def pass_on(self, data: bytes, arrived: Callable[[bytes], None]) -> None:
        """Call ``arrived`` with the bytes when the last of them has passed."""
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + len(data) * self._seconds
        self._reactor.call_later(self._free_at - now, lambda: arrived(data))


class SerialPort:
    """A pseudo-terminal with an instrument at its far end. A program opens ``path`` as its serial port.

    ``baud``: bits a second; None: as fast as it goes. The speed that a program sets its port to has no effect.
    """

    def __init__(self, exchange: Exchange, *, baud: int | None = None) -> None:
        self._exchange = exchange
        self._input = None if baud is None else _Pace(exchange.reactor, baud)
        self._output = None if baud is None else _Pace(exchange.reactor, baud)
        framing = exchange.instrument.framing
        self._answer_end = framing.on_serial
        self._reader = LineReader(exchange.reactor, framing, self._submit)
        self._unsent = bytearray()
        # This process keeps the near end open, or the far end would report a hang-up whenever a program closes it.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._reactor: Reactor = exchange.reactor
        self._reactor.call(lambda: self._reactor.watch(self._master, selectors.EVENT_READ, self))

    def on_events(self, events: int) -> None:
        """Read messages and write answers; called by the reactor."""
        if events & selectors.EVENT_READ:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                data = b""
            if self._input is None:
                self._reader.feed(data)
            else:
                self._input.pass_on(data, self._arrived)
        if events & selectors.EVENT_WRITE:
            self._flush()

    def _arrived(self, data: bytes) -> None:
        if self._master >= 0:
            self._reader.feed(data)

    def _submit(self, message: bytes) -> None:
        self._exchange.submit(self, message, self._reply)

    def _reply(self, answer: bytes | None) -> None:
        if answer is None:
            return
        if self._output is None:
            self._send(answer + self._answer_end)
        else:
            self._output.pass_on(answer + self._answer_end, self._send)

    def _send(self, data: bytes) -> None:
        if self._master >= 0:
            if len(self._unsent) < INPUT_LIMIT:  # nobody reads: a serial line loses what comes after
                self._unsent += data
            self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._unsent[: os.write(self._master, self._unsent)]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._reactor.watch(self._master, events, self)

    def close(self) -> None:
        """Close both ends."""

        def close() -> None:
            self._reader.stop()
            self._reactor.watch(self._master, 0, self)
            self._exchange.forget(self)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

        self._reactor.call(close)

"""Transports whose messages end with a newline: a raw TCP socket (port 5025 of an instrument) and a serial line."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import tty

from agent.simulator.exchange import INPUT_LIMIT, Exchange
from agent.simulator.reactor import Connection, Listener, Reactor


class LineReader:
    """Cuts a stream into messages. One of more than `INPUT_LIMIT` bytes comes out cut short, but still too long."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, without their newline."""
        *messages, rest = (self._rest + data).split(b"\n")
        # One byte above the limit is kept, so that the exchange sees that the message was too long.
        self._rest = rest[: INPUT_LIMIT + 1]
        return messages


class _LineConnection(Connection):
    def __init__(self, exchange: Exchange, stream: socket.socket) -> None:
        super().__init__(exchange.reactor, stream)
        self._exchange = exchange
        self._reader = LineReader()

    def received(self, data: bytes) -> None:
        for message in self._reader.feed(data):
            self._exchange.submit(self, message, self._reply)

    def _reply(self, answer: bytes | None) -> None:
        if answer is not None:
            self.send(answer + b"\n")

    def closed(self) -> None:
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


class SerialPort:
    """A pseudo-terminal with an instrument at its far end. A program opens ``path`` as its serial port."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._reader = LineReader()
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
            for message in self._reader.feed(data):
                self._exchange.submit(self, message, self._reply)
        if events & selectors.EVENT_WRITE:
            self._flush()

    def _reply(self, answer: bytes | None) -> None:
        if answer is not None and self._master >= 0:
            if len(self._unsent) < INPUT_LIMIT:  # nobody reads: a serial line loses what comes after
                self._unsent += answer + b"\n"
            self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._unsent[: os.write(self._master, self._unsent)]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._reactor.watch(self._master, events, self)

    def close(self) -> None:
        """Close both ends."""

        def close() -> None:
            self._reactor.watch(self._master, 0, self)
            self._exchange.forget(self)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

        self._reactor.call(close)

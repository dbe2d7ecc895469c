"""One thread that serves any number of simulated instruments: an event loop over selectors, connections and timers."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger(__name__)

_READ_SIZE = 65536
_WRITE_LIMIT = 1 << 20  # bytes that a peer may leave unread before its requests are no longer read


class Pollable(Protocol):
    """A watched socket's owner."""

    def on_events(self, events: int) -> None:
        """Called in the loop's thread with the events that the socket is ready for, as in `selectors`."""


class Timer:
    """A call in the future, from `Reactor.call_later`."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Have it not called."""
        self.callback = None


class Reactor:
    """An event loop in a daemon thread of its own. `start` and `stop` may be called from any thread, once each."""

    def __init__(self, name: str = "simulator") -> None:
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopping = False
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it. The owners of sockets that are still registered close them."""
        if self._thread.is_alive():
            self._stopping = True
            self._wake()
            self._thread.join()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    @property
    def in_thread(self) -> bool:
        """True in the loop's thread."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[[], Any]) -> Any:
        """The result of a function that is run in the loop's thread; raises what it raises.

        :raises RuntimeError: the reactor is not running
        """
        if self.in_thread:
            return function()
        done = threading.Event()
        outcome: list[Any] = [None, None]

        def run() -> None:
            try:
                outcome[0] = function()
            except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
                outcome[1] = error
            finally:
                done.set()

        self.call_soon(run)
        while not (done.wait(1.0) if self._thread.is_alive() else done.is_set()):
            if not self._thread.is_alive():
                raise RuntimeError("the reactor is not running")
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have a function run in the loop's thread. May be called from any thread."""
        self._calls.append(function)
        self._wake()

    def call_later(self, delay: float, function: Callable[[], None]) -> Timer:
        """Have a function run after ``delay`` s. For the loop's own thread."""
        timer = Timer(function)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), timer))
        return timer

    def watch(self, file: socket.socket | int, events: int, owner: Pollable) -> None:
        """Watch a socket or descriptor for these events instead of any before; 0 ends it. For the loop's own thread."""
        try:
            known = self._selector.get_key(file).events
        except KeyError:
            known = 0
        if events == known:
            return
        if not events:
            self._selector.unregister(file)
        elif known:
            self._selector.modify(file, events, owner)
        else:
            self._selector.register(file, events, owner)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # a full pipe wakes the thread as well, and after `stop` there is no thread
            self._wake_in.send(b"\0")

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - the thread's outermost loop
                _log.exception("a simulated instrument's code raised an exception")

    def _turn(self) -> None:
        timeout = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        for key, events in self._selector.select(timeout):
            owner: Pollable | None = key.data
            if owner is None:
                try:
                    while self._wake_out.recv(4096):
                        pass
                except BlockingIOError:
                    pass
            else:
                owner.on_events(events)
        while self._calls:
            self._calls.popleft()()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


class Connection:
    """A non-blocking stream, a TCP socket unless a subclass says otherwise. For the loop's thread.

    A subclass overrides `received` and may override `closed`.
    """

    def __init__(self, reactor: Reactor, stream: socket.socket) -> None:
        self.reactor = reactor
        self.open = True
        self._stream = stream
        self._unsent = bytearray()
        self._finishing = False
        stream.setblocking(False)
        if stream.family != socket.AF_UNIX:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reactor.watch(stream, selectors.EVENT_READ, self)

    @property
    def usable(self) -> bool:
        """True while something can still be sent."""
        return self.open and not self._finishing

    def received(self, data: bytes) -> None:
        """Bytes came in."""
        raise NotImplementedError

    def closed(self) -> None:
        """The connection has ended."""

    def send(self, data: bytes) -> None:
        """Send bytes, or keep them until the peer takes them."""
        if not self.usable:
            return
        if not self._unsent:
            try:
                sent = self._stream.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        self._watch()

    def finish(self) -> None:
        """Close once everything is sent."""
        if self._unsent:
            self._finishing = True
            self._watch()
        else:
            self.close()

    def close(self) -> None:
        """Close at once; bytes that were not sent are lost."""
        if self.open:
            self.open = False
            self.reactor.watch(self._stream, 0, self)
            self._stream.close()
            self.closed()

    def abort(self) -> None:
        """Close with a reset (RST), as firewalls do."""
        if self.open:
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close()

    def on_events(self, events: int) -> None:
        """Send and receive; called by the reactor."""
        if events & selectors.EVENT_WRITE and self.open:
            self._flush()
        if events & selectors.EVENT_READ and self.open:
            try:
                data = self._stream.recv(_READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if data:
                self.received(data)
            else:
                self.close()

    def _flush(self) -> None:
        try:
            del self._unsent[: self._stream.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self._finishing and not self._unsent:
            self.close()
        else:
            self._watch()

    def _watch(self) -> None:
        events = selectors.EVENT_WRITE if self._unsent else 0
        if len(self._unsent) < _WRITE_LIMIT and not self._finishing:
            events |= selectors.EVENT_READ
        self.reactor.watch(self._stream, events, self)


class Listener:
    """A listening TCP socket on one address. ``connected`` gets every new socket and gives its `Connection`.

    :param port: 0 takes a free one; see `port`
    :raises OSError: the address can't be had
    """

    def __init__(
        self, reactor: Reactor, host: str, port: int, connected: Callable[[socket.socket], Connection]
    ) -> None:
        self.connections: set[Connection] = set()
        self._reactor = reactor
        self._connected = connected
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(128)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        reactor.call(lambda: reactor.watch(self._socket, selectors.EVENT_READ, self))

    def on_events(self, _events: int) -> None:
        """Accept new connections; called by the reactor."""
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            try:
                connection = self._connected(accepted)
            except OSError:  # it was closed again meanwhile
                accepted.close()
                continue
            self.connections = {other for other in self.connections if other.open} | {connection}

    @property
    def open_connections(self) -> int:
        """The number of connections now."""
        return sum(connection.open for connection in self.connections)

    def disconnect(self, *, reset: bool = False) -> None:
        """Close every connection, and go on listening."""

        def close() -> None:
            for connection in self.connections:
                connection.abort() if reset else connection.close()
            self.connections = set()

        self._reactor.call(close)

    def close(self) -> None:
        """Stop listening and close every connection."""

        def close() -> None:
            self._reactor.watch(self._socket, 0, self)
            self._socket.close()

        self._reactor.call(close)
        self.disconnect()

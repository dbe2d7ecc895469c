"""An HTTP server for one page: one thread, a bounded number of connections, and a bounded time for each.

No request keeps another one from its answer: clients that send nothing, or read nothing, are closed when others want their
places.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

log = logging.getLogger(__name__)

#: Connections at the same time. One more takes the place of the oldest one.
MOST_CONNECTIONS = 32
#: Bytes of a request, s that a client may take to send it, and to read the answer.
MOST_BYTES = 8192
PATIENCE = 5.0
#: s without new connections, where the system gives no more descriptors.
_PAUSE = 0.5
#: s in which a client may close a connection after its answer.
_LINGERING = 1.0
_INDEX = b"psu-agent: the metrics are on /metrics\n"
_TEXT = "text/plain; charset=utf-8"


class _Connection:
    __slots__ = ("answer", "deadline", "is_answered", "received", "sock")

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline
        self.received = b""
        self.answer: list[memoryview] = []  # the rest that is still to be sent
        self.is_answered = False


class MetricsServer:
    """Serves ``GET /metrics``.

    :param listener: a socket that listens; it is closed by `stop`
    :param page: gives the content type and the text for the value of an ``Accept`` header. It is called in the server's thread
    """

    def __init__(self, listener: socket.socket, page: Callable[[str], tuple[str, bytes]]) -> None:
        self._listener = listener
        self._page = page
        self._selector = selectors.DefaultSelector()
        self._connections: dict[socket.socket, _Connection] = {}  # the oldest first
        self._wake, self._waker = socket.socketpair()
        self._accepts_from = 0.0
        self._is_stopping = False
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        listener.setblocking(False)

    def start(self) -> None:
        """Begin to answer."""
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()

    def stop(self, timeout: float = 0.5) -> None:
        """End, and close every connection. Waits for the page that is being made, so long (s) at the most."""
        self._is_stopping = True
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        if self._thread.ident is not None:
            self._thread.join(timeout)
        else:
            self._listener.close()

    def __enter__(self) -> Self:
        """As `start`."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """As `stop`."""
        self.stop()

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                try:
                    self._step()
                except Exception:
                    if not self._has_failed:
                        log.exception("metrics: an error inside psu-agent; please report it. The server goes on")
                    self._has_failed = True
                    time.sleep(_PAUSE)  # an error that comes again at once must not take the processor
        finally:
            for connection in list(self._connections.values()):
                self._close(connection)
            for sock in (self._listener, self._wake, self._waker):
                sock.close()
            self._selector.close()

    def _step(self) -> None:
        """Wait for the next event, and do what it asks for."""
        now = time.monotonic()
        wanted = [connection.deadline for connection in self._connections.values()]
        if self._accepts_from:
            wanted.append(self._accepts_from)
        timeout = max(0.0, min(wanted) - now) if wanted else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif (connection := self._connections.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                self._serve(connection)
        now = time.monotonic()
        if self._accepts_from and now >= self._accepts_from:
            self._accepts_from = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)
        for connection in [one for one in self._connections.values() if one.deadline <= now]:
            self._close(connection)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return
        except OSError as error:
            log.warning("metrics: no connection can be taken now: %s", error.strerror)
            self._accepts_from = time.monotonic() + _PAUSE
            self._selector.unregister(self._listener)
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            self._close(next(iter(self._connections.values())))
        sock.setblocking(False)
        self._connections[sock] = _Connection(sock, time.monotonic() + PATIENCE)
        self._selector.register(sock, selectors.EVENT_READ)

    def _serve(self, connection: _Connection) -> None:
        try:
            if connection.answer:
                self._send(connection)
            else:
                self._receive(connection)
        except BlockingIOError:
            return
        except OSError:  # the client has gone
            self._close(connection)

    def _receive(self, connection: _Connection) -> None:
        received = connection.sock.recv(MOST_BYTES)
        if connection.is_answered:
            if not received:
                self._close(connection)
            return
        connection.received += received
        head, end, _ = connection.received.partition(b"\r\n\r\n")
        if not end:
            head, end, _ = connection.received.partition(b"\n\n")
        if end:
            answer = self._answer(head)
        elif len(connection.received) >= MOST_BYTES:
            answer = _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif received:
            return
        else:
            self._close(connection)
            return
        connection.received = b""
        connection.answer = [memoryview(part) for part in answer]
        self._selector.modify(connection.sock, selectors.EVENT_WRITE)
        self._send(connection)

    def _answer(self, head: bytes) -> tuple[bytes, bytes]:
        """The response to a request, of which these are the lines before its body."""
        first, *fields = head.decode("latin-1").replace("\r\n", "\n").split("\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        if words[0] != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, more="Allow: GET\r\n")
        match words[1].partition("?")[0]:
            case "/metrics":
                accept = ",".join(
                    value.strip()
                    for name, _, value in (field.partition(":") for field in fields)
                    if name.strip().lower() == "accept"
                )
                content_type, text = self._page(accept)
                return _response(HTTPStatus.OK, text, content_type)
            case "/":
                return _response(HTTPStatus.OK, _INDEX)
        return _response(HTTPStatus.NOT_FOUND)

    def _send(self, connection: _Connection) -> None:
        sent = connection.sock.sendmsg(connection.answer)
        left = connection.answer
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if left:
            left[0] = left[0][sent:]
            return
        # The rest of the request is read: to close before would be a reset, by which it may lose the answer.
        connection.is_answered = True
        connection.deadline = min(connection.deadline, time.monotonic() + _LINGERING)
        connection.sock.shutdown(socket.SHUT_WR)
        self._selector.modify(connection.sock, selectors.EVENT_READ)

    def _close(self, connection: _Connection) -> None:
        self._connections.pop(connection.sock, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()


def _response(
    status: HTTPStatus, text: bytes | None = None, content_type: str = _TEXT, more: str = ""
) -> tuple[bytes, bytes]:
    """The head and the body."""
    body = f"{status.value} {status.phrase}\n".encode() if text is None else text
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{more}Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1", "replace"), body

"""The HTTP server of the metrics, and clients that mean no good."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.service.exposition import server as module
from agent.service.exposition.server import MOST_BYTES, MOST_CONNECTIONS, MetricsServer
from tests.properties import examples
from tests.support.waiting import wait_until

TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Page:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.body = b"a 1\n"
        self.asked: list[str] = []
        self.fails = False

    def __call__(self, accept: str) -> tuple[str, bytes]:
        self.asked.append(accept)
        if self.fails:
            raise RuntimeError("oh")
        return TYPE, self.body


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def port(page: Page) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    before = set(threading.enumerate())  # those that other tests have left may end meanwhile
    with MetricsServer(listener, page):
        yield int(listener.getsockname()[1])
        assert len(set(threading.enumerate()) - before) == 1
    wait_until(lambda: set(threading.enumerate()) <= before, "the end of its thread")


def ask(port: int, path: str = "/metrics", method: str = "GET", body: bytes | None = None, **headers: str):  # type: ignore[no-untyped-def]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def connect(port: int, data: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(data)
    return client


def rest(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while received := client.recv(65536):
            found += received
    return found


def test_the_page(port: int, page: Page) -> None:
    status, headers, body = ask(port, Accept="application/openmetrics-text")
    assert (status, body, headers["Content-Type"]) == (200, b"a 1\n", TYPE)
    assert headers["Content-Length"] == "4"
    assert ask(port, "/metrics?name[]=a")[0] == 200
    assert page.asked == ["application/openmetrics-text", ""]


def test_nothing_else_is_answered(port: int, page: Page) -> None:
    assert ask(port, "/")[::2] == (200, b"psu-agent: the metrics are on /metrics\n")
    for path in ("/metrics/", "/metric", "//metrics", "/../metrics", "/%6detrics", "*"):
        assert ask(port, path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get", "BREW"):
        status, headers, _ = ask(port, "/metrics", method, None if method == "HEAD" else b"x" * 100_000)
        assert (status, headers["Allow"]) == (405, "GET")
    assert page.asked == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n", b"400"),  # TLS
        (b"GET /metrics SPDY/3\r\n\r\n", b"400"),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.0\n\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * (MOST_BYTES + 1), b"431"),
    ],
)
def test_requests_by_hand(port: int, request_: bytes, status: bytes) -> None:
    with connect(port, request_) as client:
        assert rest(client)[9:12] == status


def test_a_request_may_come_in_pieces_and_two_of_one_connection_get_one_answer(port: int) -> None:
    with connect(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n":
            with contextlib.suppress(ConnectionError):
                client.sendall(bytes([byte]))
        assert rest(client).count(b"200 OK") == 1


def test_a_thousand_connections_that_say_nothing_keep_nobody_waiting(port: int) -> None:
    """They are given `PATIENCE`, and lose their places to those who ask."""
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            data = b"" if number % 2 else b"GET /metrics HTTP/1.1\r\nX: y"
            with contextlib.suppress(ConnectionError):
                stack.enter_context(connect(port, data))
            if number % 100 == 99:
                began = time.monotonic()
                assert ask(port)[0] == 200
                assert time.monotonic() - began < module.PATIENCE


def test_a_client_that_does_not_read_keeps_nobody_waiting(port: int, page: Page) -> None:
    page.body = b"a 1\n" * 2_000_000
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS - 1):
            stack.enter_context(connect(port, b"GET /metrics HTTP/1.1\r\n\r\n"))
        assert len(ask(port)[2]) == len(page.body)


def test_connections_end_after_a_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINGERING", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "PATIENCE", 0.1)
        with connect(port, b"GET /met") as silent:
            assert rest(silent) == b""
    with connect(port, b"GET /metrics HTTP/1.1\r\n\r\n") as stays:
        answer = rest(stays)
        assert answer.endswith(b"a 1\n")

        def is_closed() -> bool:
            try:
                stays.sendall(b"x")
            except ConnectionError:
                return True
            return False

        wait_until(is_closed, "the end of the connection")


def test_an_error_in_the_page_ends_nothing(port: int, page: Page, caplog: pytest.LogCaptureFixture) -> None:
    page.fails = True
    with connect(port, b"GET /metrics HTTP/1.1\r\n\r\n"):
        wait_until(lambda: "an error inside psu-agent" in caplog.text, "the log")
        page.fails = False
        assert ask(port)[2] == b"a 1\n"


def test_the_end_does_not_wait_for_a_page_that_takes_long() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def page(_: str) -> tuple[str, bytes]:
        begun.set()
        may_end.wait(60)
        return TYPE, b""

    listener = socket.create_server(("127.0.0.1", 0))
    server = MetricsServer(listener, page)
    server.start()
    with connect(listener.getsockname()[1], b"GET /metrics HTTP/1.1\r\n\r\n"):
        begun.wait(30)
        server.stop(0.05)  # returns
    may_end.set()
    wait_until(lambda: listener.fileno() == -1, "its end")


def test_without_descriptors_it_waits_until_there_are_some(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    original = socket.socket.accept
    left = [3]

    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        if left[0]:
            left[0] -= 1
            raise OSError(24, "Too many open files")
        return original(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    assert ask(port)[0] == 200
    assert caplog.text.count("no connection can be taken now") == 3


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([b"GET ", b"/metrics", b" HTTP/1.1", b"\r\n\r\n", b"\n"]))
    )
)
@examples(60)
def test_any_bytes_are_answered_or_closed(pieces: list[bytes]) -> None:
    # One server for all examples.
    global _server
    if _server is None:
        listener = socket.create_server(("127.0.0.1", 0))
        _server = int(listener.getsockname()[1])
        MetricsServer(listener, Page()).start()
    with connect(_server) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"".join(pieces))
            client.shutdown(socket.SHUT_WR)
        answer = rest(client)
    assert answer[:9] in (b"", b"HTTP/1.1 ")
    assert ask(_server)[0] == 200


_server: int | None = None

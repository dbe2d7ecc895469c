"""Two real Telegrafs that share one subscription: each sample is stored by one of them, also when one is killed."""

from __future__ import annotations

import gzip
import itertools
import json
import signal
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

from .publisher import Channel, Publisher
from .services import Broker, Store, Telegraf, stopping

NAMES = ("one", "two")


class CountingProxy:
    """A proxy before the store: knows each Telegraf by its token, and counts how often it has written each sample."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # each write has a thread of its own
        self._written: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
        #: An answer to give to writes instead of writing: (status, JSON body).
        self.refuse: tuple[int, dict[str, str]] | None = None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = b""
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = proxy.take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Hand a write of either to the store as it came, but for the token."""
        if self.refuse:
            return self.refuse[0], json.dumps(self.refuse[1]).encode()
        name = headers["Authorization"].removeprefix("Token ")
        kept = {key: value for key, value in headers.items() if key in ("Content-Encoding", "Content-Type")}
        kept["Authorization"] = f"Token {self._store.token('telegraf')}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._store.url + path, body, kept), timeout=20
            ) as answer:
                status, said = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        text = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        with self._lock:
            self._written[name].update(text.decode().splitlines())
        return status, said

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def written(self, name: str, psu: str) -> Counter[str]:
        """How often a Telegraf has written each sample, or status, of a unit, and was told that the store has it.

        The store has a sample a moment before it is counted here.
        """
        with self._lock:
            lines = self._written[name].items()
            return Counter({line: times for line, times in lines if f",psu={psu} " in line or f",psu={psu}," in line})

    def times_written(self, psu: str) -> Counter[str]:
        """How often each sample of a unit was written, by both together."""
        return sum((self.written(name, psu) for name in NAMES), Counter[str]())


class Shared:
    """The shipped broker, a store behind a proxy that counts, and two Telegrafs as shipped that share a subscription."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.broker, self.store = Broker(folder / "broker", secrets), Store(folder / "store")
        self.proxy = CountingProxy(self.store)
        self.telegrafs = {
            name: Telegraf(
                folder / name,
                self.broker,
                self.proxy.url,
                token=name,
                environment={"PSU_SHARE": "$share/telegraf/", "PSU_CLIENT_ID": f"telegraf-{name}"},
            )
            for name in NAMES
        }

    def publish(self, channel: Channel, first: int, count: int, kind: str = "state") -> None:
        with Publisher(self.broker) as publisher:
            for seq in range(first, first + count):
                publisher.state(channel.state(seq), kind)
            publisher.settle()

    def count(self, psu: str) -> int:
        """Samples of a unit that are stored."""
        rows = self.store.rows(f"SELECT count(seq) FROM psu_channel WHERE psu = '{psu}'")
        return int(rows[0]["count"]) if rows else 0

    def wait_for_both(self) -> None:
        """Until each of them has written something: one that comes later would get no part of what was published before."""
        channel, numbers = Channel(psu="first"), itertools.count(0, 10)

        def both_write() -> bool:
            self.publish(channel, next(numbers), 10)
            return all(self.proxy.written(name, "first") for name in NAMES)

        wait_until(both_write, "that both Telegrafs write", 60)

    def all_there(self, psu: str, count: int) -> None:
        wait_until(lambda: self.count(psu) >= count, f"{count} samples", 60)
        wait_until(lambda: len(self.proxy.times_written(psu)) >= count, f"{count} samples counted")
        rows = self.store.rows(f"SELECT seq FROM psu_channel WHERE psu = '{psu}'")
        assert [row["seq"] for row in rows] == list(range(count)), "in the order of their times"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Iterator[Shared]:
    shared = Shared(tmp_path_factory.mktemp("shared"), secrets)
    with stopping(*shared.telegrafs.values(), shared.proxy, shared.store, shared.broker):
        shared.broker.start()
        shared.store.start()
        for telegraf in shared.telegrafs.values():
            telegraf.start()
        shared.wait_for_both()
        yield shared


def test_each_sample_is_written_once_by_one_of_them(shared: Shared) -> None:
    sent = itertools.count(0, 200)

    def both_have_a_part() -> bool:
        shared.publish(Channel(psu="split"), next(sent), 200)
        return all(len(shared.proxy.written(name, "split")) > 300 for name in NAMES)

    # One that lost its connection on a busy machine gets no part until it is back.
    wait_until(both_have_a_part, "that both have a part", 90)
    count = next(sent)
    shared.publish(Channel(psu="split"), count, 200, "backlog")
    shared.all_there("split", count + 200)
    assert set(shared.proxy.times_written("split").values()) == {1}


def test_a_killed_one_costs_no_sample_and_doubles_none(shared: Shared) -> None:
    """What was on its way to it, and its part of what comes meanwhile, waits in its session until it is back."""
    channel, (killed, other) = Channel(psu="hit"), shared.telegrafs.values()
    shared.publish(channel, 0, 400)
    shared.all_there("hit", 400)
    shared.proxy.refuse = (503, {"code": "unavailable"})  # so that both hold samples that they have not acknowledged
    shared.publish(channel, 400, 400)
    wait_until(lambda: "503" in killed.text() and "503" in other.text(), "both meet the store's refusal")
    killed.stop(signal.SIGKILL)
    shared.proxy.refuse = None
    shared.publish(channel, 800, 400)
    # The broker goes on to give the absent one its part.
    wait_until(lambda: shared.count("hit") >= 800, "the other's part")
    assert shared.count("hit") < 1200
    killed.start()
    shared.all_there("hit", 1200)
    assert len(shared.proxy.times_written("hit")) == 1200


def test_a_status_reaches_both(shared: Shared) -> None:
    """It is retained, and a shared subscription is not given what is retained: so it is not shared."""
    with Publisher(shared.broker) as publisher:
        publisher.send("kept/status", "online", retain=True)
        publisher.settle()
    first = shared.telegrafs["one"]
    wait_until(lambda: all(shared.proxy.written(name, "kept") for name in NAMES), "the status, written by both")
    first.stop()
    shared.store.forget('_measurement="psu_unit" AND psu="kept"')
    assert not shared.store.rows("SELECT count(offline) FROM psu_unit WHERE psu = 'kept'")
    first.start()
    wait_until(lambda: shared.store.rows("SELECT count(offline) FROM psu_unit WHERE psu = 'kept'"), "the status again")

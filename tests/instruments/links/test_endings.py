"""The end of a link: after a failure nothing that was written arrives later, after work everything does."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from agent.instruments import tcp
from agent.instruments.driver import LinkError
from agent.instruments.visa import ending
from agent.instruments.visa.session import VisaSession
from agent.simulator import Simulator
from tests.instruments.peer import Peer
from tests.lab import wait_until
from tests.support import inside

TRANSPORTS = ["socket", "vxi11", "hislip"]


@pytest.mark.parametrize("ending", ["failure", "kill", "close"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_was_written_into_a_network_that_dropped_it_never_arrives(transport: str, ending: str) -> None:
    """The kernel would send it again and again, and the unit carry it out after newer settings."""
    if shutil.which("tc") is None or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        pytest.skip("there are no network namespaces here (`unshare --net`, `tc`)")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.instruments.links.hole", transport, ending],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["VOLT 1,(@1)"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_last_message_before_a_close_in_good_order_arrives(transport: str) -> None:
    with Simulator(socket_port=0, vxi11_port=0, hislip_port=0) as simulator:
        session = VisaSession(simulator.resources[transport], options={"timeout": 2000, "open_timeout": 2000})
        for number in range(1, 20):
            session.open()
            session.tell(f"VOLT 0.{number:02},(@1)")
            session.close()
            wait_until(lambda: f"VOLT 0.{number:02},(@1)" in simulator.instrument.log, "it")  # noqa: B023


class Watcher:
    """A server that notes how each of its connections ends, and answers nothing."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._watch, args=(connection,), daemon=True).start()

    def _watch(self, connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(1000):
                    pass
                self.ends.append("in order")
            except ConnectionResetError:
                self.ends.append("reset")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    yield watcher
    watcher.close()


@pytest.mark.parametrize(
    "name",
    ["TCPIP::127.0.0.1::{}::SOCKET", "TCPIP::127.0.0.1,{}::inst0::INSTR", "TCPIP::127.0.0.1::hislip0,{}::INSTR"],
)
def test_a_link_that_failed_is_reset_also_while_it_is_opened(watcher: Watcher, name: str) -> None:
    session = VisaSession(name.format(watcher.port), options={"timeout": 100, "open_timeout": 200})
    with contextlib.suppress(LinkError):
        session.open()
        session.ask("*IDN?")
    assert not session.is_open
    wait_until(lambda: watcher.ends == ["reset"], "the reset")


def test_a_link_that_did_not_fail_is_closed_in_order(watcher: Watcher) -> None:
    session = VisaSession(f"TCPIP::127.0.0.1::{watcher.port}::SOCKET")
    session.open()
    session.tell("OUTP 0,(@1)")
    session.close()
    wait_until(lambda: watcher.ends == ["in order"], "the end")


def test_a_link_that_nobody_closes_is_reset(watcher: Watcher) -> None:
    connection = tcp.connect("127.0.0.1", watcher.port, 1.0)
    connection.sendall(b"OUTP 1\n")
    assert struct.unpack("ii", connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == (1, 0)
    connection.close()
    wait_until(lambda: watcher.ends == ["reset"], "the reset")


def test_a_peer_that_takes_nothing_gets_none_of_it_later(make_peer: Callable[..., Peer]) -> None:
    reading, begun = threading.Event(), threading.Event()

    def wait(connection: socket.socket) -> None:
        begun.set()
        reading.wait(20)

    peer = make_peer(wait)
    session = peer.session(timeout=200)
    session.open()
    session.tell("A")
    assert begun.wait(10)
    with pytest.raises(LinkError):
        session.tell("X" * 50_000_000)
    session.close()
    reading.set()
    wait_until(lambda: peer.ended, "the end of the connection")
    # What its own buffer had taken before, and nothing that was still on this side.
    assert len(peer.received) < 49_000_000
    assert not peer.received.endswith(b"\n", 2)


class Port:
    """A serial port whose far end takes nothing. A pseudo-terminal has no such buffer."""

    def __init__(self, waiting: int) -> None:
        self.out_waiting = waiting

    def reset_output_buffer(self) -> None:
        self.out_waiting = 0


@pytest.mark.parametrize("in_order", [False, True])
def test_a_serial_line_sends_nothing_more_after_its_end(in_order: bool) -> None:
    session = SimpleNamespace(interface=Port(12))
    ending.prepare(session, in_order=in_order)
    assert session.interface.out_waiting == 0


def test_the_last_message_on_a_serial_line_arrives() -> None:
    with Simulator(socket_port=None, pty=True) as simulator:
        session = VisaSession(simulator.resources["serial"], options={"timeout": 2000})
        for number in range(1, 6):
            session.open()
            session.tell(f"VOLT 0.{number:02},(@1)")
            session.close()
            wait_until(lambda: f"VOLT 0.{number:02},(@1)" in simulator.instrument.log, "it")  # noqa: B023


def test_the_kernel_is_told_the_timeout_in_numbers_of_its_own_length(make_peer: Callable[..., Peer]) -> None:
    """Of a length that is not the one of a C long everywhere: on Raspberry Pi OS 13 it is twice that."""

    class Kernel:
        def __init__(self, length: int) -> None:
            self.length = length

        def getsockopt(self, level: int, option: int, length: int) -> bytes:
            return bytes(min(length, self.length))

    for length, form in ((16, "=qq"), (8, "=ii")):
        assert inside.timeval(Kernel(length), 2.25) == struct.pack(form, 2, 250_000)
    session = make_peer(b"one\n", b"").session(timeout=1000)
    session.open()
    assert session.ask("A?") == "one"
    with pytest.raises(LinkError, match="Timeout"):
        session.ask("B?")

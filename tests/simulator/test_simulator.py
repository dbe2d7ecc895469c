"""The simulator as a whole: start and end, its faults, and peers that misbehave."""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.simulator import Fleet, NetworkInstrument, Reactor, Simulator
from agent.simulator.instrument import ScpiInstrument
from agent.simulator.scpi import Command
from tests.simulator.wire import Rpc
from tests.support.waiting import wait_until


class Line:
    """A raw socket."""

    def __init__(self, port: int | None) -> None:
        assert port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self.socket.makefile("rb")

    def send(self, message: str) -> None:
        self.socket.sendall(message.encode() + b"\n")

    def read(self) -> str:
        line = self._file.readline()
        if not line:
            raise EOFError
        return line.decode().rstrip("\n")

    def ask(self, message: str) -> str:
        self.send(message)
        return self.read()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture
def collected() -> None:
    """What earlier tests left to the garbage collector must not go while descriptors are counted."""
    gc.collect()


@pytest.mark.usefixtures("collected")
def test_stop_leaves_nothing_behind() -> None:
    threads, files = threading.active_count(), descriptors()
    for _ in range(5):
        with Simulator(vxi11_port=0, hislip_port=0, pty=True) as simulator:
            lines = [Line(simulator.socket_port), Line(simulator.hislip_port), Line(simulator.vxi11_port)]
            assert lines[0].ask("*OPC?") == "1"
        for line in lines:
            with pytest.raises(EOFError):
                line.read()
            line.close()
    assert threading.active_count() == threads
    assert descriptors() == files


@pytest.mark.usefixtures("collected")
def test_a_port_that_is_taken_leaves_nothing_behind() -> None:
    threads, files = threading.active_count(), descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for option in ("socket_port", "vxi11_port", "hislip_port"):
            with pytest.raises(OSError, match="in use"):
                Simulator(**{option: taken.getsockname()[1]}, pty=True).start()
    assert threading.active_count() == threads
    assert descriptors() == files


def test_stop_and_start_keep_ports_and_settings() -> None:
    with Simulator(vxi11_port=0, hislip_port=0, noise=False) as simulator:
        resources = simulator.resources
        line = Line(simulator.socket_port)
        line.send("VOLT 3,(@2)")
        assert line.ask("*OPC?") == "1"
        line.close()
        with pytest.raises(RuntimeError, match="runs already"):
            simulator.start()
        simulator.stop()
        assert not simulator.running
        with pytest.raises(ConnectionRefusedError):
            Line(simulator.socket_port)
        simulator.start()
        assert simulator.resources == resources
        line = Line(simulator.socket_port)
        assert line.ask("VOLT? (@2)") == "+3.00000E+00"
        line.close()


def test_serial_numbers_differ() -> None:
    first, second = Simulator(), Simulator()
    assert first.instrument.serial != second.instrument.serial
    assert Simulator(serial="MY42").instrument.identity.split(",")[2] == "MY42"


def test_resources() -> None:
    assert Simulator().resources == {}
    with Simulator(socket_port=None, hislip_port=0) as simulator:
        assert simulator.resources == {"hislip": f"TCPIP::127.0.0.1::hislip0,{simulator.hislip_port}::INSTR"}
        assert simulator.resource == simulator.resources["hislip"]


def test_latency_is_the_instruments_not_the_connections() -> None:
    with Simulator(latency=0.03) as simulator:
        lines = [Line(simulator.socket_port) for _ in range(4)]
        started = time.monotonic()
        for line in lines:
            line.send("*OPC?")
        assert [line.read() for line in lines] == ["1"] * 4
        assert time.monotonic() - started >= 4 * 0.03
        simulator.latency = 0.0
        assert lines[0].ask("*OPC?") == "1"
        for line in lines:
            line.close()


def test_messages_stay_in_order_whatever_the_latency() -> None:
    with Simulator(latency=0.005, noise=False) as simulator:
        line = Line(simulator.socket_port)
        for volts in (1, 2, 3):
            line.send(f"VOLT {volts}")
            line.send("VOLT?")
        simulator.latency = 0.0
        line.send("VOLT 4;VOLT?")
        assert [line.read() for _ in range(4)] == [f"+{volts}.00000E+00" for volts in (1, 2, 3, 4)]
        line.close()


def test_freeze_and_thaw() -> None:
    with Simulator() as simulator:
        line = Line(simulator.socket_port)
        simulator.freeze()
        line.socket.settimeout(0.05)
        line.send("*OPC?")
        with pytest.raises(TimeoutError):
            line.socket.recv(10)
        assert simulator.instrument.message_count == 0
        simulator.thaw()
        line.socket.settimeout(10)
        assert line.socket.recv(10) == b"1\n"
        line.close()
    with pytest.raises(RuntimeError, match="not running"):
        simulator.freeze()


def test_tampered_answers() -> None:
    with Simulator() as simulator:
        line = Line(simulator.socket_port)
        simulator.tamper = lambda message, answer: "nonsense" if message == "*OPC?" else answer
        assert line.ask("*OPC?") == "nonsense"
        assert line.ask("*IDN?") == simulator.instrument.identity
        simulator.tamper = None
        assert line.ask("*OPC?") == "1"
        line.close()


def test_any_instrument_can_be_put_on_the_network() -> None:
    class Meter(ScpiInstrument):
        identity = "Example,Meter,1,0"
        commands = (Command("READ", query=lambda _instrument, _call: "+1.5"),)

    with NetworkInstrument(Meter()) as meter:
        line = Line(meter.socket_port)
        assert line.ask("*IDN?;:READ?;:SYST:ERR?") == 'Example,Meter,1,0;+1.5;+0,"No error"'
        assert line.ask("*TRG;:SYST:ERR?") == '-211,"Trigger ignored"'
        line.close()


@pytest.mark.parametrize("reset", [False, True])
def test_disconnect(reset: bool) -> None:
    with Simulator() as simulator:
        line = Line(simulator.socket_port)
        assert line.ask("*OPC?") == "1"
        simulator.disconnect(reset=reset)
        with pytest.raises(ConnectionResetError if reset else EOFError):
            line.read()
        line.close()
        line = Line(simulator.socket_port)
        assert line.ask("*OPC?") == "1"
        line.close()


def test_power_cycle_ends_connections_and_forgets_messages() -> None:
    with Simulator(noise=False) as simulator:
        line = Line(simulator.socket_port)
        assert line.ask("VOLT 5;VOLT?") == "+5.00000E+00"
        simulator.freeze()
        line.send("VOLT 6")
        wait_until(lambda: simulator.waiting == 1, "the message waits")
        simulator.power_cycle()
        simulator.thaw()
        with pytest.raises(EOFError):
            line.read()
        line.close()
        line = Line(simulator.socket_port)
        assert line.ask("VOLT?") == "+0.00000E+00"
        line.close()


def test_max_socket_sessions() -> None:
    with Simulator(max_socket_sessions=2) as simulator:
        lines = [Line(simulator.socket_port) for _ in range(2)]
        assert [line.ask("*OPC?") for line in lines] == ["1", "1"]
        extra = Line(simulator.socket_port)
        with pytest.raises((EOFError, ConnectionError)):
            extra.read()
        extra.close()
        lines[0].close()
        for line in (lines[1],):
            assert line.ask("*OPC?") == "1"

        def is_admitted() -> bool:
            line = Line(simulator.socket_port)
            try:
                return line.ask("*OPC?") == "1"
            except (EOFError, ConnectionError):
                return False
            finally:
                line.close()

        wait_until(is_admitted, "a session to be admitted")
        lines[1].close()


def test_fleet() -> None:
    threads = threading.active_count()
    with Fleet(20, noise=False) as fleet:
        assert threading.active_count() == threads + 1
        assert len(fleet) == 20
        lines = [Line(simulator.socket_port) for simulator in fleet]
        for number, line in enumerate(lines):
            line.send(f"VOLT {number / 10},(@1)")
        assert [float(line.ask("VOLT? (@1)")) for line in lines] == [number / 10 for number in range(20)]
        fleet[3].stop()
        assert lines[4].ask("*OPC?") == "1"
        for line in lines:
            line.close()
    assert threading.active_count() == threads


def test_a_shared_reactor_outlives_its_simulators() -> None:
    reactor = Reactor()
    reactor.start()
    with Simulator(reactor=reactor) as first:
        with Simulator(reactor=reactor):
            pass
        line = Line(first.socket_port)
        assert line.ask("*OPC?") == "1"
        line.close()
    assert reactor.call(lambda: reactor.in_thread) is True
    reactor.stop()
    with pytest.raises(RuntimeError, match="not running"):
        reactor.call(lambda: None)


def test_messages_in_pieces_and_in_heaps() -> None:
    with Simulator() as simulator:
        line = Line(simulator.socket_port)
        for byte in b"*OPC?\r\n":
            line.socket.sendall(bytes([byte]))
        assert line.read() == "1"
        line.socket.sendall(b"*OPC?\n" * 1000)
        assert [line.read() for _ in range(1000)] == ["1"] * 1000
        line.close()


def test_a_peer_that_never_reads_costs_bounded_memory_and_nobody_else() -> None:
    with Simulator() as simulator:
        greedy = Line(simulator.socket_port)
        greedy.socket.settimeout(0.2)
        heap = (b";".join([b"*IDN?"] * 500) + b"\n") * 20
        with pytest.raises(TimeoutError):
            greedy.socket.sendall(heap * 500)
        other = Line(simulator.socket_port)
        assert other.ask("*OPC?") == "1"
        other.close()
        greedy.close()


def test_abrupt_ends() -> None:
    with Simulator(vxi11_port=0, hislip_port=0, latency=0.002) as simulator:
        for port in (simulator.socket_port, simulator.vxi11_port, simulator.hislip_port):
            for message in (b"", b"*IDN?", b"*IDN?\n" * 10, b"\0" * 30, b"HS"):
                line = Line(port)
                line.socket.sendall(message)
                line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.close()
        line = Line(simulator.socket_port)
        assert line.ask("*OPC?") == "1"
        line.close()


def test_locks_and_links_of_abrupt_peers_are_freed() -> None:
    with Simulator(vxi11_port=0) as simulator:
        for _ in range(3):
            with Rpc(simulator.vxi11_port) as core:
                wait_until(
                    lambda: core.call(10, struct.pack(">III", 1, 1, 0) + Rpc.opaque(b"inst0"))[0] == 0,
                    "the lock to be free",
                )


HISLIP_HEADER = struct.Struct(">2sBBIQ")
WRONG_HISLIP = [
    b"XX" + bytes(14),
    HISLIP_HEADER.pack(b"HS", 7, 0, 0, 0),  # data before initialization
    HISLIP_HEADER.pack(b"HS", 17, 0, 999, 0),  # an asynchronous channel to nowhere
    HISLIP_HEADER.pack(b"HS", 0, 0, 0x0100 << 16, 1 << 40),  # a terabyte
    HISLIP_HEADER.pack(b"HS", 0, 0, 0x0100 << 16, 7) + b"hislip0" + HISLIP_HEADER.pack(b"HS", 7, 0, 2, 0),
    HISLIP_HEADER.pack(b"HS", 0, 0, 0x0100 << 16, 0) * 2,
]
WRONG_RPC = [
    struct.pack(">I", 0x7FFFFFFF) + b"x" * 100,
    struct.pack(">I", 1 << 31),
    struct.pack(">II", 1 << 31 | 4, 5),
    struct.pack(">I10I", 1 << 31 | 40, 1, 1, 2, 0x0607AF, 1, 10, 0, 0, 0, 0),  # a reply, not a call
    struct.pack(">I10I", 1 << 31 | 40, 1, 0, 3, 0x0607AF, 1, 10, 0, 0, 0, 0)[:-4] + struct.pack(">I", 1 << 31),
]


@pytest.mark.parametrize("transport", ["hislip", "vxi11"])
def test_wrong_protocol_ends_the_connection_and_nothing_else(transport: str) -> None:
    with Simulator(vxi11_port=0, hislip_port=0) as simulator:
        port = simulator.hislip_port if transport == "hislip" else simulator.vxi11_port
        for wrong in WRONG_HISLIP if transport == "hislip" else WRONG_RPC:
            line = Line(port)
            line.socket.sendall(wrong)
            try:
                while line.socket.recv(4096):
                    pass
            except ConnectionError:
                pass
            line.close()
        line = Line(simulator.socket_port)
        assert line.ask("*OPC?") == "1"
        line.close()


def test_an_rpc_version_that_is_not_spoken_is_denied() -> None:
    with Simulator(vxi11_port=0) as simulator:
        line = Line(simulator.vxi11_port)
        line.socket.sendall(struct.pack(">I10I", 1 << 31 | 40, 1, 0, 3, 0x0607AF, 1, 10, 0, 0, 0, 0))
        assert struct.unpack(">7I", line.socket.recv(100)) == (1 << 31 | 24, 1, 1, 1, 0, 2, 2)
        line.close()


@pytest.fixture(scope="module")
def fuzzed() -> object:
    with Simulator(vxi11_port=0, hislip_port=0) as simulator:
        yield simulator
        # It has survived all of it.
        line = Line(simulator.socket_port)
        assert line.ask("*IDN?") == simulator.instrument.identity
        line.close()
        with Rpc(simulator.vxi11_port) as core:
            assert core.call(0) == ()


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), prefix=st.integers(0, 5), seed=st.integers(0, 1000))
def test_fuzz(fuzzed: Simulator, data: bytes, prefix: int, seed: int) -> None:
    rng = random.Random(seed)
    port, head = {
        0: (fuzzed.socket_port, b""),
        1: (fuzzed.vxi11_port, b""),
        2: (fuzzed.hislip_port, b""),
        3: (fuzzed.vxi11_port, struct.pack(">I6I", 1 << 31 | 24 + len(data), 1, 0, 2, 0x0607AF, 1, rng.randrange(30))),
        4: (fuzzed.hislip_port, HISLIP_HEADER.pack(b"HS", 0, 0, 0x0100 << 16, 7) + b"hislip0"),
        5: (fuzzed.hislip_port, HISLIP_HEADER.pack(b"HS", rng.randrange(40), rng.randrange(4), 1, len(data))),
    }[prefix]
    line = Line(port)
    line.socket.sendall(head + data)
    line.socket.shutdown(socket.SHUT_WR)
    line.socket.settimeout(10)
    try:
        while line.socket.recv(4096):
            pass
    except ConnectionError:
        pass
    line.close()

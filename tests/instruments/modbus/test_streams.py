"""Ports and connections, and what happens to what was written when they fail."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from typing import Any

import pytest

from agent.instruments.modbus import link
from agent.instruments.modbus.streams import SerialSettings, SerialStream, TcpStream
from tests.lab import wait_until

PATIENCE = 10.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    near, far = os.openpty()
    tty.setraw(far)
    os.set_blocking(near, False)
    yield near, os.ttyname(far)
    os.close(near)
    os.close(far)


def unread(path: str) -> int:
    """Bytes that a port has been given, and nobody has read."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        return int.from_bytes(fcntl.ioctl(port, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(port)


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


def opened(listener: socket.socket) -> tuple[TcpStream, socket.socket]:
    stream = TcpStream("127.0.0.1", listener.getsockname()[1], PATIENCE)
    stream.open()
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE)
    return stream, connection


def test_a_connection_that_failed_is_reset(listener: socket.socket) -> None:
    """So nothing that the peer has not taken can still arrive."""
    stream, connection = opened(listener)
    with connection:
        assert stream.recover() is False
        with pytest.raises(ConnectionResetError):
            connection.recv(100)


def test_a_connection_that_nobody_closes_is_reset(listener: socket.socket) -> None:
    """As at the end of the process: the kernel closes it then."""
    stream, connection = opened(listener)
    with connection:
        os.close(stream._opened().detach())
        with pytest.raises(ConnectionResetError):
            connection.recv(100)


def test_a_connection_is_closed_in_order(listener: socket.socket) -> None:
    stream, connection = opened(listener)
    with connection:
        stream.send(b"order", soon())
        stream.close(in_order=True)
        stream.close(in_order=True)
        assert connection.recv(100) == b"order"
        assert connection.recv(100) == b""
    with pytest.raises(ConnectionError):
        stream.send(b"more", soon())


def test_late_bytes_are_thrown_away(listener: socket.socket) -> None:
    stream, connection = opened(listener)
    with connection:
        connection.sendall(b"late")
        while not stream._opened().recv(100, socket.MSG_PEEK):
            pass
        stream.discard()
        connection.sendall(b"new")
        assert stream.receive(soon()) == b"new"
        connection.close()
        with pytest.raises(ConnectionResetError):
            stream.receive(soon())
        with pytest.raises(ConnectionResetError, match="the unit closed the connection"):
            stream.discard()
    stream.close(in_order=False)


def test_waiting_ends(listener: socket.socket) -> None:
    stream, connection = opened(listener)
    with connection, pytest.raises(TimeoutError):
        stream.receive(soon(0.02))
    stream.close(in_order=False)


def test_a_serial_port(pty: tuple[int, str]) -> None:
    near, path = pty
    stream = SerialStream(path, SerialSettings(115200))
    stream.open()
    stream.send(b"\x01\x03\x00\r\n\x11\x13", soon())
    # The kernel hands bytes over in a moment of its own, which may be a long one on a busy machine.
    assert select.select([near], [], [], PATIENCE)[0]
    assert os.read(near, 100) == b"\x01\x03\x00\r\n\x11\x13"
    os.write(near, b"\x00\x04\r\n\x7f\xff\x13")
    assert stream.receive(soon()) == b"\x00\x04\r\n\x7f\xff\x13"
    os.write(near, b"late")
    wait_until(lambda: unread(path) == 4, "the late bytes")
    stream.discard()
    with pytest.raises(TimeoutError):
        stream.receive(soon(0.02))
    assert stream.recover() is True
    with pytest.raises(OSError, match="lock"):
        SerialStream(path, SerialSettings()).open()
    stream.close(in_order=False)
    stream.close(in_order=False)
    with pytest.raises(ConnectionError):
        stream.receive(soon())


def test_a_serial_port_that_is_pulled_out(pty: tuple[int, str]) -> None:
    master, far = os.openpty()
    tty.setraw(far)
    stream = SerialStream(os.ttyname(far), SerialSettings())
    stream.open()
    os.close(far)
    threading.Timer(0.02, os.close, [master]).start()
    with pytest.raises(OSError):
        stream.receive(soon())
    stream.close(in_order=False)


def test_parameters_that_the_port_does_not_take(pty: tuple[int, str]) -> None:
    with pytest.raises(OSError, match="does not take its parameters"):
        SerialStream(pty[1], SerialSettings(data_bits=4)).open()


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, SerialSettings(115200, 8, "N", 1.0, "none")),
        ({"baud_rate": 9600, "parity": "even", "stop_bits": 2}, SerialSettings(9600, 8, "E", 2.0, "none")),
        ({"data_bits": 7, "flow_control": "rts_cts", "parity": 1}, SerialSettings(115200, 7, "O", 1.0, "rts_cts")),
        ({"flow_control": "none", "read_termination": "x"}, SerialSettings(115200, 8, "N", 1.0, "none")),
    ],
)
def test_the_users_parameters_win(options: dict[str, Any], settings: SerialSettings) -> None:
    made = link.make_register_link("ASRL/dev/ttyX::INSTR", slave=1, options=options, baud=115200, timeout=1.0)
    stream = made._line._stream
    assert isinstance(stream, SerialStream)
    assert (stream._path, stream._settings) == ("/dev/ttyX", settings)


def test_the_gap_between_frames() -> None:
    """3.5 characters of 11 bits at 9,600 Bd, and a fixed time above 19,200 Bd."""
    assert SerialSettings(9600).frame_gap == pytest.approx(0.00401, abs=1e-5)
    assert SerialSettings(115200).frame_gap == 0.00175


def test_one_line_for_all_spellings_of_a_port(tmp_path: Any) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    (tmp_path / "by-id").symlink_to(port)

    def line(uri: str) -> Any:
        return link.make_register_link(uri, slave=1, options={}, baud=9600, timeout=1.0)._line

    first = line(f"ASRL{port}::INSTR")
    assert line(f"ASRL{tmp_path}/by-id::INSTR") is first
    assert line(f"ASRL{tmp_path}/other::INSTR") is not first
    # After a reload with another speed, the line of before may still be there for a while.
    faster = link.make_register_link(
        f"ASRL{port}::INSTR", slave=1, options={"baud_rate": 115200}, baud=9600, timeout=1.0
    )._line
    assert faster is not first
    gateway = line("TCPIP::Gateway.local::8899::SOCKET")
    assert line("TCPIP0::gateway.LOCAL::8899::SOCKET") is gateway
    assert line("TCPIP::gateway.local::8900::SOCKET") is not gateway

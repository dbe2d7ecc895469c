"""The everyday failures of a link, each with a real socket, port or network, and the sentence that its user gets."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pyvisa
from hypothesis import given
from hypothesis import strategies as st
from pyvisa.constants import StatusCode
from pyvisa_py.protocols.rpc import RPCError, RPCUnpackError
from pyvisa_py.protocols.vxi11 import Vxi11Error

from agent.instruments import reasons
from agent.instruments.catalogue import all_series
from agent.instruments.driver import DriverError, LinkError
from agent.instruments.linking import make_link
from agent.instruments.modbus.link import make_register_link
from agent.instruments.reasons import way_of
from agent.instruments.visa.faults import reason_of
from agent.instruments.visa.session import VisaSession
from agent.simulator import Simulator
from tests.commandline import environment
from tests.support.namespaces import Host, Network, missing

FOREIGN = re.compile(
    r"VI_ERROR|VisaIOError|Errno|Traceback|0x|pyvisa(?!_args)|\b[A-Z]\w+(?:Error|Exception)\b|\n|location information"
)
NETWORK = ("TCPIP::{}::{}::SOCKET", "TCPIP::{}::hislip0,{}::INSTR", "TCPIP::{},{}::inst0::INSTR")


#: ms, for what comes at once where the machine is not busy.
PATIENT = 5000


def failure(uri: str, *, timeout: int = 300, **options: object) -> str:
    """The sentence of a session that is opened and asked."""
    session = VisaSession(uri, options={"open_timeout": timeout, "timeout": timeout, **options})
    with pytest.raises(LinkError) as raised, contextlib.closing(session):
        converse(session)
    said = str(raised.value)
    assert not FOREIGN.search(said.replace(uri, "")), said
    return said


def converse(session: VisaSession) -> None:
    session.open()
    session.ask("*IDN?")


@contextlib.contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that treats each connection so. Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        serve(connection)

        threading.Thread(target=work, daemon=True).start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return int(closed.getsockname()[1])


@pytest.mark.parametrize("form", NETWORK)
def test_refused(form: str, unused: int) -> None:
    uri = form.format("127.0.0.1", unused)
    said = failure(uri)
    assert said.startswith(f"can't open {uri}: Connection refused by 127.0.0.1 at port {unused} (")
    assert "check the port" in said if "SOCKET" in uri else "turn it on in the unit's LAN settings" in said


@pytest.mark.parametrize("form", ["TCPIP::{}::5025::SOCKET", "TCPIP::{}::hislip0::INSTR", "TCPIP::{}::inst0::INSTR"])
@pytest.mark.parametrize(
    ("host", "told"),
    [("psu.invalid", "is not known in this network; check its spelling"), ("a..b", "is no name of a host")],
)
def test_names_of_hosts(form: str, host: str, told: str) -> None:
    assert told in failure(form.format(host))


@pytest.mark.parametrize("form", NETWORK)
def test_a_taken_socket_that_is_silent(form: str) -> None:
    """A unit that takes one client leaves others in the queue of its socket: they connect, and get no answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = failure(form.format("127.0.0.1", listener.getsockname()[1]))
    assert "Timeout: nothing came from 127.0.0.1" in said or "did not answer in time" in said


@pytest.mark.parametrize("form", NETWORK)
def test_a_taken_socket_that_is_closed(form: str) -> None:
    with served(lambda _: None) as port:
        assert "the unit closed the connection" in failure(form.format("127.0.0.1", port), timeout=PATIENT)


def test_one_client_only_is_said_by_the_driver() -> None:
    with (
        served(lambda _: None) as port,
        pytest.raises(DriverError, match="as many clients as it takes: end other programs"),
    ):
        make_driver_link(f"TCPIP::127.0.0.1::{port}::SOCKET")


def make_driver_link(uri: str) -> None:
    from agent.instruments.text.identified import IdentifiedLink

    (series,) = [one for one in all_series() if one.name == "E36300"]
    link = make_link(uri, series, arguments={"open_timeout": PATIENT, "timeout": PATIENT})
    IdentifiedLink(link, series).open()


@pytest.mark.parametrize("form", NETWORK[1:])
def test_another_protocol_at_the_port(form: str) -> None:
    def web(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nabc" * 3)
        connection.recv(100)

    with served(web) as port:
        assert "answers at 127.0.0.1, port" in failure(form.format("127.0.0.1", port), timeout=PATIENT)


def test_vxi11_that_the_portmapper_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 111 of this host belongs to others: the portmapper has another one here."""

    def nothing(connection: socket.socket) -> None:
        call = connection.recv(1000)
        reply = call[4:8] + struct.pack(">IIIIIi", 1, 0, 0, 0, 0, 0)
        connection.sendall(struct.pack(">I", 0x8000_0000 | len(reply)) + reply)
        connection.recv(1000)

    with served(nothing) as port:
        monkeypatch.setattr("pyvisa_py.protocols.rpc.PMAP_PORT", port)
        said = failure("TCPIP::127.0.0.1::inst0::INSTR", timeout=PATIENT)
    assert "its portmapper knows no VXI-11; turn it on in the unit's LAN settings" in said


def test_names_of_devices() -> None:
    with Simulator(socket_port=None, vxi11_port=0, hislip_port=0) as supply:
        said = failure(f"TCPIP::127.0.0.1,{supply.vxi11_port}::inst9::INSTR", timeout=PATIENT)
        assert "no device of that name" in said
        said = failure(f"TCPIP::127.0.0.1::hislip7,{supply.hislip_port}::INSTR", timeout=PATIENT)
        assert "the unit refuses the connection" in said


# Serial lines.


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A serial line: the descriptor that holds it open, and the path of its port."""
    near, far = pty.openpty()
    yield far, os.ttyname(far)
    os.close(far)
    os.close(near)


def test_a_silent_line(line: tuple[int, str]) -> None:
    said = failure(f"ASRL{line[1]}::INSTR", baud_rate=19200)
    assert "nothing came on " + line[1] in said
    assert "does its cable fit, and is it set to this interface and 19200 baud?" in said


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/dev/ttyNONE", "there is no serial port /dev/ttyNONE; is its adapter plugged in? `psu-agent scan`"),
        ("1", "there is no serial port 1"),
        ("/dev/null", "/dev/null is no serial port"),
        ("/tmp", "/tmp is no serial port"),
    ],
)
def test_ports_that_are_none(path: str, told: str) -> None:
    assert told in failure(f"ASRL{path}::INSTR")


def test_a_port_that_another_program_uses(line: tuple[int, str]) -> None:
    fcntl.flock(line[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    said = failure(f"ASRL{line[1]}::INSTR")
    assert f"another program uses {line[1]}; end it" in said
    fcntl.flock(line[0], fcntl.LOCK_UN)
    assert "Timeout" in failure(f"ASRL{line[1]}::INSTR")


def test_nobody_else_gets_a_port_while_it_is_open(line: tuple[int, str]) -> None:
    session = VisaSession(f"ASRL{line[1]}::INSTR")
    session.open()
    assert "another program uses" in failure(f"ASRL{line[1]}::INSTR")
    session.close()


def test_a_port_that_was_pulled_out() -> None:
    near, far = pty.openpty()
    session = VisaSession(f"ASRL{os.ttyname(far)}::INSTR", options={"timeout": 300})
    session.open()
    os.close(far)
    os.close(near)
    with pytest.raises(LinkError) as raised:
        session.ask("*IDN?")
    assert "is gone" in str(raised.value)
    assert not FOREIGN.search(str(raised.value))


PERMISSION = """
import os, sys
from agent.instruments.visa.session import VisaSession
from agent.instruments.visa.library import manager
manager("@py")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    VisaSession(sys.argv[1]).open()
except Exception as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's port needs root")
def test_a_port_without_permission(line: tuple[int, str]) -> None:
    os.chmod(line[1], 0o600)
    command = [sys.executable, "-c", PERMISSION, f"ASRL{line[1]}::INSTR"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert "this user may not use" in done.stdout, done
    assert re.search(r"sudo usermod -aG \w+ USER", done.stdout)
    assert not FOREIGN.search(done.stdout.strip())


# Networks.


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_networks_without_a_way_to_the_unit() -> None:
    with Network() as network:
        pc, unit = network.host("pc"), network.host("unit")
        pc.call("ip", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", str(unit.pid))
        pc.call("ip", "address", "add", "10.1.0.1/24", "dev", "lan")
        pc.call("ip", "link", "set", "lan", "up")
        unit.call("ip", "link", "set", "eth0", "up")
        pc.call("ip", "route", "add", "prohibit", "10.3.0.0/24")
        pc.call("ip", "route", "add", "unreachable", "10.4.0.0/24")
        told = told_on(pc, "10.2.0.9", "10.3.0.9", "10.4.0.9", "10.1.0.9")
    assert "there is no route from this host to 10.2.0.9" in told[0]
    assert "this host does not allow a connection to 10.3.0.9; its firewall" in told[1]
    assert "no device answers at the address 10.4.0.9" in told[2]
    # Nobody answers on that network: the kernel says so after 3 s, if the timeout does not come first.
    assert "10.1.0.9" in told[3]
    assert "is the unit on and connected" in told[3]
    assert not any(FOREIGN.search(line) for line in told)


def told_on(host: Host, *addresses: str) -> list[str]:
    code = """
import sys
from agent.instruments.visa.session import VisaSession
for address in sys.argv[1:]:
    try:
        VisaSession(f"TCPIP::{address}::5025::SOCKET", options={"open_timeout": 500}).open()
    except Exception as error:
        print(error)
"""
    return host.call("env", f"PYTHONPATH={Path.cwd()}", sys.executable, "-c", code, *addresses).splitlines()


# Modbus.


def test_modbus(line: tuple[int, str], unused: int) -> None:
    def said(uri: str, timeout: float = 0.2) -> str:
        link = make_register_link(uri, slave=1, options={"open_timeout": PATIENT}, baud=9600, timeout=timeout)
        with pytest.raises(LinkError) as raised:
            link.open(0, 4)
        link.close()
        assert not FOREIGN.search(str(raised.value))
        return str(raised.value)

    assert f"can't open it: Connection refused by 127.0.0.1 at port {unused} (Modbus)" in said(
        f"TCPIP::127.0.0.1::{unused}::SOCKET"
    )
    assert "there is no serial port /dev/ttyNONE" in said("ASRL/dev/ttyNONE::INSTR")
    assert "is it set to this interface and 9600 baud?" in said(f"ASRL{line[1]}::INSTR")
    fcntl.flock(line[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert "another program uses" in said(f"ASRL{line[1]}::INSTR")
    with served(lambda _: None) as port:
        assert "the unit closed the connection" in said(f"TCPIP::127.0.0.1::{port}::SOCKET", PATIENT / 1000)


# What needs hardware: the errors as libraries raise them (pyusb, usbtmc.py, linux-gpib).

USB = "USB0::0x2A8D::0x1202::MY1::0::INSTR"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EACCES, "Access denied (insufficient permissions)"), "udev rule"),
        (ValueError("[Errno 13] Access denied (insufficient permissions)"), "udev rule"),
        (OSError(errno.EBUSY, "Resource busy"), "another program, or the kernel's own driver, uses the unit on USB"),
        (ValueError("[Errno 16] Resource busy"), "modprobe -r usbtmc"),
        (OSError(errno.ENODEV, "No such device (it may have been disconnected)"), "is gone"),
        (OSError(errno.ETIMEDOUT, "Operation timed out"), "Timeout: nothing came"),
        (OSError(errno.EPIPE, "Pipe error"), "refuses the transfer on USB"),
        (ValueError("No device found."), "`psu-agent scan` lists those that are there"),
        (ValueError("No backend available"), "apt install libusb-1.0-0"),
        (pyvisa.errors.VisaIOError(StatusCode.error_resource_not_found), "there is no such unit on USB"),
        (IndexError("array index out of range"), "breaks the rules"),
    ],
)
def test_usb(error: Exception, told: str) -> None:
    assert told in reason_of(error, way_of(USB))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ECONNREFUSED, errno.ENETUNREACH])
def test_a_unit_without_a_network_is_not_told_of_one(number: int) -> None:
    said = reason_of(OSError(number, os.strerror(number)), way_of("GPIB0::5::INSTR"))
    assert said == f"{os.strerror(number)}; is the unit on, and is this its GPIB address?"


@pytest.mark.parametrize("uri", [form.format("10.0.0.5", 4880) for form in NETWORK])
def test_what_the_visa_library_calls_insufficient_location_information(uri: str) -> None:
    said = reason_of(pyvisa.errors.VisaIOError(StatusCode.error_resource_not_found), way_of(uri))
    assert "answers at 10.0.0.5, port 4880; check `uri`, and the unit's LAN settings" in said


URIS = [
    *(form.format("10.0.0.5", 4880) for form in NETWORK),
    *("ASRL/dev/ttyUSB0::INSTR", "ASRL3::INSTR", USB, "GPIB0::5::INSTR", "nonsense", "TCPIP::[fe80::1]::5025::SOCKET"),
]
TEXTS = st.text(max_size=60) | st.sampled_from(
    [
        "VI_ERROR_RSRC_NFOUND (-1073807343): Insufficient location information or the requested device is not present",
        "[Errno 2] could not open port /dev/ttyUSB0: [Errno 2] No such file or directory: '/dev/ttyUSB0'",
        "Could not configure port: (5, 'Input/output error')",
        "<class 'OSError'> at 0x7f12",
        "message header prologue 'HT' != 'HS'",
        "VisaIOError",
    ]
)
COMMON = (OSError, ValueError, RuntimeError, TypeError, AttributeError, IndexError, EOFError, Exception, TimeoutError)
OF_LIBRARIES = (ConnectionResetError, BrokenPipeError, UnicodeError, struct.error, RPCError, RPCUnpackError, Vxi11Error)
ERRORS = st.one_of(
    st.builds(
        pyvisa.errors.VisaIOError, st.sampled_from([code.value for code in StatusCode]) | st.integers(-(2**31), 2**31)
    ),
    st.builds(lambda number: OSError(number, os.strerror(number)), st.sampled_from(sorted(errno.errorcode))),
    st.builds(OSError, st.integers(-20, 4000), TEXTS),
    st.builds(socket.gaierror, st.integers(-12, 0), TEXTS),
    st.builds(lambda number: termios.error(number, os.strerror(number)), st.sampled_from(sorted(errno.errorcode))),
    st.builds(
        lambda kind, text: kind(text),
        st.sampled_from([*COMMON, *OF_LIBRARIES]),
        TEXTS,
    ),
)


@given(ERRORS, st.sampled_from(URIS), st.floats(0, 1e6) | st.none(), st.booleans())
def test_no_sentence_has_a_word_of_a_library(
    error: Exception, uri: str, timeout: float | None, is_opening: bool
) -> None:
    way = way_of(uri, timeout=timeout, baud=9600)
    way = reasons.Way(way.kind, way.place, way.port, way.timeout, way.baud, is_opening)
    said = reason_of(error, way)
    assert said.strip()
    assert "\n" not in said
    assert not FOREIGN.search(said.replace(uri, "")), said

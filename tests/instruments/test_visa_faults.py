"""Faults of a link, and faults of the agent's own, which are not taken for those of a link."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from agent.instruments.driver import LinkError
from agent.instruments.reasons import way_of
from agent.instruments.visa import hislip
from agent.instruments.visa.faults import reason_of
from agent.instruments.visa.session import VisaSession
from agent.instruments.visa.sockets import SocketSession
from agent.simulator import Simulator
from tests.instruments.peer import Peer


class Bug(Exception):
    """No exception of pyvisa's."""


def broken(error: type[Exception]) -> Callable[..., object]:
    """A function of the agent that fails."""
    namespace: dict[str, Any] = {"__name__": "agent.instruments.visa.sockets", "error": error}
    exec("def fail(*_, **__): raise error('a bug')", namespace)
    return namespace["fail"]  # type: ignore[no-any-return]


OURS = [AttributeError, TypeError, KeyError, IndexError, AssertionError, Bug]


@pytest.mark.parametrize("error", OURS)
@pytest.mark.parametrize("method", ["read", "write"])
def test_a_bug_in_a_session_of_ours_is_not_taken_for_the_unit(
    make_peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch, error: type[Exception], method: str
) -> None:
    session = make_peer(b"one\n").session()
    session.open()
    monkeypatch.setattr(SocketSession, method, broken(error))
    with pytest.raises(error, match="a bug"):
        session.ask("A?")
    assert not session.is_open


@pytest.mark.parametrize("error", OURS)
def test_a_bug_in_the_driver_of_hislip_is_not_taken_for_the_unit(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    with Simulator(socket_port=None, hislip_port=0) as simulator:
        session = VisaSession(simulator.resources["hislip"])
        session.open()
        monkeypatch.setattr(hislip.Instrument, "send", broken(error))
        with pytest.raises(error, match="a bug"):
            session.ask("*IDN?")


@pytest.mark.parametrize("error", OURS)
@pytest.mark.parametrize("name", ["TCPIP::127.0.0.1::{}::SOCKET", "TCPIP::127.0.0.1::hislip0,{}::INSTR"])
def test_a_bug_on_opening_is_not_taken_for_the_unit(
    make_peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch, error: type[Exception], name: str
) -> None:
    """HiSLIP's is hidden by pyvisa-py behind an error of opening."""
    session = VisaSession(name.format(make_peer().port))
    monkeypatch.setattr(socket, "create_connection", broken(error))
    with pytest.raises(error, match="a bug"):
        session.open()
    assert not session.is_open


def test_a_message_that_is_no_text_is_a_bug(make_peer: Callable[..., Peer]) -> None:
    session = make_peer(b"one\n").session()
    session.open()
    with pytest.raises(UnicodeEncodeError):
        session.ask("µ?")


@pytest.mark.parametrize(
    "options",
    [{"timeout": "soon"}, {"nonsense": 1}, {"last_status": 5}, {"read_termination": 5}, {"open_timeout": "soon"}],
)
def test_arguments_that_pyvisa_does_not_take_are_no_bug(
    make_peer: Callable[..., Peer], options: dict[str, object]
) -> None:
    with pytest.raises(LinkError, match="can't open TCPIP"):
        make_peer().session(**options).open()


def test_pyvisas_own_faults_are_the_units(make_peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (RuntimeError("sync"), ValueError("no device"), EOFError(), OSError(5, "I/O"), Exception("bare")):
        session = make_peer(b"one\n").session()
        session.open()

        def fail(*_: object, error: Exception = error) -> object:
            raise error

        monkeypatch.setattr(SocketSession, "read", fail)
        with pytest.raises(LinkError, match="no answer: "):
            session.ask("A?")
        assert not session.is_open


def test_hislip_says_why_it_can_not_be_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LinkError, match=r"can't open .*: Connection refused"):
        VisaSession(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", options={"open_timeout": 300}).open()


def test_a_hislip_answer_that_breaks_the_protocol() -> None:
    """pyvisa-py checks it by an assert: a DataEnd message whose control code is not 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            synchronous, _ = listener.accept()
            with synchronous:
                synchronous.recv(1000)
                synchronous.sendall(b"HS\x01\x00\x01\x00\x00\x01" + bytes(8))  # InitializeResponse
                asynchronous, _ = listener.accept()
                with asynchronous:
                    asynchronous.recv(1000)
                    asynchronous.sendall(b"HS\x12\x00\x00\x00KT" + bytes(8))  # AsyncInitializeResponse
                    asynchronous.recv(1000)
                    largest = (1 << 20).to_bytes(8, "big")
                    asynchronous.sendall(b"HS\x10" + bytes(12) + b"\x08" + largest)  # its largest message
                    synchronous.recv(1000)
                    synchronous.sendall(b"HS\x07\x05\xff\xff\xff\xff" + bytes(8))
                    with contextlib.suppress(ConnectionResetError):
                        synchronous.recv(1000)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        name = f"TCPIP::127.0.0.1::hislip0,{listener.getsockname()[1]}::INSTR"
        session = VisaSession(name, options={"open_timeout": 2000, "timeout": 2000})
        session.open()
        with pytest.raises(LinkError, match="breaks the HiSLIP protocol"):
            session.ask("*IDN?")
        server.join(25)


@pytest.mark.parametrize("transport", ["vxi11", "hislip"])
def test_a_unit_that_another_client_has_locked_is_said_to_be(transport: str) -> None:
    with Simulator(socket_port=None, vxi11_port=0, hislip_port=0) as simulator:
        uri = simulator.resources[transport]
        session = VisaSession(uri, options={"timeout": 2000, "open_timeout": 2000})
        session.open()
        assert session.ask("*IDN?")
        holder: Any
        if transport == "vxi11":
            holder = pyvisa.ResourceManager("@py").open_resource(uri, open_timeout=2000)
            holder.lock_excl()
        else:
            holder = hislip.Instrument("127.0.0.1", port=simulator.hislip_port or 0)
            assert holder.async_lock_request(1.0) == "success"
        with pytest.raises(LinkError, match="the unit is locked by another client; release the lock there"):
            session.ask("*IDN?")
        assert not session.is_open
        holder.close()
        session.open()
        assert session.ask("*IDN?")
        session.close()


def test_a_lock_that_the_visa_library_reports_is_said_in_the_same_words() -> None:
    for code in (StatusCode.error_resource_locked, StatusCode.error_resource_busy):
        assert "locked by another client" in reason_of(pyvisa.errors.VisaIOError(code), way_of("GPIB0::5::INSTR"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (11, "locked by another client"),
        (9, "has no link left; end other programs"),
        (3, "no device of that name"),
        (17, "refuses the link"),
    ],
)
def test_a_link_that_the_unit_refuses_is_told_in_words(error: int, said: str) -> None:
    """A server of VXI-11 that answers the call to make a link by an error, and sees the connection end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                call = connection.recv(1000)
                reply = call[4:8] + struct.pack(">IIIIII", 1, 0, 0, 0, 0, error) + bytes(12)
                connection.sendall(struct.pack(">I", 0x8000_0000 | len(reply)) + reply)
                with contextlib.suppress(ConnectionResetError):
                    connection.recv(1000)
                ended.set()

        threading.Thread(target=serve, daemon=True).start()
        session = VisaSession(
            f"TCPIP::127.0.0.1,{listener.getsockname()[1]}::gpib0,5::INSTR", options={"open_timeout": 2000}
        )
        with pytest.raises(LinkError, match=rf"{said}.*VXI-11 error {error}"):
            session.open()
        assert ended.wait(10)  # not left to the garbage collector


def test_a_gateways_device_name_reaches_it() -> None:
    with Simulator(socket_port=None, vxi11_port=0) as simulator:
        session = VisaSession(
            f"TCPIP::127.0.0.1,{simulator.vxi11_port}::gpib0,9,3::INSTR", options={"open_timeout": 2000}
        )
        with pytest.raises(LinkError, match="no device of that name"):
            session.open()


def test_a_hislip_unit_that_takes_no_more_clients_is_said_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HS\x02\x04" + bytes(12))  # FatalError 4: maximum number of clients exceeded
                with contextlib.suppress(ConnectionResetError):
                    connection.recv(1000)

        threading.Thread(target=serve, daemon=True).start()
        session = VisaSession(
            f"TCPIP::127.0.0.1::hislip0,{listener.getsockname()[1]}::INSTR", options={"open_timeout": 2000}
        )
        with pytest.raises(LinkError, match="refuses the connection: it may have as many clients as it takes"):
            session.open()

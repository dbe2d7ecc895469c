"""Faults of a link, and faults of the agent's own, which are not taken for those of a link."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from agent.instruments.driver import LinkError
from agent.instruments.visa import hislip
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

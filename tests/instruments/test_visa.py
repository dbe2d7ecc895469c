"""One session: what it takes for an answer, what it does about everything else, and that it leaves nothing behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pyvisa

from agent.instruments.driver import LinkError
from agent.instruments.visa import hislip
from agent.instruments.visa.faults import reason_of
from agent.instruments.visa.session import Session
from agent.instruments.visa.sockets import SocketSession
from agent.simulator import Simulator
from tests.lab import wait_until


class Peer:
    """A TCP server that answers each line with the next of these, whatever was asked."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self.received = b""
        self._answers = iter(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                self.received += data
                for _ in range(data.count(b"\n")):
                    answer = next(self._answers, b"")
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)
        except OSError:
            pass

    def session(self, **options: object) -> Session:
        return Session(
            f"TCPIP::127.0.0.1::{self.port}::SOCKET", options={"timeout": 200, "open_timeout": 500, **options}
        )

    def close(self) -> None:
        for connection in (self._listener, *self._connections):
            connection.close()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(*answers: bytes | Callable[[socket.socket], None]) -> Peer:
        peers.append(Peer(*answers))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


def failing(session: Session, message: str = "X?") -> str:
    with pytest.raises(LinkError) as error:
        session.ask(message)
    assert not session.is_open  # nothing that comes on it later can be taken for an answer
    return str(error.value)


def test_questions_and_their_answers(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(b"one\n", b"", b"two\r\n")
    session = peer.session()
    session.open()
    assert session.ask("A?") == "one"
    session.tell("B 1")
    assert session.ask("C?") == "two"
    assert peer.received == b"A?\nB 1\nC?\n"
    session.close()
    assert not session.is_open


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([b""], "Timeout"),
        ([b"half"], "Timeout"),
        ([b"\xff\xfe\n"], "ascii"),
        ([b"x" * 70_000], "more than 65536 bytes"),
        ([b"1\n2\n", b"3\n"], "nobody asked for: b'2"),
        ([lambda connection: connection.close()], "closed the connection"),
    ],
)
def test_what_is_no_answer_closes_the_session(
    make_peer: Callable[..., Peer], answers: list[bytes | Callable[[socket.socket], None]], said: str
) -> None:
    session = make_peer(*answers).session()
    session.open()
    if len(answers) > 1:
        assert session.ask("A?") == "1"
    assert said in failing(session)


def test_a_peer_that_drips_is_given_up_in_time(make_peer: Callable[..., Peer]) -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(200):
            connection.sendall(b"5")
            time.sleep(0.05)

    session = make_peer(drip).session()
    session.open()
    begun = time.monotonic()
    assert "Timeout" in failing(session)
    assert time.monotonic() - begun < 5  # 0.2 s, where the whole would take 10


def test_a_peer_that_takes_nothing_more(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(lambda _: time.sleep(5))
    session = peer.session()
    session.open()
    session.tell("A")  # which keeps it busy
    message = "X" * 50_000_000  # more than any buffer on the way takes
    with pytest.raises(LinkError):
        session.tell(message)
    assert not session.is_open


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    session = Session(f"TCPIP::127.0.0.1::{port}::SOCKET", options={"open_timeout": 300})
    with pytest.raises(LinkError, match=r"can't open .*: Connection refused"):
        session.open()


@pytest.mark.parametrize("name", ["TCPIP::127.0.0.1,{}::inst0::INSTR", "TCPIP::127.0.0.1::hislip0,{}::INSTR"])
def test_nobody_there_on_lan(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    session = Session(name.format(port), options={"open_timeout": 300})
    with pytest.raises(LinkError, match="can't open"):
        session.open()


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port where connecting itself hangs: its queue is full, and the system drops what comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize(
    "name",
    [
        "TCPIP::127.0.0.1::{}::SOCKET",
        "TCPIP::127.0.0.1,{}::inst0::INSTR",
        "TCPIP::127.0.0.1::hislip0,{}::INSTR",
    ],
)
def test_opening_ends_in_time(black_hole: int, name: str) -> None:
    session = Session(name.format(black_hole), options={"open_timeout": 300})
    begun = time.monotonic()
    with pytest.raises(LinkError):
        session.open()
    assert time.monotonic() - begun < 4


def test_the_second_connection_of_hislip_ends_in_time() -> None:
    """pyvisa-py gives it as long as the system does: 135 s."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]

        def greet() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            # InitializeResponse (IVI-6.1, 6.1): no overlap, version 1.0, session 1.
            connection.sendall(b"HS\x01\x00\x01\x00\x00\x01" + bytes(8))
            done.wait(10)
            for filler in (*fillers, connection):
                filler.close()

        done = threading.Event()
        threading.Thread(target=greet, daemon=True).start()
        session = Session(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", options={"open_timeout": 300})
        begun = time.monotonic()
        with pytest.raises(LinkError):
            session.open()
        assert time.monotonic() - begun < 5
        done.set()


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        # A record of 2 GiB; one of many small fragments; a call id from the future.
        ("TCPIP::127.0.0.1,{}::inst0::INSTR", b"\xff\xff\xff\xff" + b"5" * 200_000),
        ("TCPIP::127.0.0.1,{}::inst0::INSTR", b"\x00\x00\x10\x00" + b"\x00" * 0x1000) ,
        ("TCPIP::127.0.0.1,{}::inst0::INSTR", b"\x80\x00\x00\x18\x00\x00\x00\xff" + b"\x00\x00\x00\x01" + bytes(16)),
        # A payload of 2**60 bytes where none is expected.
        ("TCPIP::127.0.0.1::hislip0,{}::INSTR", b"HS\x02\x00\x00\x00\x00\x00" + b"\x10" + bytes(7)),
        ("TCPIP::127.0.0.1::hislip0,{}::INSTR", b"HS\x01\x00\x01\x00\x00\x01" + b"\x00" * 7 + b"\x01"),
        ("TCPIP::127.0.0.1::hislip0,{}::INSTR", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_no_instrument_says(name: str, reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    for _ in range(40):
                        connection.sendall(reply)
                    connection.recv(1000)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        session = Session(name.format(listener.getsockname()[1]), options={"open_timeout": 1000, "timeout": 300})
        with pytest.raises(LinkError):
            session.open()


def test_a_resource_that_is_no_instrument() -> None:
    with pytest.raises(LinkError, match="can't open"):
        Session("nonsense").open()


@pytest.mark.parametrize("transport", ["socket", "vxi11", "hislip", "serial"])
def test_a_closed_session_is_forgotten(transport: str) -> None:
    with Simulator(socket_port=0, vxi11_port=0, hislip_port=0, pty=True) as simulator:
        library = pyvisa.ResourceManager("@py").visalib
        session = Session(simulator.resources[transport], options={"timeout": 2000, "open_timeout": 2000})
        session.open()
        assert "E36313A" in session.ask("*IDN?")
        session.close()
        tables = ("sessions", "_last_status_in_session", "_ignore_warning_in_session")
        before = [len(getattr(library, table)) for table in tables]
        for _ in range(5):
            session.open()
            assert "E36313A" in session.ask("*IDN?")
            session.close()
        assert [len(getattr(library, table)) for table in tables] == before
        session.close()  # as often as one likes


def test_errors_say_one_thing_in_one_line() -> None:
    for error, said in [
        (OSError(111, "Connection refused"), "Connection refused"),
        (ValueError("two\nlines\x00"), "two lines\x00"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("x" * 1000), "x" * 200),
    ]:
        assert reason_of(error) == said


def test_old_answers_do_not_survive_a_reopening(make_peer: Callable[..., Peer]) -> None:
    late = threading.Event()

    def answer_late(connection: socket.socket) -> None:
        late.wait(5)
        connection.sendall(b"old\n")

    peer = make_peer(answer_late, b"new\n")
    session = peer.session()
    session.open()
    failing(session)
    session.open()
    late.set()
    wait_until(lambda: peer.received.count(b"\n") == 1, "the first question")
    assert session.ask("B?") == "new"
    session.close()


# A fault of the agent's own is none of the link.


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
        session = Session(simulator.resources["hislip"])
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
    session = Session(name.format(make_peer().port))
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
        Session(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", options={"open_timeout": 300}).open()


def test_a_hislip_answer_that_breaks_the_protocol() -> None:
    """pyvisa-py checks it by an assert: a DataEnd message whose control code is not 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            synchronous, _ = listener.accept()
            synchronous.recv(1000)
            synchronous.sendall(b"HS\x01\x00\x01\x00\x00\x01" + bytes(8))  # InitializeResponse
            asynchronous, _ = listener.accept()
            asynchronous.recv(1000)
            asynchronous.sendall(b"HS\x12\x00\x00\x00KT" + bytes(8))  # AsyncInitializeResponse
            asynchronous.recv(1000)
            asynchronous.sendall(b"HS\x10" + bytes(12) + b"\x08" + (1 << 20).to_bytes(8, "big"))  # its largest message
            synchronous.recv(1000)
            synchronous.sendall(b"HS\x07\x05\xff\xff\xff\xff" + bytes(8))
            synchronous.recv(1000)

        threading.Thread(target=serve, daemon=True).start()
        name = f"TCPIP::127.0.0.1::hislip0,{listener.getsockname()[1]}::INSTR"
        session = Session(name, options={"open_timeout": 2000, "timeout": 2000})
        session.open()
        with pytest.raises(LinkError, match="breaks the HiSLIP protocol"):
            session.ask("*IDN?")

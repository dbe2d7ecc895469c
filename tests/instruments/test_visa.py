"""One session: what it takes for an answer, what it does about everything else, and that it leaves nothing behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import pyvisa

from agent.instruments.driver import LinkError
from agent.instruments.reasons import way_of
from agent.instruments.visa.faults import reason_of
from agent.instruments.visa.session import VisaSession
from agent.simulator import Simulator
from tests.instruments.peer import Peer
from tests.lab import PATIENCE, wait_until


def failing(session: VisaSession, message: str = "X?") -> str:
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
        ([b"\xff\xfe\n"], "bytes that are no text"),
        ([b"x" * 70_000], "more than 65536 bytes"),
        ([b"1\n2\n", b"3\n"], "nobody asked for: b'2"),
        ([lambda connection: connection.close()], "closed the connection"),
    ],
)
def test_what_is_no_answer_closes_the_session(
    make_peer: Callable[..., Peer], answers: list[bytes | Callable[[socket.socket], None]], said: str
) -> None:
    session = make_peer(*answers).session(timeout=200 if said == "Timeout" else 5000)
    session.open()
    if len(answers) > 1:
        assert session.ask("A?") == "1"
    assert said in failing(session)


def test_a_peer_that_drips_is_given_up_in_time(make_peer: Callable[..., Peer]) -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(200):
            connection.sendall(b"5")
            time.sleep(0.05)

    session = make_peer(drip).session(timeout=200)
    session.open()
    begun = time.monotonic()
    assert "Timeout" in failing(session)
    assert time.monotonic() - begun < 5  # 0.2 s, where the whole would take 10


def test_a_peer_that_takes_nothing_more(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(lambda _: time.sleep(5))
    session = peer.session(timeout=200)
    session.open()
    session.tell("A")  # which keeps it busy
    message = "X" * 50_000_000  # more than any buffer on the way takes
    with pytest.raises(LinkError):
        session.tell(message)
    assert not session.is_open


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    session = VisaSession(f"TCPIP::127.0.0.1::{port}::SOCKET", options={"open_timeout": 300})
    with pytest.raises(LinkError, match=r"can't open .*: Connection refused"):
        session.open()


@pytest.mark.parametrize("name", ["TCPIP::127.0.0.1,{}::inst0::INSTR", "TCPIP::127.0.0.1::hislip0,{}::INSTR"])
def test_nobody_there_on_lan(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    session = VisaSession(name.format(port), options={"open_timeout": 300})
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
    session = VisaSession(name.format(black_hole), options={"open_timeout": 300})
    begun = time.monotonic()
    with pytest.raises(LinkError):
        session.open()
    assert time.monotonic() - begun < PATIENCE


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
            done.wait(2 * PATIENCE)
            for filler in (*fillers, connection):
                filler.close()

        done = threading.Event()
        threading.Thread(target=greet, daemon=True).start()
        session = VisaSession(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", options={"open_timeout": 300})
        begun = time.monotonic()
        with pytest.raises(LinkError):
            session.open()
        assert time.monotonic() - begun < PATIENCE
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
        session = VisaSession(name.format(listener.getsockname()[1]), options={"open_timeout": 1000, "timeout": 300})
        with pytest.raises(LinkError):
            session.open()


def test_a_resource_that_is_no_instrument() -> None:
    with pytest.raises(LinkError, match="can't open"):
        VisaSession("nonsense").open()


@pytest.mark.parametrize("transport", ["socket", "vxi11", "hislip", "serial"])
def test_a_closed_session_is_forgotten(transport: str) -> None:
    with Simulator(socket_port=0, vxi11_port=0, hislip_port=0, pty=True) as simulator:
        library = pyvisa.ResourceManager("@py").visalib
        session = VisaSession(simulator.resources[transport], options={"timeout": 2000, "open_timeout": 2000})
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
        (OSError(121, "Remote I/O error"), "Remote I/O error; is the unit on, and is this its GPIB address?"),
        (ValueError("two\nlines\x00"), "two lines\x00"),
        (RuntimeError(), "the link to GPIB0::5::INSTR failed, for a reason that only the log at level DEBUG tells"),
        (ValueError("x" * 1000), "x" * 200),
    ]:
        assert reason_of(error, way_of("GPIB0::5::INSTR")) == said


def test_old_answers_do_not_survive_a_reopening(make_peer: Callable[..., Peer]) -> None:
    late = threading.Event()

    def answer_late(connection: socket.socket) -> None:
        late.wait(PATIENCE)
        connection.sendall(b"old\n")

    peer = make_peer(answer_late, b"new\n")
    session = peer.session(timeout=1000)
    session.open()
    failing(session)
    session.open()
    late.set()
    wait_until(lambda: peer.received.count(b"\n") == 1, "the first question")
    assert session.ask("B?") == "new"
    session.close()

"""What answers at the broker's address and is no broker, or refuses something: one sentence each, and never a traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client.address import Address
from agent.client.connection import BrokerError, Client
from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.local.ports import free_port, is_free
from agent.mqtt import faults
from agent.mqtt.connection import MOST_PACKETS, Connection, ConnectionLost
from agent.mqtt.incoming import Incoming
from agent.mqtt.subscriptions import Subscriptions
from tests import certificates
from tests.certificates import Certificates
from tests.lab import PATIENCE, wait_until
from tests.properties import examples


@contextmanager
def answering(*answers: bytes, closes: bool = True) -> Iterator[int]:
    """A port that reads something and answers, as often as there are answers, for every connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            try:
                for answer in answers:
                    connection.recv(65536)
                    connection.sendall(answer)
                if not closes:
                    while connection.recv(65536):
                        pass
            except OSError:
                pass
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def make(complaints: list[str] | None = None, heard: list[Incoming] | None = None, **settings: Any) -> Connection:
    return Connection(
        Mqtt.model_validate({"host": "127.0.0.1", **settings}),
        agent="bench",
        client_id="psu-agent-bench-1",
        will="psu/agents/bench/status",
        handle=(heard if heard is not None else []).append,
        acknowledged=lambda *_: None,
        complain=(complaints if complaints is not None else []).append,
    )


def exchange(connection: Connection) -> bool:
    connection.flush()
    if connection.has_unread:
        connection.read()
    connection.check()
    return True


def fault(connection: Connection) -> str:
    """The sentence that the connection fails with."""
    with pytest.raises(ConnectionLost) as error:  # noqa: PT012 - in whichever of them it shows
        connection.open()
        wait_until(lambda: exchange(connection) and None, "the fault")
    connection.close()
    assert "\n" not in str(error.value)
    return str(error.value)


def client_fault(**settings: Any) -> str:
    address = Address.from_settings(Mqtt.model_validate({"host": "127.0.0.1", **settings}))
    with pytest.raises(BrokerError) as error, Client(address):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


CONNACK_5 = b"\x20\x03\x00%c\x00"


@pytest.mark.parametrize(
    ("protocol", "answer", "said"),
    [
        ("5", CONNACK_5 % 0x84, "Unsupported protocol version; set settings.mqtt.protocol to auto, or to 3.1.1"),
        ("5", b"\x20\x02\x00\x01", "Unsupported protocol version; set settings.mqtt.protocol to auto, or to 3.1.1"),
        ("3.1.1", b"\x20\x02\x00\x01", "Unsupported protocol version; set settings.mqtt.protocol to auto, or to 5"),
        ("5", CONNACK_5 % 0x85, "give another settings.mqtt.client_id"),
        ("3.1.1", b"\x20\x02\x00\x02", "give another settings.mqtt.client_id"),
        ("5", CONNACK_5 % 0x86, "check settings.mqtt.username and its password"),
        ("3.1.1", b"\x20\x02\x00\x04", "check settings.mqtt.username and its password"),
        ("5", CONNACK_5 % 0x87, "let the user 'bench' connect"),
        ("3.1.1", b"\x20\x02\x00\x05", "let the user 'bench' connect"),
        ("5", CONNACK_5 % 0x8A, "it has banned this client; the broker's administrator can lift it"),
        ("5", CONNACK_5 % 0x95, "larger packets"),
        ("5", CONNACK_5 % 0x9A, "Retain not supported; the states of this agent are retained messages"),
        ("5", CONNACK_5 % 0x9B, "QoS not supported; this agent publishes with QoS 1"),
        ("5", b"\x20\x05\x00\x00\x02\x24\x00", "it takes no QoS 1; this agent publishes with QoS 1"),
        ("5", b"", "closed the connection without an answer; if port"),
        ("5", b"\x15\x03\x03\x00\x02\x02\x16", "speaks TLS; set settings.mqtt.tls"),
        ("5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP, not MQTT"),
        ("3.1.1", b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak MQTT"),
        ("5", b"\x20\x00", "not MQTT|rotocol"),
        ("5", b"\x20\x03\x00\xee\x00", "not MQTT|rotocol"),
        ("5", CONNACK_5 % 0 + b"\xe0\x01\x9a", "Retain not supported; the states of this agent are"),
        ("5", CONNACK_5 % 0 + b"\xf0\x00", "rotocol"),
    ],
)
def test_each_answer_to_connect_is_one_sentence(protocol: str, answer: bytes, said: str) -> None:
    with answering(answer) as port:
        sentence = fault(make(port=port, protocol=protocol, username="bench"))
    assert any(part in sentence for part in said.split("|")), sentence


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CONNACK_5 % 0x9A, "retain not supported; the states of this agent"),
        (CONNACK_5 % 0x85, "settings.mqtt.client_id"),
        (b"", "closed the connection before it answered"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed the connection before it answered"),
        (b"\x15\x03\x03\x00\x02\x02\x16", "does it speak MQTT there, without TLS?"),
    ],
)
def test_the_command_line_says_it_too(answer: bytes, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(answer) as port:
        assert said in client_fault(port=port, protocol="5")
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def test_tls_on_one_side_alone(make_broker: Callable[..., LocalBroker], certs: Certificates) -> None:
    plain = free_port()
    conf = f"cafile {certs['ca.crt']}\ncertfile {certs['server.crt']}\nkeyfile {certs['server.key']}\n"
    conf += f"listener {plain} 127.0.0.1\nallow_anonymous true\n"
    broker = make_broker(conf=conf, kind="mosquitto")
    wait_until(lambda: not is_free(plain), "the other listener")
    assert "set settings.mqtt.tls" in fault(make(port=broker.port))
    assert "without TLS?" in client_fault(port=broker.port)
    tls = {"ca": str(certs["ca.crt"])}
    assert "give the port for TLS, by custom 8883, or remove settings.mqtt.tls" in fault(make(port=plain, tls=tls))
    assert "port for TLS" in client_fault(port=plain, tls=tls)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("timed out"), "firewalls"),
        (socket.gaierror(-2, "Name or service not known"), "there is no host 'brokr'"),
        (UnicodeError("label empty or too long"), "there is no host 'brokr'"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError(), "OSError"),
    ],
)
def test_what_cannot_be_reached(error: OSError | ValueError, said: str) -> None:
    assert said in faults.unreachable(error, Mqtt(host="brokr"))


def suback(mid: int, codes: bytes, protocol: str) -> bytes:
    body = mid.to_bytes(2, "big") + (b"\x00" if protocol == "5" else b"") + codes
    return bytes([0x90, len(body)]) + body


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_refused_subscriptions_are_named(protocol: str) -> None:
    complaints: list[str] = []
    connack = CONNACK_5 % 0 if protocol == "5" else b"\x20\x02\x00\x00"
    code = b"\x87" if protocol == "5" else b"\x80"
    with answering(connack, suback(1, b"\x01" + code, protocol), closes=False) as port:
        connection = make(complaints, port=port, protocol=protocol, username="bench")
        connection.open()
        wait_until(lambda: exchange(connection) and connection.is_accepted, "CONNACK")
        connection.subscribe(Subscriptions(["psu/all/set", "psu/psu1/set"]).filters)
        wait_until(lambda: exchange(connection) and not connection.unconfirmed, "SUBACK")
        connection.close()
    [sentence] = complaints
    assert "refused 1 of 2 subscriptions" in sentence
    assert "psu/psu1/set; " in sentence
    assert "psu/all/set" not in sentence
    assert "'bench'" in sentence


def publish(topic: bytes, payload: bytes, properties: bytes = b"\x00") -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + properties + payload
    return bytes([0x30, len(body)]) + body


def test_messages_that_no_broker_should_pass_on_cost_nothing_else() -> None:
    complaints: list[str] = []
    heard: list[Incoming] = []
    packets = [
        publish(b"psu/\xff/set", b"1"),
        publish(b"psu/psu1/set", b"2", b"\x05\x08\x00\x02\xff\xfe"),  # Response Topic
        publish(b"psu/psu1/set", b"3", b"\x04\x08\x00\x09\x61"),
        publish(b"psu/psu1/set", b"4"),
    ]
    with answering(CONNACK_5 % 0 + b"".join(packets), closes=False) as port:
        connection = make(complaints, heard, port=port)
        connection.open()
        wait_until(lambda: exchange(connection) and heard, "the good one")
        connection.check()
        connection.close()
    assert [incoming.payload for incoming in heard] == [b"4"]
    assert "topic is not UTF-8" in complaints[0]
    assert all("no valid MQTT" in complaint for complaint in complaints[1:])
    assert len(complaints) == 3


def test_a_flood_is_read_in_slices() -> None:
    heard: list[Incoming] = []
    with answering(CONNACK_5 % 0 + publish(b"psu/psu1/set", b"1") * 500, closes=False) as port:
        connection = make(None, heard, port=port)
        connection.open()
        connection.flush()
        wait_until(lambda: connection.has_unread, "the flood")
        slices = 0
        while len(heard) < 500:
            before = len(heard)
            connection.read()
            assert len(heard) - before <= MOST_PACKETS
            slices += 1
        assert slices >= 10
        connection.close()


@examples(60)
@given(data=st.binary(min_size=1, max_size=60), is_accepted=st.booleans())
def test_any_bytes_are_a_sentence_or_nothing(data: bytes, is_accepted: bool) -> None:
    with answering((CONNACK_5 % 0 if is_accepted else b"") + data) as port:
        assert fault(make(port=port))


def test_the_command_line_names_refused_topics() -> None:
    connack = CONNACK_5 % 0
    with answering(connack, suback(1, b"\x01\x87\x01", "5"), closes=False) as port:
        address = Address.from_settings(Mqtt.model_validate({"host": "127.0.0.1", "port": port, "protocol": "5"}))
        with Client(address) as client, pytest.raises(BrokerError, match="read psu/b/set: not authorized") as error:
            client.subscribe(["psu/a/set", "psu/b/set", "psu/c/set"])
        assert "psu/a/set" not in str(error.value)

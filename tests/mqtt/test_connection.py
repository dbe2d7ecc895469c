"""One connection: what it makes of the broker's answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from agent.config import Mqtt
from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from agent.mqtt.connection import Connection, ConnectionLost
from agent.mqtt.incoming import Incoming
from agent.mqtt.item import Item, Kind
from agent.mqtt.settings import BrokerSettings, TlsSettings
from agent.mqtt.setup import prepare
from agent.mqtt.tls import TlsError
from tests.lab import wait_until


def make(settings: BrokerSettings, heard: list[Incoming] | None = None) -> Connection:
    handle = heard.append if heard is not None else (lambda _: None)
    return Connection(
        settings,
        agent="bench",
        client_id="psu-agent-bench-1",
        will="psu/agents/bench/status",
        handle=handle,
        acknowledged=lambda *_: None,
    )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_from_connect_to_disconnect(broker: LocalBroker, protocol: str) -> None:
    heard: list[Incoming] = []
    port = broker.port if protocol == "5" else broker.port_311
    settings = Mqtt.model_validate({"host": "127.0.0.1", "port": port, "protocol": protocol})
    connection = make(settings, heard)
    connection.open()

    def exchange() -> bool:
        connection.flush()
        connection.read()
        connection.check()
        return True

    wait_until(lambda: exchange() and connection.is_accepted, "CONNACK")
    filters = [f"t/{number}" for number in range(250)]
    connection.subscribe(filters)
    assert connection.unconfirmed
    wait_until(lambda: exchange() and not connection.unconfirmed, "every SUBACK")
    connection.unsubscribe(filters[1:])
    connection.publish(Item(Kind.RESPONSE, "t/7", b"no"))
    connection.publish(Item(Kind.RESPONSE, "t/0", b"yes", b"correlation"))
    wait_until(lambda: exchange() and heard, "the message")
    assert [(i.topic, i.payload, i.retain, i.stale) for i in heard] == [("t/0", b"yes", False, False)]
    assert heard[0].correlation == (b"correlation" if protocol == "5" else None)
    connection.disconnect()
    assert not connection.was_closed  # by the broker, for a message maybe
    connection.close()
    with pytest.raises(ConnectionLost):
        connection.check()


def test_where_there_is_no_broker() -> None:
    connection = make(Mqtt(host="127.0.0.1", port=free_port()))
    with pytest.raises(ConnectionLost, match="Connection refused"):
        connection.open()
    connection.close()
    assert connection.socket_number is None


class Files:
    """Settings for TLS with a file that is none of its kind."""

    def __init__(self, folder: Path) -> None:
        self.ca: Path | None = folder / "ca.crt"
        self.cert: Path | None = None
        self.key: Path | None = None
        self.insecure = False
        (folder / "ca.crt").write_text("no certificate")


class Login:
    host, port, username, password = "localhost", 8883, None, None

    def __init__(self, tls: TlsSettings) -> None:
        self.tls: TlsSettings | None = tls


def test_what_has_the_fields_can_be_prepared(tmp_path: Path) -> None:
    client = Client(CallbackAPIVersion.VERSION2)
    with pytest.raises(TlsError, match="is no CA certificate"):
        prepare(client, Login(Files(tmp_path)))
    prepare(client, Mqtt(username="bench"))
    assert client.username == "bench"
    assert client.on_socket_open is not None

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import pytest

from agent.client.address import Address
from agent.client.connection import BrokerError, Client, LinkChange, Message, NobodyAnsweredError
from agent.client.request import Target, patience, send
from agent.config import Tls
from agent.local.broker import LocalBroker
from agent.local.ports import free_port
from agent.mqtt import tls
from tests import certificates
from tests.certificates import Certificates
from tests.commandline import invoke
from tests.lab import needs
from tests.mqtt.broker.gatekeeper import Gatekeeper


def address(broker: LocalBroker, **changes: Any) -> Address:
    return Address(**{"host": broker.host, "port": broker.port, **changes})


def messages(client: Client, count: int, timeout: float = 20) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + timeout
    while len(found) < count:
        item = client.inbox.get(timeout=max(0.0, deadline - time.monotonic()))
        if isinstance(item, Message):
            found.append(item)
    return found


@pytest.mark.parametrize("losses", [1, 2])
def test_a_connection_that_ends_at_its_first_subscription_is_made_anew_once(broker: LocalBroker, losses: int) -> None:
    with Gatekeeper(broker.port, broker.port_311) as gate, Client(Address("127.0.0.1", gate.port)) as client:
        gate.lost_subscribes = losses
        if losses > 1:
            with pytest.raises(BrokerError, match="was lost"):
                client.subscribe(["t/a"], qos=1)
            return
        client.subscribe(["t/a"], qos=1)
        client.publish("t/a", b"1")
        (came,) = messages(client, 1)
        assert (came.topic, came.payload) == ("t/a", b"1")
        gate.lost_subscribes = 1
        with pytest.raises(BrokerError, match="was lost"):  # something was sent, and may have been done
            client.subscribe(["t/b"])


def test_retained_messages_are_read_while_others_are_published_without_a_pause(
    broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that publishes at 100 Hz must not hold up `get`: the pause of retained messages alone ends the reading."""
    monkeypatch.setattr("agent.client.connection.LONGEST_READING", 3600.0)
    for i in range(50):
        paho.mqtt.publish.single(f"t/{i}", b"x", 1, True, broker.host, broker.port_311)
    done = threading.Event()

    def publish() -> None:
        with Client(address(broker)) as other:
            while not done.wait(0.01):
                with contextlib.suppress(NobodyAnsweredError):  # before the other has subscribed, and after
                    other.publish("t/live", b"y")

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        with Client(address(broker)) as client:
            found = client.retained(["t/+"])
    finally:
        done.set()
        thread.join()
    assert {message.topic for message in found if message.retain} == {f"t/{i}" for i in range(50)}


def test_it_is_there_again_after_the_broker_was_away(broker: LocalBroker) -> None:
    with Client(address(broker)) as client:
        client.subscribe(["t/#"], qos=1)
        broker.kill()
        lost = client.inbox.get(timeout=20)
        assert isinstance(lost, LinkChange)
        assert lost.reason == "it closed the connection"
        broker.start()
        assert client.inbox.get(timeout=30) == LinkChange(None)
        with Client(address(broker)) as other:
            deadline = time.monotonic() + 20
            while client.inbox.empty():
                assert time.monotonic() < deadline
                other.publish("t/again", b"x")
                time.sleep(0.05)
        assert messages(client, 1)[0].topic == "t/again"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_command_s_way_and_its_response_s(broker: LocalBroker, protocol: str) -> None:
    port = broker.port if protocol == "5" else broker.port_311
    where = address(broker, port=port, protocol=protocol)
    with Client(where) as agent, Client(where) as client:
        agent.subscribe(["psu/+/+/set"], qos=1)

        def answer() -> None:
            command = json.loads(messages(agent, 1)[0].payload)
            response = {"id": command["id"], "ok": True, "time": "2026-11-23T09:15:02Z", "psu": "a", "index": 1}
            noise = response | {"id": "another"}
            agent.publish("psu/a/1/response", json.dumps(noise).encode())
            agent.publish("psu/a/1/response", b"nonsense")
            agent.publish("psu/a/1/response", json.dumps(response).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        outcome = send(client, Target("a", "1"), {"id": "mine", "state": False}, expiry=5, patience=20)
        thread.join()
    assert [response.id for response in outcome.responses] == ["mine"]
    assert outcome.exit_code == 0


def test_a_broker_that_goes_away_while_a_command_is_under_way(broker: LocalBroker) -> None:
    with Client(address(broker)) as agent, Client(address(broker)) as client:
        agent.subscribe(["psu/+/+/set"], qos=1)

        def kill() -> None:
            messages(agent, 1)
            broker.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(BrokerError, match=r"whether .* is not known"):
            send(client, Target("a", "1"), {"id": "mine", "state": False}, expiry=5, patience=20)
        thread.join()


def test_a_peer_that_takes_the_connection_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 0.3)
    before = threading.enumerate()  # of other tests, whose threads may take a while to end
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(BrokerError, match="does not answer; is it a broker"),
        Client(Address(host="127.0.0.1", port=silent.getsockname()[1])),
    ):
        pass
    assert not [thread for thread in threading.enumerate() if "paho" in thread.name and thread not in before]


# TLS


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def secure(certs: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, int]]:
    """A broker with a second listener that wants TLS and a client's certificate."""
    port = free_port()
    conf = (
        f"listener {port} 127.0.0.1\ncafile {certs['ca.crt']}\ncertfile {certs['server.crt']}\nkeyfile {certs['server.key']}\n"
        "require_certificate true"
    )
    needs("mosquitto")
    with LocalBroker(tmp_path_factory.mktemp("tls"), conf=conf, kind="mosquitto") as broker:
        yield broker, port


def _tls(certs: Certificates, **changes: Any) -> Tls:
    names: dict[str, Any] = {"ca": "ca.crt", "cert": "client.crt", "key": "client.key"} | changes
    insecure = names.pop("insecure", False)
    files: dict[str, Any] = {key: None if name is None else certs[name] for key, name in names.items()}
    return Tls.model_construct(None, insecure=insecure, **files)


def test_tls_with_a_client_s_certificate(certs: Certificates, secure: tuple[LocalBroker, int]) -> None:
    with Client(Address("localhost", secure[1], tls=_tls(certs))) as client:
        client.subscribe(["t"])
        client.publish("t", b"x")
        assert messages(client, 1)[0].payload == b"x"


@pytest.mark.parametrize(
    ("host", "changes", "message"),
    [
        ("localhost", {"ca": "other.crt"}, "is not to be trusted: .*; give its CA"),
        ("localhost", {"ca": None}, "is not to be trusted"),
        ("127.0.0.1", {}, "is not to be trusted: IP address mismatch"),
        ("localhost", {"cert": None, "key": None}, "does it want a client's certificate|certificate required"),
        ("localhost", {"ca": "ca.key"}, "ca.key is no CA certificate in PEM form"),
        ("localhost", {"cert": "client.key", "key": "client.crt"}, "are no certificate and its key in PEM form"),
        ("localhost", {"key": "server.key"}, "are no certificate and its key .*key values mismatch"),
    ],
)
def test_tls_that_can_t_be(
    certs: Certificates, secure: tuple[LocalBroker, int], host: str, changes: dict[str, Any], message: str
) -> None:
    with (
        pytest.raises(BrokerError, match=message) as raised,
        Client(Address(host, secure[1], tls=_tls(certs, **changes))) as client,
    ):
        client.subscribe(["x"])
    assert "\n" not in str(raised.value)


def test_insecure_passes_over_the_name_and_nothing_else(certs: Certificates, secure: tuple[LocalBroker, int]) -> None:
    with Client(Address("127.0.0.1", secure[1], tls=_tls(certs, insecure=True))):
        pass
    with (
        pytest.raises(BrokerError, match="is not to be trusted"),
        Client(Address("127.0.0.1", secure[1], tls=_tls(certs, insecure=True, ca="other.crt"))),
    ):
        pass


def test_tls_to_a_port_without(certs: Certificates, secure: tuple[LocalBroker, int], broker: LocalBroker) -> None:
    result = invoke("get", "--broker", f"mqtts://localhost:{broker.port}", "--ca", str(certs["ca.crt"]))
    assert result.exit_code == 2
    assert "is it the port for TLS?" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    result = invoke("get", "--broker", f"mqtt://localhost:{secure[1]}")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_a_key_with_a_passphrase_is_told_and_asks_nobody(certs: Certificates, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", str(certs["client.key"]), "-aes256", "-passout", "pass:x", "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    settings = Tls.model_construct(ca=None, cert=certs["client.crt"], key=locked, insecure=False)
    with pytest.raises(tls.TlsError, match="protected by a passphrase; give a key without one"):
        tls.context(settings)


def test_tls_1_1_is_not_spoken(certs: Certificates) -> None:
    import ssl

    assert tls.context(_tls(certs)).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_ramp_of_any_supply_is_waited_for() -> None:
    assert patience({"voltage_limit": 0.0, "ramp": 1.0}) >= 600  # from 600 V down
    assert patience({"voltage_limit": 1500.0, "ramp": 1.0}) >= 1500
    assert patience({"voltage_limit": 5.0}) == patience({}) < 60

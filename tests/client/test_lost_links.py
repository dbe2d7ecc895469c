"""The client library when its connection is lost or hangs, or its program dies."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import cast

import pytest

from agent.client import BrokerError, Supplies, connect, request
from agent.client.address import Address
from agent.client.connection import Client, LinkChange, Message
from agent.client.request import Target
from agent.local.broker import LocalBroker
from agent.protocol.topics import Topics
from tests.client.conftest import is_back
from tests.lab import PATIENCE, Bench, wait_until
from tests.mqtt.broker.gatekeeper import Gatekeeper
from tests.support.processes import ROOT
from tests.support.relay import Relay


def test_it_tells_at_once_that_the_broker_is_away_and_goes_on_after_it(
    bench: Bench, broker: LocalBroker, supplies: Supplies
) -> None:
    dut = supplies.channel("psu1/DUT")
    states = dut.follow()
    assert dut.state().online
    broker.kill()
    assert any(not state.online for state in states)
    for call in (lambda: dut.set(voltage_limit=1), dut.state, supplies.states, dut.off, supplies.all_off, dut.info):
        with pytest.raises(BrokerError):
            call()
    broker.start()
    wait_until(lambda: is_back(dut), "the connection to come back")
    assert dut.set(voltage_limit=3).voltage_limit == 3
    assert any(state.online and state.voltage_limit == 3 for state in states)


def test_what_could_not_be_sent_is_not_sent_later(
    make_broker: Callable[..., LocalBroker], bench: Bench, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paho sends again what was not acknowledged, as soon as it has reconnected. A board would get its volts then."""
    with connect(f"mqtt://127.0.0.1:{broker.port}") as supplies:
        dut = supplies.channel("psu1/DUT")
        dut.set(voltage_limit=1)
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        with monkeypatch.context() as impatient:
            impatient.setattr("agent.client.connection.CONNECT_TIMEOUT", 1.0)
            with pytest.raises(BrokerError, match="does not answer"):
                dut.set(state=True)
        broker.kill()
        broker.start()
        wait_until(lambda: is_back(dut), "the connection to come back")
        assert dut.state().state is False
    commands = [message for message in bench.observer.on("psu/psu1/2/event") if message.json["field"] == "state"]
    assert commands == []


class _Hanging(Relay):
    """Nothing passes on the connections that there are when it begins to hang."""

    def __init__(self, target: int) -> None:
        self.passes = threading.Event()
        self.passes.set()
        self.last = 0
        super().__init__(target)

    def opened(self, number: int) -> None:
        self.last = number

    def passing(self, number: int, upward: bool, data: bytes) -> tuple[bytes, ...]:
        return (data,) if self.passes.is_set() or number > self.last_that_hangs else ()

    def hang(self) -> None:
        self.last_that_hangs = self.last
        self.passes.clear()


def test_an_off_does_not_wait_for_a_link_that_hangs(
    bench: Bench, broker: LocalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 1.0)
    with _Hanging(broker.port) as relay, connect(f"mqtt://127.0.0.1:{relay.port}") as supplies:
        dut = supplies.channel("psu1/DUT")
        dut.set(voltage_limit=1, state=True)
        relay.hang()
        assert dut.off().state is False
        wait_until(lambda: is_back(dut), "a new connection")
        dut.on()
        relay.hang()
        assert dut.send(state="OFF").ok
        wait_until(lambda: is_back(dut), "a new connection")
        dut.on()
        relay.hang()
        assert supplies.all_off()[0].ok
        relay.hang()
        with pytest.raises(BrokerError):
            dut.on()
        wait_until(lambda: is_back(dut), "a new connection")
        assert dut.state().state is False
        dut.on()
        relay.hang()
        with pytest.raises(BrokerError, match=r"turned off on a new connection; of the rest .* does not answer"):
            dut.set(state=False, voltage_limit=2)
        wait_until(lambda: is_back(dut), "a new connection")
        assert (dut.state().state, dut.state().voltage_limit) == (False, 1)


def test_everything_off_where_the_broker_takes_no_more_connections(
    bench: Bench, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All off has a connection of its own, and did not use the one that there was."""

    def refused(_: Client) -> Client:
        raise BrokerError("it takes no more connections")

    supplies.channel("psu1/DUT").set(voltage_limit=1, state=True)
    monkeypatch.setattr(Client, "__enter__", refused)
    assert supplies.all_off()[0].ok
    assert supplies.channel("psu1/DUT").state().state is False


def test_a_broker_that_lets_nobody_in_any_more_is_told_with_its_reason(
    make_broker: Callable[..., LocalBroker],
) -> None:
    """`watch` showed by turns that it refuses the connection, and that it closed it."""
    broker = make_broker(kind="mosquitto")
    with Client(Address("127.0.0.1", broker.port)) as client:
        broker.stop()
        broker.conf += "\nallow_anonymous false"
        broker.start()
        told = [client.inbox.get(timeout=PATIENCE) for _ in range(3)]
    reasons = [change.reason or "" for change in told if isinstance(change, LinkChange)]
    assert [reason.partition(":")[0] for reason in reasons] == [
        "it closed the connection",
        *["it refuses the connection"] * 2,
    ]


class _Slow:
    """A client to which the broker's answer to a subscription comes late, and whose connection is lost after it has published."""

    address = Address()
    topics = Topics("psu")

    def __init__(self) -> None:
        self.sent: list[float | None] = []
        self.inbox: queue.SimpleQueue[Message | LinkChange] = queue.SimpleQueue()

    def subscribe(self, *_: object, **__: object) -> None:
        threading.Event().wait(0.1)

    def publish(self, *_: object, expiry: float | None = None, **__: object) -> None:
        self.sent.append(expiry)
        self.inbox.put(LinkChange("gone"))  # no response is waited for


def test_a_command_is_not_sent_once_its_time_is_over() -> None:
    """Nobody waits for its response any more then, and the broker would have kept it for as long again. An off is sent."""

    def send(fields: dict[str, object], patience: float) -> list[float | None]:
        client = _Slow()
        with contextlib.suppress(BrokerError):
            request.send(
                cast("Client", client), Target("psu1", "1"), {"id": "1"} | fields, expiry=patience, patience=patience
            )
        return client.sent

    assert send({"voltage_limit": 3}, 0.05) == []
    assert send({"state": False}, 0.05) == [0.05]
    [expiry] = send({"voltage_limit": 3}, PATIENCE)
    assert expiry is not None
    assert expiry < PATIENCE - 0.05


@pytest.mark.parametrize("may_be_late", [False, True])
def test_a_link_that_hangs_is_reset_but_not_for_an_off(monkeypatch: pytest.MonkeyPatch, may_be_late: bool) -> None:
    """After a close in good order the kernel goes on sending, for a minute and more."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def publish() -> None:
            address = Address(host="127.0.0.1", port=server.getsockname()[1], protocol="5")
            with contextlib.suppress(BrokerError), Client(address, reconnects=False) as client:
                monkeypatch.setattr("agent.client.connection.CONNECT_TIMEOUT", 1.0)
                client.publish("psu/a/1/set", b"{}", may_be_late=may_be_late)

        thread = threading.Thread(target=publish)
        thread.start()
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK, and nothing more ever
            ends: list[bytes | type[OSError]] = []
            while not ends or (ends[-1] and isinstance(ends[-1], bytes)):
                try:
                    ends.append(connection.recv(4096))
                except OSError as error:
                    ends.append(type(error))
        thread.join()
    assert ends[-1] == (b"" if may_be_late else ConnectionResetError)


@pytest.mark.parametrize("target", ["psu1/2", "psu1", "all"])
def test_an_off_is_sent_also_where_its_response_may_not_be_read(bench: Bench, broker: LocalBroker, target: str) -> None:
    wanted = Target.parse(target)
    response = {"psu1/2": "psu/psu1/response", "psu1": "psu/psu1/response", "all": "psu/+/response"}[target]
    output = bench.simulator.instrument.channels[2]
    bench.simulator.instrument.panel.press_all(True)
    with Gatekeeper(broker.port) as gate:
        gate.refused = response.encode()
        with Client(Address(host="127.0.0.1", port=gate.port, protocol="5")) as client:
            with pytest.raises(BrokerError, match=r"not known if it was carried out: .* does not let this user read"):
                request.send(client, wanted, {"id": target, "state": False}, expiry=10, patience=10)
            wait_until(lambda: not output.output, "off")
            if target == "psu1/2":
                with pytest.raises(BrokerError, match="does not let this user read"):
                    request.send(client, wanted, {"id": "on", "state": True}, expiry=10, patience=10)
                assert not [message for message in bench.observer.on("psu/psu1/2/set") if message.json["state"]]


_DIES = """
import os, sys
from agent.client import connect
supplies = connect(sys.argv[1], off_if_lost="psu1/DUT")
supplies.channel("psu1/DUT").set(voltage_limit=1, state=True)
if sys.argv[2] == "ends":
    supplies.close()
else:
    os.kill(os.getpid(), 9)
"""


def test_off_if_the_program_dies(bench: Bench, broker: LocalBroker) -> None:
    def run(end: str) -> None:
        command = [sys.executable, "-c", _DIES, f"mqtt://127.0.0.1:{broker.port}", end]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE * 4)

    run("ends")
    # Read back after the program's end; a state may be on its way since before the program began.
    assert bench.observer.ask("psu/psu1/2/set", {"current_limit": 0.7})["result"]["state"] is True
    bench.observer.wait_state("psu1", 2, current_limit=0.7, state=True)
    mark = bench.observer.mark()
    run("dies")
    bench.observer.wait_state("psu1", 2, after=mark, state=False)

"""A broker that confirms a subscription only when the retained messages for it are acknowledged, as aMQTT does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import PATIENCE, Bench, Observer
from tests.support.relay import Relay

_SUBSCRIBE, _SUBACK, _PUBLISH, _PUBACK = 0x82, 0x90, 0x30, 0x40


def _packets(data: bytes) -> Iterable[tuple[int, bytes, bytes]]:
    """The packets of a chunk, which has whole ones: the first byte, without flags of PUBLISH, the body, and all bytes."""
    while data:
        length, shift, start = 0, 0, 1
        while True:
            length |= (data[start] & 0x7F) << shift
            shift, start = shift + 7, start + 1
            if data[start - 1] < 0x80:
                break
        first = data[0] & 0xF0 if data[0] & 0xF0 == _PUBLISH else data[0]
        yield first, data[start : start + length], data[: start + length]
        data = data[start + length :]


class _Serial(Relay):
    """Holds the SUBACK for the filter that the retained message matches until that message is acknowledged."""

    def __init__(self, target: int) -> None:
        self.held = 0
        self._acknowledged = threading.Event()
        self._mid = self._suback = b""
        super().__init__(target)

    def opened(self, number: int) -> None:
        self._acknowledged.clear()
        self._mid = self._suback = b""

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        if upward:
            for first, body, _ in _packets(data):
                if first == _SUBSCRIBE and b"psu/psu1/+/set/#" in body:
                    self._mid = body[:2]
                elif first == _PUBACK:
                    self._acknowledged.set()
            yield data
            return
        has_message = False
        others = b""
        for first, body, packet in _packets(data):
            has_message = has_message or first == _PUBLISH
            if first == _SUBACK and body[:2] == self._mid:
                self._suback = packet
            else:
                others += packet
        if others:
            yield others
        if self._suback and has_message:
            self.held += 1
            self._acknowledged.wait(PATIENCE)
            suback, self._suback = self._suback, b""
            yield suback


def test_a_retained_command_does_not_hold_up_the_connection(
    make_broker: Callable[..., LocalBroker], tmp_path: Path
) -> None:
    broker = make_broker(kind="mosquitto")
    first = Observer(broker.port)
    first.send("psu/psu1/1/set", {"id": "old", "state": True}, retain=True)
    first.close()
    with Simulator() as simulator, _Serial(broker.port) as relay:
        bench = Bench(relay.port, tmp_path, [simulator], observer_port=broker.port)
        with bench:
            assert relay.held > 0
            response = bench.observer.wait("psu/psu1/1/response")
            assert (response["id"], response["error"]["code"]) == ("old", "retained")
            assert not simulator.instrument.channels[1].output
            assert relay.connections == 1

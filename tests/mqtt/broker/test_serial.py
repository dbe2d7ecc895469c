"""A broker that confirms a subscription only when the retained messages for it are acknowledged, as aMQTT does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import PATIENCE, Bench, Observer
from tests.support.relay import Relay

_SUBACK, _PUBLISH, _PUBACK = 0x90, 0x30, 0x40


class _Serial(Relay):
    """Holds a SUBACK that has a message behind it until that message is acknowledged."""

    def __init__(self, target: int) -> None:
        self.held = 0
        self._acknowledged = threading.Event()
        super().__init__(target)

    def opened(self, number: int) -> None:
        self._acknowledged.clear()

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        if upward:
            if data[0] == _PUBACK:
                self._acknowledged.set()
            yield data
            return
        length = 2 + data[1]
        if data[0] != _SUBACK or len(data) == length or data[length] & 0xF0 != _PUBLISH:
            yield data
            return
        self.held += 1
        yield data[length:]
        self._acknowledged.wait(PATIENCE)
        yield data[:length]


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
            assert bench.observer.responses("psu1", 1)[0]["error"]["code"] == "retained"
            assert not simulator.instrument.channels[1].output
            assert relay.connections == 1

"""Units on serial lines of 9,600 baud that need a pause between messages: an off is the next message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import NetworkInstrument, make_supply
from agent.simulator.instrument import ScpiInstrument
from agent.simulator.scpi import ScpiError
from tests.lab import Agent, Observer, settings, wait_until

#: By model: how an off of the only output begins.
OFFS = {"E3640A": "OUTP 0", "KA3005P": "OUT0"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    with LocalBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


class Slow:
    """A unit on a slow line, and an agent that polls it as fast as the line allows."""

    def __init__(self, model: str, port: int, folder: Path) -> None:
        self.unit = NetworkInstrument(make_supply(model, log_size=100_000), socket_port=None, pty=True, baud=9600)
        self.observer = Observer(port)
        self.off = OFFS[model]
        self._port, self._folder, self._model = port, folder, model

    def __enter__(self) -> Self:
        self.unit.start()
        entry: dict[str, Any] = {"name": "slow", "model": self._model, "uri": self.unit.resource}
        self.agent = Agent(settings(self._port, [entry], self._folder / "state", poll_interval=0)).start()
        self.observer.wait_state("slow", after=self.observer.mark(), online=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.stop()
        self.unit.stop()
        self.observer.close()

    @property
    def log(self) -> list[str]:
        return self.unit.instrument.log

    def poll(self) -> list[str]:
        """The messages of a poll, from the log of two."""
        start = len(self.log)
        wait_until(lambda: self.log[start:].count(self.log[-1]) >= 3, "three polls")
        sent = self.log[start:]
        return sent[: sent.index(sent[0], 1)]

    def off_within(self, moment: Callable[[str], bool], ahead: bytes | None = None) -> list[str]:
        """The messages from the one on which the off reaches the agent while the unit works on it, to the off.

        :param ahead: a command that is sent before
        """
        marked: list[int] = []
        supply = self.agent.daemon.supplies.by_name["slow"]

        def tamper(message: str, answer: str | None) -> str | None:
            if not marked and moment(message):
                marked.append(len(self.log) - 1)
                self.observer.post("psu/slow/1/set", b'{"id": "off", "state": false}')
                wait_until(supply._inbox.has_off, "the off")
            return answer

        self.unit.tamper = tamper
        if ahead is not None:
            self.observer.post("psu/slow/1/set", ahead)
        response = self.observer.wait("psu/slow/1/response", lambda r: r["id"] == "off")
        self.unit.tamper = None
        assert response["ok"], response
        assert response["result"]["state"] is False
        sent = self.log[marked[0] :]
        return sent[: 1 + next(at for at, text in enumerate(sent) if text.startswith(self.off))]


@pytest.mark.parametrize("model", OFFS)
def test_an_off_during_a_poll_is_the_next_message_on_the_line(model: str, broker: LocalBroker, tmp_path: Path) -> None:
    with Slow(model, broker.port, tmp_path) as slow:
        poll = slow.poll()
        assert len(poll) > 1
        assert slow.unit.instrument.lost == 0
        for asked in poll[:2]:
            slow.observer.clear()
            messages = slow.off_within(lambda message, asked=asked: message == asked)  # type: ignore[misc]
            assert len(messages) == 2, messages
        assert slow.unit.instrument.lost == 0


def test_an_off_waits_for_one_of_many_errors_that_stand_in_the_unit(broker: LocalBroker, tmp_path: Path) -> None:
    with Slow("E3640A", broker.port, tmp_path) as slow:
        supply = slow.unit.instrument
        assert isinstance(supply, ScpiInstrument)
        for _ in range(15):
            supply.report(ScpiError(-222))
        ahead = b'{"id": "other", "voltage_limit": 1}'
        messages = slow.off_within(lambda message: message == "SYST:ERR?", ahead)
        assert messages == ["SYST:ERR?", "OUTP 0"]

"""The ledger's tests: an agent and units that behave as a test tells them to."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.soak.commands import CHANNELS, Command
from tests.soak.rules import books, effects, ledger, outputs, responses, states
from tests.soak.rules.books import RESPONSE_TOPIC, Setting
from tests.soak.tap import Publish

OFF = {index: Setting(False, 1.0, 0.1) for index in CHANNELS}


def with_on(*indices: int, voltage: float = 1.0) -> dict[int, Setting]:
    """The settings of a unit with these outputs on."""
    return {index: Setting(index in indices, voltage, 0.1) for index in CHANNELS}


class Scene:
    """A ledger, with an agent and units that do what a test says. ``complaints``: the broken rules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._passed = 0.0
        self._begin, self._wall = time.monotonic(), time.time()
        clocks = SimpleNamespace(monotonic=self.now, time=self.wall)
        for module in (books, effects, ledger, outputs, responses, states):
            monkeypatch.setattr(module, "time", clocks)
        self.complaints: list[str] = []
        self.ledger = ledger.Ledger("psu", ["psu1", "psu2"], self.complaints.append)
        self.ledger.connected(1)
        self.mids = itertools.count(1)
        self.numbers = itertools.count(1)

    def now(self) -> float:
        """What the rules see of the monotonic clock: a little later with each look."""
        self._passed += 1e-6
        return self._begin + self._passed

    def wall(self) -> float:
        """And of the wall clock."""
        return self._wall + self._passed

    def wait(self, seconds: float, *, polled: bool = True, on: tuple[int, ...] = ()) -> None:
        """Seconds in which nothing happens but polls of psu1, which find these outputs on, and the looks of the soak."""
        until = self._passed + seconds
        while self._passed < until:
            self._passed = min(until, self._passed + 1.0)
            for unit in ("psu1", "psu2") if polled else ("psu2",):
                found = with_on(*on) if unit == "psu1" else OFF
                self.ledger.executed(unit, "MEAS:VOLT? (@1)", found, found, None)
            self.ledger.sweep()

    def rules(self) -> list[str]:
        return [complaint.partition(":")[0] for complaint in self.complaints]

    def command(self, kind: str = "on", channel: int | None = 1, **more: Any) -> Command:
        number = next(self.numbers)
        more = {"unit": "psu1", "payload": b"{}", "group": number, **more}
        command = Command(number=number, kind=kind, channel=channel, **more)
        self.ledger.sending(command)
        return command

    def deliver(self, command: Command, connection: int = 1, *, taken: bool = True) -> None:
        mid = next(self.mids)
        packet = Publish(f"psu/{command.topic}", command.payload, mid, command.retain, command.correlation, None)
        self.ledger.delivered(connection, packet)
        if taken:
            self.ledger.agent_acknowledged(connection, mid)

    def publish(
        self,
        topic: str,
        data: object,
        correlation: bytes | None = None,
        connection: int = 1,
        *,
        acknowledged: bool = True,
    ) -> None:
        mid = next(self.mids)
        self.ledger.published(connection, Publish(topic, json.dumps(data).encode(), mid, False, correlation, None))
        if acknowledged:
            self.ledger.broker_acknowledged(connection, mid)

    def respond(self, command: Command, code: str = "ok", unit: str = "psu1", **more: Any) -> None:
        outcome: dict[str, Any] = {"result": dict(command.wanted)} if code == "ok" else {"error": {"code": code}}
        data = {"psu": unit, "ok": code == "ok", **outcome, **more.pop("data", {})}
        own = f"psu/{unit}/{command.channel}/response"
        topic = more.pop("topic", own if command.own_topic else RESPONSE_TOPIC)
        self.publish(topic, data, command.correlation, **more)

    def unit_receives(self, message: str, before: Any = OFF, after: Any = None, answer: str | None = None) -> None:
        self.ledger.executed("psu1", message, before, before if after is None else after, answer)

    def answer_voltages(self, *voltages: float) -> None:
        self.unit_receives("MEAS:VOLT? (@1,2,3)", answer=",".join(map(str, voltages)))

    def state(self, seq: int, voltage: float = 1.0, *, topic: str = "state", age: float = 0.0, **more: Any) -> None:
        moment = datetime.fromtimestamp(self.wall() - age, UTC)
        data: dict[str, Any] = dict.fromkeys(("state", "voltage", "current", "voltage_limit", "mode"))
        data |= {"time": moment.isoformat(), "seq": seq, "psu": "psu1", "index": 1, "online": True, "voltage": voltage}
        data |= more.pop("data", {})
        self.publish(f"psu/psu1/1/{topic}", data, **more)

"""`watch` without a screen: a line for each change, at a sensible rate, and nothing old as if it were new."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.cli.watching.feed import Feed
from agent.cli.watching.lines import Lines
from agent.client.address import Address
from agent.client.connection import Client, LinkChange, Message
from tests.client.test_fleet import agent_info, info, state

Printed = Callable[[], list[str]]


class Source:
    """A feed whose messages come from the test; its broker is never asked."""

    def __init__(self) -> None:
        self.client = Client(Address())
        self.feed = Feed(self.client, None)
        self.tell("agents/bench/status", b"online")
        self.tell("agents/bench/info", agent_info("bench", "psu1"))
        self.tell("psu1/status", b"online")

    def tell(self, topic: str, payload: bytes) -> None:
        self.client.inbox.put(Message(f"psu/{topic}", payload))
        self.feed.take()

    def state(self, **changes: Any) -> None:
        self.tell("psu1/1/state", state(**changes))

    def link(self, reason: str | None) -> None:
        self.client.inbox.put(LinkChange(reason))
        self.feed.take()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return lambda: [line.partition("Z ")[2] or line for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def now(source: Source) -> float:
    """Just after the first state has come, by the feed's clock."""
    source.state(voltage=5.0)
    return -source.feed.seen.age(("psu1", 1), 0.0)


def test_measured_values_at_a_sensible_rate_and_all_else_at_once(source: Source, printed: Printed, now: float) -> None:
    lines = Lines(as_json=False, interval=1.0)
    lines.print(source.feed, now)
    assert printed() == ["psu1/1 CH1: ON 5.0000 V - A - W CV (set 5.0000 V - A)"]
    source.state(voltage=4.9)
    lines.print(source.feed, now + 0.5)
    assert printed() == []
    source.state(voltage=4.8)
    lines.print(source.feed, now + 0.6)
    assert printed() == []
    # The last one is told, although no other has come.
    lines.print(source.feed, now + 1.1)
    assert printed() == ["psu1/1 CH1: ON 4.8000 V - A - W CV (set 5.0000 V - A)"]
    source.state(voltage=0.1, tripped="OVP", state=False)
    lines.print(source.feed, now + 1.2)
    assert printed() == ["psu1/1 CH1: off 0.1000 V - A - W OVP trip (set 5.0000 V - A)"]
    source.state(voltage=0.1, tripped="OVP", state=False, seq=7, energy=3.0)
    lines.print(source.feed, now + 5)
    assert printed() == []


def test_old_values(source: Source, printed: Printed, now: float) -> None:
    source.tell("psu1/info", info(online=True, reason=None, poll_interval=10.0))
    lines = Lines(as_json=False, interval=0.0)
    lines.print(source.feed, now)
    lines.print(source.feed, now + 29)
    assert len(printed()) == 1
    lines.print(source.feed, now + 31)
    lines.print(source.feed, now + 32)
    assert printed() == ["psu1/1 CH1: old, no state for 31s"]


def test_what_happens_to_a_unit(source: Source, printed: Printed, now: float) -> None:
    lines = Lines(as_json=False, interval=0.0)
    lines.print(source.feed, now)
    printed()
    source.tell("psu1/info", info(reason="No route to host"))
    source.tell("psu1/status", b"offline")
    lines.print(source.feed, now)
    assert printed() == ["psu1 is offline: No route to host", "psu1/1 CH1: offline"]
    source.tell("psu1/status", b"online")
    lines.print(source.feed, now)
    assert printed()[0] == "psu1: online"
    error = {"code": "limit_exceeded", "message": "too\x1b[2J much"}
    told = {"id": "1", "ok": False, "time": "2026-11-26T12:00:00Z", "psu": "psu1", "index": 1, "error": error}
    source.tell("psu1/1/response", json.dumps(told).encode())
    source.tell("agents/bench/log", b'{"level": "error", "unit": "psu1", "text": "no answer"}')
    lines.print(source.feed, now)
    lines.print(source.feed, now)
    assert printed() == ["psu1/1 CH1: refused: too�[2J much (limit_exceeded)", "error bench psu1: no answer"]
    told |= {"index": None, "error": {"code": "claimed", "message": "psu1 is reserved"}}
    source.tell("psu1/response", json.dumps(told).encode())
    source.tell("psu1/response", json.dumps(told | {"psu": "psu2"}).encode())
    lines.print(source.feed, now)
    lines.print(source.feed, now)
    assert printed() == ["psu1: refused: psu1 is reserved (claimed)"]


def test_the_broker_goes_and_comes(source: Source, printed: Printed, now: float) -> None:
    lines = Lines(as_json=False, interval=0.0)
    lines.print(source.feed, now)
    printed()
    source.link("unspecified error")
    lines.print(source.feed, now)
    assert printed() == [
        "the broker is gone (unspecified error); connecting again",
        "psu1/1 CH1: not known",
    ]
    source.link(None)
    source.state(voltage=5.0)
    lines.print(source.feed, now)
    assert printed()[0] == "the broker is there again"


def test_json_has_nothing_but_states(source: Source, printed: Printed, now: float) -> None:
    lines = Lines(as_json=True, interval=0.0)
    lines.print(source.feed, now)
    source.tell("agents/bench/log", b'{"text": "no answer"}')
    source.tell("psu1/status", b"offline")
    lines.print(source.feed, now)
    states = [json.loads(line) for line in printed()]
    assert [(one["online"], one["voltage"]) for one in states] == [(True, 5.0), (False, None)]
    lines.print(source.feed, now + 1000)
    assert printed() == []


def test_json_of_old_values_has_none(source: Source, printed: Printed, now: float) -> None:
    lines = Lines(as_json=True, interval=0.0)
    lines.print(source.feed, now)
    lines.print(source.feed, now + 100)
    states = [json.loads(line) for line in printed()]
    assert [(one["online"], one["voltage"]) for one in states] == [(True, 5.0), (False, None)]

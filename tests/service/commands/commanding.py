"""Helpers of the tests of commands."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.lab import Bench, Observer
from tests.support.messages import writes_in


def later(seconds: float) -> str:
    """An RFC 3339 time so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def unique(name: str) -> str:
    """An id that no other test has used: each is remembered from test to test."""
    return f"{name} {time.monotonic_ns()}"


def writes(bench: Bench, number: int = 0) -> list[str]:
    """The settings that the unit has been sent."""
    return [write for write in writes_in(bench.simulators[number].instrument.log) if write[0] != "*"]


def the_only_response(observer: Observer, unit: str, channel: int | None, identity: str | None) -> Any:
    """The response on the unit's own topic; that there is no second one is seen after another command has passed."""
    topic = f"psu/{unit}/response" if channel is None else f"psu/{unit}/{channel}/response"
    found = observer.wait(topic, lambda r: r["id"] == identity)
    observer.ask(f"psu/{unit}/2/set/current_protection", "0")
    assert [r["id"] for r in observer.responses(unit, channel)].count(identity) == 1
    return found

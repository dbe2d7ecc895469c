"""Samples in tests of brokers: which came, and when a unit was polled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.simulator import Simulator
from tests.lab import Bench, Observer, wait_until

MakeBench = Callable[..., Bench]


def seqs(observer: Observer, kind: str, name: str = "psu1", channel: int = 1) -> list[int]:
    """The ``seq`` of each message of a kind, ``state`` or ``backlog``, in the order in which they came; no retained ones."""
    found = [m for m in observer.on(f"psu/{name}/{channel}/{kind}") if not m.retain]
    return [m.json["seq"] for m in found]


def assert_whole(observer: Observer, first: int, last: int, channel: int = 1) -> None:
    """Every sample from one to the other arrives, and those of the backlog once and in their order.

    A state that a newer one has overtaken comes as backlog, behind it.
    """

    def missing() -> set[int]:
        found = seqs(observer, "backlog", channel=channel) + seqs(observer, "state", channel=channel)
        return set(range(first, last + 1)) - set(found)

    wait_until(lambda: not missing(), "each sample")
    backlog = seqs(observer, "backlog", channel=channel)
    assert backlog == sorted(set(backlog))


def wait_polls(simulator: Simulator, number: int) -> None:
    """Wait until a unit has received so many more messages; a poll is one."""
    wanted = simulator.instrument.message_count + number
    wait_until(lambda: simulator.instrument.message_count >= wanted, f"{number} more polls")


def wait_drained(observer: Observer) -> None:
    """Wait until all that was kept has been acknowledged, by metrics that come after this call."""
    observer.wait("psu/agents/bench/metrics", lambda m: m["backlog"] == 0, after=observer.mark())


def wait_carried_out(observer: Observer, channel: int, command: dict[str, Any]) -> None:
    """Send a command until it is carried out: after a stall that is when the broker has answered the agent in time, twice."""

    def is_carried_out() -> bool:
        before = len(observer.responses("psu1", channel))
        observer.send(f"psu/psu1/{channel}/set", command)
        wait_until(lambda: len(observer.responses("psu1", channel)) > before, "the response")
        return bool(observer.responses("psu1", channel)[-1]["ok"])

    wait_until(is_carried_out, "a command to be carried out")

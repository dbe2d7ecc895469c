"""The agent's processor time for a published poll of three channels, against a plain loop over pyvisa and paho.

The loop is `benchmarks.plainclient`: a hundred lines that ask the unit one query a quantity, with channel lists, and publish
the same values to the same kind of topics with QoS 1. Both poll a simulated unit at the same rate, in turn, each stopped
(SIGSTOP) while the other runs. Counted is the processor time of the whole process as the system sees it, over the states that
a subscriber got.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import Agent, Counter, Units, workbench
from tests.support.figures import Figure, machine, table
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

TARGET = 0.4
CHANNELS = 3
#: Units, and s between polls of each: slow enough that neither gathers several polls into one turn.
UNITS, INTERVAL = 1, 0.05
#: s that either gets to find its pace again after it was stopped. The agent must not be stopped for 5 s or more: it would
#: take that for a hold-up and connect anew.
WARM_UP = 0.3


@dataclass(frozen=True, slots=True)
class Result:
    """s of processor time a poll, medians over the rounds; ``ratio`` is the median of the rounds' ratios."""

    agent: float
    plain: float
    ratio: float
    ratios: tuple[float, ...]

    def __str__(self) -> str:
        return (
            f"agent {self.agent * 1e3:.2f} ms a poll, plain loop {self.plain * 1e3:.2f} ms; ratio {self.ratio:.2f} of "
            f"{' '.join(f'{ratio:.2f}' for ratio in self.ratios)}"
        )


def measure(rounds: int = 7, seconds: float = 2.0, count: int = UNITS, interval: float = INTERVAL) -> Result:
    """Have the agent and the plain loop poll ``count`` units of their own, in turn."""
    with (
        workbench() as (folder, broker),
        Units(count) as some,
        Units(count) as others,
        Counter(folder, broker.port, "psu/+/+/state") as agents,
        Counter(folder, broker.port, "plain/+/+/state") as plains,
        Agent(folder, broker.port, some.resources, poll_interval=interval) as agent,
        _plain(folder, others.resources, broker.port, interval) as plain,
    ):
        pairs: list[tuple[Process, Counter]] = [(agent, agents), (plain, plains)]
        for process, states in pairs:
            enough = 3 * CHANNELS * count
            wait_until(lambda s=states, n=enough: s.count > n, f"states of {process.log.stem}")  # type: ignore[misc]
            process.signal(signal.SIGSTOP)
        costs = [tuple(_cost(process, states, seconds) for process, states in pairs) for _ in range(rounds)]
        for process, _ in pairs:
            process.signal(signal.SIGCONT)
    ratios = tuple(ours / theirs for ours, theirs in costs)
    ours, theirs = zip(*costs, strict=True)
    return Result(statistics.median(ours), statistics.median(theirs), statistics.median(ratios), ratios)


def _plain(folder: Path, resources: list[str], port: int, interval: float) -> Process:
    command = [sys.executable, "-m", "benchmarks.plainclient", str(port), str(interval), *resources]
    return Process(command, folder / "plain.log", folder=ROOT)


def _cost(process: Process, states: Counter, seconds: float) -> float:
    """Processor time (s) of a process for each poll that it publishes."""
    process.signal(signal.SIGCONT)
    time.sleep(WARM_UP)
    used, count = process.cpu_seconds_of_threads(), states.count
    time.sleep(seconds)
    used, count = process.cpu_seconds_of_threads() - used, states.count - count
    process.signal(signal.SIGSTOP)
    return used / max(1, count) * CHANNELS


def figures(rounds: int = 7, seconds: float = 2.0) -> list[Figure]:
    """All figures of this module."""
    result = measure(rounds, seconds)
    print(f"against a plain loop: {result}", file=sys.stderr, flush=True)
    return [
        Figure(
            "processor time of the whole process, a published poll of three channels: agent / a plain pyvisa and paho loop",
            f"{result.ratio:.2f} ({result.agent * 1e3:.2f} ms of {result.plain * 1e3:.2f} ms)",
            f"≤ {TARGET:g}",
            result.ratio <= TARGET,
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, below 4")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds < 4:
        parser.error("--seconds must be above 0 and below 4")
    print(table(figures(arguments.rounds, arguments.seconds)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

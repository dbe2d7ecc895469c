"""How fast one unit is polled and published, as a share of what a bare socket loop reaches on the same unit.

The agent polls as fast as the unit answers (``poll_interval: 0``); every state goes to a real Mosquitto with QoS 1 and is
counted at a subscriber. The loop sends the same message and reads the answer up to its newline, and does nothing with it.
The two are measured in turn, several rounds: the agent is stopped (SIGSTOP) while the loop runs. The figure is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import POLL_MESSAGE, Agent, BareSocket, Counter, Units, samples_in_spool, workbench
from tests.support.figures import Figure, machine, table

#: s that the agent gets to find its pace again after it was stopped. It must not be stopped for 5 s or more: it would
#: take that for a hold-up and connect anew.
WARM_UP = 0.3
LONGEST_MEASUREMENT = 4.0
CHANNELS = 3

#: Polls for so many seconds by other means and gives the polls a second.
Rival = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Result:
    """Polls a second, medians over the rounds; ``ratio`` is the median of the rounds' ratios."""

    agent: float
    rival: float
    ratio: float
    ratios: tuple[float, ...]
    messages_per_poll: float  # from the first to the last message, so those of connecting are in it
    delayed: int  # states that came by way of the backlog, because the connection to the broker could not keep up
    cpu_per_poll: float  # s of processor time of the agent's process

    def __str__(self) -> str:
        return (
            f"agent {self.agent:.0f}/s, against it {self.rival:.0f}/s, ratio {self.ratio:.2f} of "
            f"{' '.join(f'{ratio:.2f}' for ratio in self.ratios)}; {self.cpu_per_poll * 1e6:.0f} µs of the agent's "
            f"processor time a poll; {self.messages_per_poll:.3f} messages a poll; {self.delayed} states by the backlog"
        )


def measure(
    units: Units, rival: Rival, *, rounds: int = 7, seconds: float = 2.0, profile: Path | None = None
) -> Result:
    """Let the agent and something else poll the only one of these units, in turn."""
    rates, rival_rates, processor = [], [], []
    rival_messages = 0
    before = units.counts()[0]
    with (
        workbench() as (folder, broker),
        Counter(folder, broker.port, "psu/+/+/state") as states,
        Counter(folder, broker.port, "psu/+/+/backlog") as backlog,
    ):
        with Agent(folder, broker.port, units.resources, poll_interval=0, profile=profile) as agent:
            agent.wait_until(lambda: states.count > 10 * CHANNELS, "the agent publishes states")
            for _ in range(rounds):
                agent.signal(signal.SIGCONT)
                time.sleep(WARM_UP)
                count, used, start = states.count, agent.cpu_seconds(), time.perf_counter()
                time.sleep(seconds)
                count, used, took = states.count - count, agent.cpu_seconds() - used, time.perf_counter() - start
                agent.signal(signal.SIGSTOP)
                rates.append(count / CHANNELS / took)
                processor.append(used / max(1, count) * CHANNELS)
                states.settled()
                messages = units.counts()[0]
                rival_rates.append(rival(seconds))
                rival_messages += units.counts()[0] - messages
        delayed = backlog.settled() + samples_in_spool(folder)
        polls = (states.settled() + delayed) / CHANNELS
        messages = units.counts()[0] - before - rival_messages
    ratios = tuple(ours / theirs for ours, theirs in zip(rates, rival_rates, strict=True))
    return Result(
        agent=statistics.median(rates),
        rival=statistics.median(rival_rates),
        ratio=statistics.median(ratios),
        ratios=ratios,
        messages_per_poll=messages / polls,
        delayed=delayed,
        cpu_per_poll=statistics.median(processor),
    )


def against_bare_loop(
    *, latency: float = 0.0, canned: bool = False, rounds: int = 7, seconds: float = 2.0, profile: Path | None = None
) -> Result:
    """Measure on a unit that takes ``latency`` s a message, or on one with a canned answer."""
    with Units(1, latency, *["--canned"] * canned) as units, BareSocket(units.address) as bare:
        return measure(units, lambda s: bare.rate(POLL_MESSAGE, s), rounds=rounds, seconds=seconds, profile=profile)


def figures(rounds: int = 7, seconds: float = 2.0) -> list[Figure]:
    """All figures of this module."""
    found = []
    for what, result, target in (
        ("a unit that answers at once", against_bare_loop(rounds=rounds, seconds=seconds), 0.5),
        ("a canned answer, the hardest case", against_bare_loop(canned=True, rounds=rounds, seconds=seconds), 0.5),
        ("a unit that takes 10 ms a message", against_bare_loop(latency=0.01, rounds=rounds, seconds=seconds), 0.95),
    ):
        print(f"polling {what}: {result}", file=sys.stderr, flush=True)
        found += [
            Figure(
                f"polls, {what}: agent / bare socket loop",
                f"{result.ratio:.2f} ({result.agent:.0f}/s of {result.rival:.0f}/s)",
                f"≥ {target:g}",
                result.ratio >= target,
            ),
            Figure(
                f"messages a poll of three channels, {what}",
                f"{result.messages_per_poll:.2f}",
                "1",
                # Connecting takes a handful that the slow unit's few polls can't hide.
                result.messages_per_poll < 1.05,
            ),
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, below 4")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="profile the agent on the canned unit instead")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds < LONGEST_MEASUREMENT:
        parser.error(f"--seconds must be above 0 and below {LONGEST_MEASUREMENT:g}")
    if arguments.profile is not None:
        result = against_bare_loop(canned=True, rounds=1, seconds=arguments.seconds, profile=arguments.profile)
        print(f"under the profiler: {result}\na file for each thread in {arguments.profile}")
        return
    print(table(figures(arguments.rounds, arguments.seconds)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

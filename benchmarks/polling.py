"""How fast one unit is polled and published, as a share of what a bare socket loop reaches on the same unit.

The agent polls as fast as the unit answers (``poll_interval: 0``); every state goes to a real Mosquitto with QoS 1 and is
counted at a subscriber. The loop sends the same message and reads the answer up to its newline, and does nothing with it.
The two are measured in turn, several rounds: the agent is stopped (SIGSTOP) while the loop runs. What is reported is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import (
    POLL_MESSAGE,
    Agent,
    BareSocket,
    Counter,
    Figure,
    Units,
    machine,
    samples_in_spool,
    table,
    wait_until,
    workbench,
)

#: s that the agent gets to find its pace again after it was stopped. It must not be stopped for 5 s or more: it would
#: take that for a hold-up and connect anew.
WARM_UP = 0.3
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """Polls a second, medians over the rounds; ``ratio`` is the median of the rounds' ratios."""

    agent: float
    bare: float
    ratio: float
    ratios: tuple[float, ...]
    messages_per_poll: float  # from the first to the last message, so those of connecting are in it
    delayed: int  # states that came by way of the backlog, because the connection to the broker could not keep up
    cpu_per_poll: float  # s of processor time of the agent's process

    def __str__(self) -> str:
        return (
            f"agent {self.agent:.0f}/s, bare {self.bare:.0f}/s, ratio {self.ratio:.2f} of "
            f"{' '.join(f'{ratio:.2f}' for ratio in self.ratios)}; {self.cpu_per_poll * 1e6:.0f} µs of the agent's "
            f"processor time a poll; {self.messages_per_poll:.3f} messages a poll; {self.delayed} states by the backlog"
        )


def measure(
    *, latency: float = 0.0, canned: bool = False, rounds: int = 7, seconds: float = 2.0, profile: Path | None = None
) -> Result:
    """Measure on one unit that takes ``latency`` s a message."""
    options = ["--profile", str(profile)] if profile is not None else []
    with workbench() as (folder, broker), Units(latency=latency, canned=canned) as units:
        with (
            Counter(folder, broker.port, "psu/+/+/state") as states,
            Counter(folder, broker.port, "psu/+/+/backlog") as backlog,
            BareSocket(units.address) as bare,
        ):
            rates, bares, processor = [], [], []
            bare_messages = 0
            with Agent(folder, broker.port, units.resources, poll_interval=0, options=options) as agent:
                wait_until(lambda: states.count > 10 * CHANNELS, "the agent publishes states")
                for _ in range(rounds):
                    agent.signal(signal.SIGCONT)
                    time.sleep(WARM_UP)
                    count, used, start = states.count, agent.cpu_seconds(), time.perf_counter()
                    time.sleep(seconds)
                    polls, used, took = states.count - count, agent.cpu_seconds() - used, time.perf_counter() - start
                    agent.signal(signal.SIGSTOP)
                    rates.append(polls / CHANNELS / took)
                    processor.append(used / max(1, polls) * CHANNELS)
                    states.settled()
                    bare_from = units.counts()[0]
                    bares.append(bare.rate(POLL_MESSAGE, seconds))
                    bare_messages += units.counts()[0] - bare_from
            delayed = backlog.settled() + samples_in_spool(folder)
            polls_made = (states.settled() + delayed) / CHANNELS
            messages = units.counts()[0] - bare_messages
        ratios = tuple(rate / bare_rate for rate, bare_rate in zip(rates, bares, strict=True))
        return Result(
            agent=statistics.median(rates),
            bare=statistics.median(bares),
            ratio=statistics.median(ratios),
            ratios=ratios,
            messages_per_poll=messages / polls_made,
            delayed=delayed,
            cpu_per_poll=statistics.median(processor),
        )


def figures(rounds: int = 7, seconds: float = 2.0) -> list[Figure]:
    """All figures of this module."""
    found = []
    for what, result, target in (
        ("simulated unit that answers at once", measure(rounds=rounds, seconds=seconds), 0.5),
        ("canned answer, at once (the hardest case)", measure(canned=True, rounds=rounds, seconds=seconds), 0.5),
        ("unit that takes 10 ms a message", measure(latency=0.01, rounds=rounds, seconds=seconds), 0.95),
    ):
        print(f"{what}: {result}", file=sys.stderr)
        found += [
            Figure(
                f"polls, {what}: agent / bare socket loop",
                f"{result.ratio:.2f} ({result.agent:.0f}/s of {result.bare:.0f}/s)",
                f"≥ {target:g}",
                result.ratio >= target,
            ),
            Figure(
                f"messages a poll of three channels, {what}",
                f"{result.messages_per_poll:.2f}",
                "1",
                round(result.messages_per_poll, 2) == 1,
            ),
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, below 4")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="profile the agent on the canned unit instead")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds < 4:
        parser.error("--seconds must be above 0 and below 4")
    if arguments.profile is not None:
        result = measure(canned=True, rounds=1, seconds=arguments.seconds, profile=arguments.profile)
        print(f"under the profiler: {result}\na file for each thread in {arguments.profile}")
        return
    print(table(figures(arguments.rounds, arguments.seconds)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

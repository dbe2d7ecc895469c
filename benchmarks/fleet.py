"""Five hundred units at 1 Hz in one agent: the cost of its process, and samples that are late or lost.

The units are simulated in another process. Processor time and memory are the agent's alone, from /proc (Linux).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import outage
from benchmarks.rig import Agent, Counter, Subscriber, Units, workbench
from tests.support.figures import Figure, machine, table

CHANNELS = 3
MOST_CORES, MOST_BYTES = 0.5, 100e6
#: Intervals between the last unit's coming online and the measurement.
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Result:
    """The cost of a fleet over the time that it was measured."""

    units: int
    cores: float
    resident_bytes: int
    peak_bytes: int
    threads: int
    rate: float  # states a second at the subscriber
    states: int  # at the subscriber, from the first to the last
    backlog: int  # of them, those of the time before the broker was there
    missing: int  # seq that never came
    ambiguous: int  # seq that two different states came with
    late_polls: int  # polls that came a whole interval late or more, as the agent counts them
    jitter: float  # s, 99th percentile of how far two samples of a channel were off the interval

    def __str__(self) -> str:
        return (
            f"{self.units} units: {self.cores:.2f} cores, {self.resident_bytes / 1e6:.0f} MB (peak "
            f"{self.peak_bytes / 1e6:.0f} MB), {self.threads} threads, {self.rate:.0f} states/s; of {self.states} states "
            f"{self.missing} missing, {self.ambiguous} ambiguous, {self.backlog} by the backlog; "
            f"{self.late_polls} late polls; 99 % of the intervals within "
            f"{self.jitter * 1000:.0f} ms"
        )


def measure(count: int = 500, seconds: float = 30.0, interval: float = 1.0) -> Result:
    """Run a fleet and look at it once all of it is online."""
    with workbench() as (folder, broker), Units(count) as units:
        output = folder / "states"
        topics = ("psu/+/+/state", "psu/+/+/backlog", "psu/agents/+/metrics")
        with (
            Counter(folder, broker.port, "psu/+/+/state") as states,
            Subscriber(output, broker.port, topics, "%t %p", qos=1),
            Agent(folder, broker.port, units.resources, poll_interval=interval) as agent,
        ):
            agent.wait_until(
                lambda: states.count >= 3 * CHANNELS * count, f"{count} units are polled", 60 + 10 * interval
            )
            time.sleep(WARM_UP * interval)
            begin = datetime.now(UTC)
            used, came, start = agent.cpu_seconds(), states.count, time.perf_counter()
            memory = []
            while time.perf_counter() - start < seconds:
                time.sleep(min(0.5, seconds / 4))
                memory.append(agent.resident_bytes())
            took = time.perf_counter() - start
            cores = (agent.cpu_seconds() - used) / took
            rate = (states.count - came) / took
            threads = agent.thread_count()
            if seconds > 1:
                agent.wait_until(lambda: b"/metrics " in output.read_bytes(), "the agent publishes its metrics")
            agent.stop()
            states.settled()
        return _result(output, begin, interval, count, cores, memory, threads, rate)


def _result(
    output: Path,
    begin: datetime,
    interval: float,
    count: int,
    cores: float,
    memory: list[int],
    threads: int,
    rate: float,
) -> Result:
    """Read what the subscriber wrote down."""
    payloads: dict[tuple[str, int], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    times: dict[tuple[str, int], list[datetime]] = defaultdict(list)
    late = backlog = 0
    for line in output.read_text().splitlines():
        topic, _, payload = line.partition(" ")
        message = json.loads(payload)
        if topic.endswith("/metrics"):
            late = message["late_polls"]
            continue
        channel = message["psu"], message["index"]
        backlog += topic.endswith("/backlog")
        # Samples that were read before the broker was found are in the backlog; the newest is the present state as well.
        payloads[channel][message["seq"]].add(payload)
        moment = datetime.fromisoformat(message["time"])
        if message["online"] and topic.endswith("/state") and moment >= begin:
            times[channel].append(moment)
    off = [
        abs((b - a).total_seconds() - interval)
        for moments in times.values()
        for a, b in itertools.pairwise(sorted(set(moments)))
    ]
    return Result(
        units=count,
        cores=cores,
        resident_bytes=round(statistics.median(memory)),
        peak_bytes=max(memory),
        threads=threads,
        rate=rate,
        states=sum(map(len, payloads.values())),
        backlog=backlog,
        missing=sum(max(seqs) - len(seqs) for seqs in payloads.values()),
        ambiguous=sum(len(told) > 1 for seqs in payloads.values() for told in seqs.values()),
        late_polls=late,
        jitter=statistics.quantiles(off, n=100)[98] if len(off) > 1 else 0.0,
    )


def figures(count: int = 500, seconds: float = 30.0) -> list[Figure]:
    """The figures of a fleet without faults, and those of `benchmarks.outage`."""
    return [*steady(count, seconds), *outage.figures()]


def steady(count: int = 500, seconds: float = 30.0) -> list[Figure]:
    """The figures of a fleet without faults."""
    result = measure(count, seconds)
    print(f"fleet: {result}", file=sys.stderr, flush=True)
    what = f"{count} units at 1 Hz"
    return [
        Figure(f"{what}: processor", f"{result.cores:.2f} cores", f"< {MOST_CORES:g}", result.cores < MOST_CORES),
        Figure(
            f"{what}: memory",
            f"{result.resident_bytes / 1e6:.0f} MB",
            f"< {MOST_BYTES / 1e6:.0f}",
            result.peak_bytes < MOST_BYTES,
        ),
        Figure(
            f"{what}: states missing, or two with one seq, of {result.states}",
            f"{result.missing}, {result.ambiguous}",
            "0, 0",
            not (result.missing or result.ambiguous),
        ),
        Figure(f"{what}: polls late by an interval", str(result.late_polls), "0", result.late_polls == 0),
        Figure(f"{what}: 99 % of the intervals are right within", f"{result.jitter * 1000:.0f} ms"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    print(table(steady(arguments.units, arguments.seconds)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

"""The agent against the way of PSUDaemon: one query for each quantity and channel, one after another, through pyvisa.

Five quantities of three channels are fifteen messages; the agent asks for twice as much in one. Measured in turn on the
same unit, which takes 10 ms a message. The agent publishes what it reads, the other way does nothing with it. Written from
a description of what PSUDaemon sends; none of its code is here.
"""

from __future__ import annotations

import argparse
import sys
import time

import pyvisa
from pyvisa.resources import MessageBasedResource

from benchmarks import polling
from benchmarks.rig import Units
from tests.support.figures import Figure, machine, table

QUERIES = ("MEAS:VOLT?", "MEAS:CURR?", "VOLT?", "CURR?", "OUTP?")
CHANNELS = (1, 2, 3)
TARGET = 12.0


def poll_one_by_one(unit: MessageBasedResource) -> dict[int, dict[str, float]]:
    """All quantities of all channels, a query each."""
    return {index: {query: float(unit.query(f"{query} (@{index})")) for query in QUERIES} for index in CHANNELS}


def measure(rounds: int = 5, seconds: float = 2.0, latency: float = 0.01) -> polling.Result:
    """The agent's polling rate and that of the other way, on a unit that takes ``latency`` s a message."""
    with Units(latency=latency) as units:
        unit = pyvisa.ResourceManager("@py").open_resource(
            units.resources[0], read_termination="\n", write_termination="\n"
        )
        assert isinstance(unit, MessageBasedResource)

        def rival(seconds: float) -> float:
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                poll_one_by_one(unit)
                count += 1
            return count / (time.perf_counter() - start)

        try:
            return polling.measure(units, rival, rounds=rounds, seconds=seconds)
        finally:
            unit.close()


def figures(rounds: int = 5, seconds: float = 2.0) -> list[Figure]:
    """All figures of this module."""
    result = measure(rounds, seconds)
    print(f"against PSUDaemon's way: {result}", file=sys.stderr, flush=True)
    return [
        Figure(
            "polls, a unit that takes 10 ms a message: agent / a query for each quantity and channel",
            f"{result.ratio:.1f} ({result.agent:.1f}/s of {result.rival:.1f}/s)",
            f"≥ {TARGET:g}",
            result.ratio >= TARGET,
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, below 4")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds < polling.LONGEST_MEASUREMENT:
        parser.error(f"--seconds must be above 0 and below {polling.LONGEST_MEASUREMENT:g}")
    print(table(figures(arguments.rounds, arguments.seconds)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

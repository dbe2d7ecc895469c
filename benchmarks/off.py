"""Off, from PUBLISH to the unit's wire, while everything around it is busy, stuck or slow; against a bare client and socket.

The unit notes the moment at which the message came in (``time.monotonic``, which all processes of a machine share), before
its own time for a message passes. The floor, `benchmarks.offparts.bare`, is an MQTT client that writes one line to an equal
unit for each message that it gets. Agent and floor are asked in turn, with random pauses between, under the same load.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Requester
from benchmarks.offparts.cases import CASES, Case
from benchmarks.rig import BenchmarkError, Units, workbench
from tests.support.figures import Figure, machine, table
from tests.support.frozen import NoFrozenDiskError
from tests.support.processes import ROOT, Process
from tests.support.waiting import WaitedInVainError, wait_until

#: s that an off may take besides one message of its unit, at the 99th percentile.
TARGET = 0.020
BARE_TOPIC = "bare/off"
#: s that an off is waited for, and how many in vain before a case is given up.
_TIMEOUT, _MOST_IN_VAIN = 3.0, 3
#: s. Pauses before an off are random, up to this, so that it meets polls in every phase.
_LONGEST_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds from PUBLISH to wire, infinite where the unit never got an off; ``others``: the floor's.

    ``said``: what shows that the trouble was there.
    """

    case: Case
    offs: list[float]
    others: list[float]
    unanswered: int
    said: str

    @property
    def allowed(self) -> float:
        """s at the 99th percentile."""
        return self.case.latency + TARGET

    @property
    def reached(self) -> bool:
        """The aim."""
        return percentile(self.offs, 99) <= self.allowed and not self.unanswered

    def __str__(self) -> str:
        text = f"{shown(self.offs)} ms of {len(self.offs)}; bare {shown(self.others)} ms; p99 {self.beside_floor}"
        return text + (f"; {self.unanswered} without a response" if self.unanswered else "")

    @property
    def beside_floor(self) -> str:
        """The 99th percentile as a difference from the floor's, and as a ratio to the floor's and one message."""
        ours, floor = percentile(self.offs, 99), percentile(self.others, 99)
        return f"{(ours - floor) * 1e3:+.1f} ms, × {ours / (floor + self.case.latency):.1f} of bare + a message"


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent are not above; infinite if there are none."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)] if values else math.inf


def shown(values: list[float]) -> str:
    """The 50th and 99th percentile and the highest, in ms."""
    return " / ".join(
        "never" if math.isinf(v) else f"{v * 1e3:.1f}" for v in (percentile(values, p) for p in (50, 99, 100))
    )


class Offs:
    """Sends offs to one topic, and finds when their unit heard of them."""

    def __init__(self, units: Units, unit: int, requester: Requester, topic: str) -> None:
        self._units = units
        self._unit = unit
        self._requester = requester
        self._topic = topic
        self._starts: list[float] = []
        self.unanswered = 0

    def send(self, timeout: float = _TIMEOUT) -> bool:
        """Send one. Returns when its sender has the response, or false after the timeout (s)."""
        self._starts.append(time.monotonic())
        try:
            self._requester.ask(self._topic, b'{"state": false}', timeout)
        except BenchmarkError:
            self.unanswered += 1
            return False
        return True

    def times(self) -> list[float]:
        """Seconds from each PUBLISH to the wire; infinite where nothing came before the next one."""
        # The unit may note a message after its sender has the response already, as the floor waits for nothing.
        with contextlib.suppress(WaitedInVainError):
            wait_until(lambda: any(moment >= self._starts[-1] for moment in self._moments()), "the last off", 1)
        moments = self._moments()
        spans = itertools.pairwise([*self._starts, math.inf])
        return [min((m for m in moments if start <= m < end), default=math.inf) - start for start, end in spans]

    def forget(self) -> None:
        """Begin anew."""
        self._starts.clear()
        self.unanswered = 0

    def _moments(self) -> list[float]:
        return [
            moment for unit, moment, text in self._units.writes() if unit == self._unit and text.startswith("OUTP 0")
        ]


def measure(case: Case, count: int, folder: Path | None = None) -> Result:
    """Turn off ``count`` times in this case.

    :param folder: where a profile of each of the agent's threads goes
    :raises NoFrozenDiskError: the case needs a disk that can be frozen
    """
    rng = random.Random(case.name)
    with (
        workbench() as (place, broker),
        Units(case.units + 1, case.latency, "--stamped") as units,
        Requester(broker.port) as requester,
        case.situation(place, broker.port, units, profile=folder) as situation,
        Process(
            [sys.executable, "-m", "benchmarks.offparts.bare", str(broker.port), BARE_TOPIC, units.resources[-1]],
            place / "bare.log",
            folder=ROOT,
        ),
    ):
        ours = Offs(units, 0, requester, "psu/psu1/1/set")
        floor = Offs(units, case.units, requester, BARE_TOPIC)
        wait_until(lambda: floor.send(0.5), "the bare client")
        floor.forget()
        situation.begin()
        for _ in range(count):
            situation.before_off()
            time.sleep(rng.uniform(0, _LONGEST_PAUSE))
            ours.send()
            if ours.unanswered >= _MOST_IN_VAIN:
                break
            time.sleep(rng.uniform(0, _LONGEST_PAUSE / 5))
            floor.send()
        return Result(case, ours.times(), floor.times(), ours.unanswered, situation.said())


def figures(names: list[str] | None = None, count: int | None = None, folder: Path | None = None) -> list[Figure]:
    """All figures of this module, or those of the named cases."""
    found = []
    for case in CASES:
        if names and case.name not in names:
            continue
        what = f"off, PUBLISH to wire, {case.text}, a unit of {case.latency * 1e3:g} ms: p50 / p99 / maximum"
        try:
            result = measure(case, count or case.count, None if folder is None else folder / case.name)
        except NoFrozenDiskError as error:
            found.append(Figure(what, f"not measured: {error}"))
            continue
        print(f"off, {case.name}: {result}; {result.said}", file=sys.stderr, flush=True)
        found.append(Figure(what, str(result), f"p99 ≤ {result.allowed * 1e3:g} ms", result.reached))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(case.name for case in CASES))
    parser.add_argument("--count", type=int, help="offs a case")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="where to write each thread's profile")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - {case.name for case in CASES}:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    print(table(figures(arguments.cases, arguments.count, arguments.profile)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

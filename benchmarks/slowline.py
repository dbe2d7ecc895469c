"""How fast a unit on a serial line of 9,600 baud is polled, as a share of what the line allows; and how soon it gets an off.

The unit is a simulated E3640A: one output, an answer to each message, and 50 ms between an answer and the next message. Each byte
takes its time on the line. The floor is a loop that sends the messages of the agent's poll to an equal unit on a line of its own,
reads the answers, and keeps the same pauses. Both run at the same time: they wait for their lines nearly always.

Offs are counted, not timed: the messages that begin on the line between the PUBLISH of an off and the off itself.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.command import Requester
from benchmarks.off import percentile, shown
from benchmarks.rig import Agent, BenchmarkError, Counter, PipedUnits, workbench
from tests.support.figures import Figure, machine, table
from tests.support.waiting import wait_until

MODEL = "E3640A"
#: s between an answer and the next message, as the series file of the model has it.
GAP = 0.05
TARGET = 0.9
MOST_BETWEEN = 1
_OFF = "OUTP 0"
#: s. Pauses before an off are random, up to this, so that it meets each message of a poll and each pause.
_LONGEST_PAUSE = 0.3

Messages = list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Result:
    """Polls a second, and for each off the messages before it and the seconds from PUBLISH to its first byte."""

    agent: float
    floor: float
    messages: tuple[str, ...]  # of a poll
    between: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return self.agent / self.floor

    def __str__(self) -> str:
        return (
            f"agent {self.agent:.3f} polls/s, floor {self.floor:.3f}/s, ratio {self.ratio:.3f}; {len(self.messages)} messages a "
            f"poll; {sum(self.between)} messages before {len(self.between)} offs, at most {max(self.between)} before one; "
            f"PUBLISH to the line {shown(list(self.seconds))} ms"
        )


class SlowUnits(PipedUnits):
    """Units on slow lines; see `benchmarks.slowunits`."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder / "units.log", "benchmarks.slowunits", MODEL, str(count))
        self._messages: list[Messages] = [[] for _ in range(count)]

    def messages(self, number: int) -> Messages:
        """All messages that a unit got so far: the moment of the first byte, and the text."""
        for kept, new in zip(self._messages, self._ask(""), strict=True):
            kept += [(moment, text) for moment, text in new]
        return self._messages[number]


class BareLine:
    """The plainest poll: messages written and answers read on a serial line, with pauses, in a thread of its own."""

    def __init__(self, resource: str, messages: tuple[str, ...]) -> None:
        path = resource.removeprefix("ASRL").removesuffix("::INSTR")
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self._messages = [message.encode() + b"\n" for message in messages]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        while not self._ends.is_set():
            for message in self._messages:
                os.write(self._descriptor, message)
                answer = b""
                while not answer.endswith(b"\n"):
                    answer += os.read(self._descriptor, 4096)
                time.sleep(GAP)


def measure(seconds: float = 20.0, count: int = 100) -> Result:
    """Poll for so many seconds, then send ``count`` offs."""
    rng = random.Random(0)
    with (
        tempfile.TemporaryDirectory(prefix="psu-agent-bench-") as place,
        SlowUnits(Path(place), 2) as units,
        workbench() as (folder, broker),
        Counter(folder, broker.port, "psu/+/+/state") as states,
        Agent(folder, broker.port, units.resources[:1], poll_interval=0, model=MODEL) as agent,
        Requester(broker.port) as requester,
    ):
        agent.wait_until(lambda: states.count > 3, "the agent publishes states")
        poll = _poll(units.messages(0))
        with BareLine(units.resources[1], poll):
            wait_until(lambda: len(units.messages(1)) > len(poll), "the bare loop")
            start = time.monotonic()
            time.sleep(seconds)
            rates = [_rate(units.messages(number), poll[0], start) for number in (0, 1)]
        starts = []
        for _ in range(count):
            time.sleep(rng.uniform(0, _LONGEST_PAUSE))
            starts.append(time.monotonic())
            requester.ask("psu/psu1/1/set", b'{"state": false}')
        found = [_until_off(units.messages(0), start) for start in starts]
    return Result(
        agent=rates[0],
        floor=rates[1],
        messages=poll,
        between=tuple(len(before) for before, _ in found),
        seconds=tuple(moment for _, moment in found),
    )


def _poll(messages: Messages) -> tuple[str, ...]:
    """The messages of the last whole poll among these."""
    texts = [text for _, text in messages]
    starts = [at for at, text in enumerate(texts) if text.startswith("MEAS:VOLT?")]
    return tuple(texts[starts[-2] : starts[-1]])


def _rate(messages: Messages, first: str, start: float) -> float:
    """Polls a second from a moment on, by the first message of each."""
    moments = [moment for moment, text in messages if text == first and moment >= start]
    if len(moments) < 2:
        raise BenchmarkError("fewer than two polls: measure for longer")
    return (len(moments) - 1) / (moments[-1] - moments[0])


def _until_off(messages: Messages, start: float) -> tuple[list[str], float]:
    """The messages that began after a moment and before the first off after it, and s to that off."""
    before: list[str] = []
    for moment, text in messages:
        if moment < start:
            continue
        if text.startswith(_OFF):
            return before, moment - start
        before.append(text)
    raise BenchmarkError("an off never came to the unit")


def figures(seconds: float = 20.0, count: int = 100) -> list[Figure]:
    """All figures of this module."""
    result = measure(seconds, count)
    print(f"slow line: {result}", file=sys.stderr, flush=True)
    offs = list(result.seconds)
    return [
        Figure(
            f"polls, one output at 9,600 baud with {GAP * 1e3:g} ms between messages: agent / bare loop on an equal line",
            f"{result.ratio:.2f} ({result.agent:.2f}/s of {result.floor:.2f}/s, {len(result.messages)} messages a poll)",
            f"≥ {TARGET:g}",
            result.ratio >= TARGET,
        ),
        Figure(
            "messages on that line between PUBLISH of an off and the off, while it is polled at full speed: mean / maximum",
            f"{statistics.mean(result.between):.2f} / {max(result.between)} of {count} "
            f"({percentile(offs, 50) * 1e3:.0f} ms, at most {max(offs) * 1e3:.0f} ms)",
            f"≤ {MOST_BETWEEN}",
            max(result.between) <= MOST_BETWEEN,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of polling")
    parser.add_argument("--count", type=int, default=100, help="offs")
    arguments = parser.parse_args()
    print(table(figures(arguments.seconds, arguments.count)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

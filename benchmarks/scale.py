"""One agent with 1 to 1,000 units: processor a poll, memory a unit, late polls, and commands meanwhile; and 200 units at 10 Hz.

Prints a table in Markdown; with ``--write`` it goes into benchmarks/README.md, a plot into benchmarks/scale.svg, and the
figures that `benchmarks.scaleparts.costs` computes with into scaleparts/scale.json.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plainloop
from benchmarks.scaleparts.load import Result, measure
from benchmarks.scaleparts.plot import Panel, drawn
from tests.support.figures import Figure, machine, table

FOLDER = Path(__file__).resolve().parent
UNITS = (1, 10, 100, 300, 1000)
#: A command's median and 99th percentile with many units at 10 Hz, over those with one unit.
MOST_MEDIAN, MOST_P99 = 2.0, 5.0


@dataclass(frozen=True, slots=True)
class Busy:
    """Commands with many units polled at 10 Hz, over those with one: medians of the rounds' ratios, and the last results."""

    median: float
    p99: float
    echo_median: float
    echo_p99: float
    one: Result
    many: Result

    @property
    def reached(self) -> bool:
        """The aim."""
        return self.median <= MOST_MEDIAN and self.p99 <= MOST_P99


def busy(count: int = 200, rounds: int = 3, *, latency: float = 0.0, commands: int = 400, seconds: float = 2.0) -> Busy:
    """Send commands to one unit alone and to ``count`` units, each polled at 10 Hz, in turn."""
    pairs = []
    for _ in range(rounds):
        one, many = (measure(number, 0.1, latency=latency, commands=commands, seconds=seconds) for number in (1, count))
        for result in (one, many):
            print(f"scale, {latency * 1e3:g} ms a message: {result}", file=sys.stderr, flush=True)
        pairs.append((one, many))

    def ratio(value: Callable[[Result], float]) -> float:
        return statistics.median(value(many) / value(one) for one, many in pairs)

    return Busy(
        ratio(lambda result: result.command(50)),
        ratio(lambda result: result.command(99)),
        ratio(lambda result: result.echo(50)),
        ratio(lambda result: result.echo(99)),
        *pairs[-1],
    )


def of_busy(result: Busy, what: str) -> list[Figure]:
    """The figures of one comparison."""
    title = f"a command with {result.many.units} units at 10 Hz / with one, {what}"
    one, many = result.one, result.many
    return [
        Figure(
            f"{title}: median",
            f"{result.median:.2f} ({many.command(50) * 1e3:.1f} ms of {one.command(50) * 1e3:.1f}; "
            f"bare echo {result.echo_median:.2f})",
            f"≤ {MOST_MEDIAN:g}",
            result.median <= MOST_MEDIAN,
        ),
        Figure(
            f"{title}: 99th percentile",
            f"{result.p99:.2f} ({many.command(99) * 1e3:.1f} ms of {one.command(99) * 1e3:.1f}; "
            f"bare echo {result.echo_p99:.2f})",
            f"≤ {MOST_P99:g}",
            result.p99 <= MOST_P99,
        ),
    ]


def rows(results: Sequence[Result], plain: float) -> str:
    """The table of the counts in Markdown.

    :param plain: processor time (s) a poll of the plain loop of `benchmarks.plainloop`, measured in the same run
    """
    smallest = results[0]
    lines = [
        "| units at 1 Hz | processor a poll: agent / plain loop | cores | memory (a unit) | late polls | command / echo | 99 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        more = (result.memory - smallest.memory) / max(1, result.units - smallest.units)
        each = f" ({more / 1e3:.0f} kB)" if result is not smallest else ""
        cells = [
            f"{result.units:,}",
            f"{result.processor / plain:.2f} ({result.processor * 1e3:.2f} ms)",
            f"{result.cores:.3f}" if result.cores < 0.1 else f"{result.cores:.2f}",
            f"{result.memory / 1e6:.0f} MB{each}",
            str(result.late_polls),
            *(
                f"{result.command(percent) / result.echo(percent):.1f} ({result.command(percent) * 1e3:.1f} ms of "
                f"{result.echo(percent) * 1e3:.1f})"
                for percent in (50, 99)
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Sequence[Result]) -> str:
    """The same as a picture (SVG)."""
    units = [result.units for result in results]
    smallest = results[0]
    return drawn(
        units,
        [
            Panel("processor, ms a poll", {"agent": [result.processor * 1e3 for result in results]}),
            Panel(
                "memory, kB a unit beyond the first",
                {
                    "agent": [
                        None if one is smallest else (one.memory - smallest.memory) / 1e3 / (one.units - smallest.units)
                        for one in results
                    ]
                },
            ),
            Panel(
                "command, ms",
                {
                    "99 %": [result.command(99) * 1e3 for result in results],
                    "median": [result.command(50) * 1e3 for result in results],
                    "bare echo, median": [result.echo(50) * 1e3 for result in results],
                },
            ),
        ],
        "units in one agent, polled at 1 Hz",
    )


def sweep(counts: Sequence[int] = UNITS, *, seconds: float = 20.0, commands: int = 300) -> list[Result]:
    """Measure each number of units for some time (s)."""
    results = []
    for count in counts:
        results.append(measure(count, seconds=seconds, commands=commands))
        print(f"scale: {results[-1]}", file=sys.stderr, flush=True)
    return results


def figures(rounds: int = 3, commands: int = 400) -> list[Figure]:
    """The figures that have an aim."""
    return [
        figure
        for latency, what in ((0.0, "units that answer at once"), (0.005, "5 ms a message"))
        for figure in of_busy(busy(rounds=rounds, commands=commands, latency=latency), what)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=UNITS)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--commands", type=int, default=400, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with one unit")
    parser.add_argument("--write", action="store_true", help="put it into benchmarks/README.md and scale.svg")
    arguments = parser.parse_args()
    plain = plainloop.measure(rounds=3).plain
    results = sweep(arguments.units, seconds=arguments.seconds, commands=arguments.commands)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    text = f"{rows(results, plain)}\n\n{table(figures(arguments.rounds, arguments.commands))}\n\n{day}, {machine()}"
    print(text)
    if arguments.write:
        page = FOLDER / "README.md"
        found = re.compile(r"(?<=<!-- scale -->\n).*?(?=<!-- /scale -->)", re.DOTALL)
        page.write_text(found.sub(lambda _: f"\n{text}\n\n", page.read_text(encoding="utf-8")), encoding="utf-8")
        (FOLDER / "scale.svg").write_text(plot(results), encoding="utf-8")
        kept = [{"units": one.units, "processor": round(one.processor, 6), "memory": one.memory} for one in results]
        (FOLDER / "scaleparts" / "scale.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

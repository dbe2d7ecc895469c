"""A thousand units that start while some can't be reached, and a thousand whose links drop together.

Measured are the seconds from the agent's start until each unit is polled or marked offline, its processor time and memory
afterwards, and the seconds until all units are back after their network is. A unit counts as polled when a subscriber has
a state of its first channel with ``online`` true. The units are simulated in another process, without a network that delays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import Agent, BenchmarkError, Subscriber, Units, workbench
from tests.support.figures import Figure, machine, table

UNITS, REFUSING, SILENT = 1000, 150, 150
#: A question that the agent asks at every start, of which the manual has the answer, and some firmware may not.
UNANSWERED = "OUTPut:PAIR"
#: s without a network.
AWAY = 10.0
#: s that are waited at most; a longer time is reported as more than that.
LONGEST = 90.0

MOST_STARTING, MOST_STARTING_UNANSWERED, MOST_RETURNING = 10.0, 20.0, 10.0  # s
MOST_CORES, MOST_BYTES = 0.5, 120e6


class Fleet:
    """Each unit as a subscriber knows it: polled, or offline. `look` brings it up to date."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._position = 0
        self.polled: set[str] = set()
        self.offline: set[str] = set()

    def look(self) -> None:
        """Read what came since the last look."""
        with self._subscriber.log.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._position += end
        for line in data[:end].decode().splitlines():
            topic, _, payload = line.partition(" ")
            _, unit, *_, kind = topic.split("/")
            if kind == "state":
                (self.polled.add if json.loads(payload)["online"] else self.polled.discard)(unit)
            elif payload == "offline":
                self.offline.add(unit)
                self.polled.discard(unit)
            else:
                self.offline.discard(unit)

    def forget(self) -> None:
        """Count only what comes from now on."""
        self.look()
        self.polled.clear()


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the agent's process, once everything has settled."""

    cores: float
    resident_bytes: int

    def __str__(self) -> str:
        return f"{self.cores:.2f} cores, {self.resident_bytes / 1e6:.0f} MB"


@dataclass(frozen=True, slots=True)
class Start:
    """How a fleet started. ``seconds`` is None where it was not done after `LONGEST` s."""

    seconds: float | None
    polled: int  # units, at the end
    offline: int
    cost: Cost

    def __str__(self) -> str:
        return f"{_seconds(self.seconds)}; {self.polled} units polled, {self.offline} offline; then {self.cost}"


@dataclass(frozen=True, slots=True)
class Return:
    """How a fleet came back. The times are None where it was not done after `LONGEST` s."""

    noticed: float | None  # s from the loss until every unit was marked offline
    seconds: float | None  # s from the network's return until every unit was polled
    polled: int
    cost: Cost

    def __str__(self) -> str:
        return (
            f"all offline after {_seconds(self.noticed)}, back after {_seconds(self.seconds)}; "
            f"{self.polled} units polled; then {self.cost}"
        )


def start(
    count: int = UNITS,
    *,
    refusing: int = REFUSING,
    silent: int = SILENT,
    unanswered: bool = False,
    seconds: float = 10.0,
) -> Start:
    """Start an agent with ``count`` units, some of which can't be reached, and look at it for ``seconds`` afterwards."""
    missing = [f"--missing={UNANSWERED}"] if unanswered else []
    reachable = count - refusing - silent
    units = Units(reachable, 0.0, f"--refusing={refusing}", f"--silent={silent}", *missing)
    with workbench() as (folder, broker), units, _subscriber(folder, broker.port) as subscriber:
        fleet = Fleet(subscriber)
        begun = time.monotonic()
        with _agent(folder, broker.port, units) as agent:
            polled, offline = agent.names[:reachable], agent.names[reachable:]
            done = _wait(agent, fleet, polled=polled, offline=offline)
            took = None if done is None else done - begun
            cost = _cost(agent, seconds)
            fleet.look()
            return Start(took, len(fleet.polled), len(fleet.offline - fleet.polled), cost)


def lose_and_return(count: int = UNITS, away: float = AWAY, seconds: float = 10.0) -> Return:
    """Take all units of an agent off the network for ``away`` s."""
    units = Units(count)
    with workbench() as (folder, broker), units, _subscriber(folder, broker.port) as subscriber:
        fleet = Fleet(subscriber)
        with _agent(folder, broker.port, units) as agent:
            if _wait(agent, fleet, polled=agent.names) is None:
                raise BenchmarkError(f"of {count} units only {len(fleet.polled)} were polled after {LONGEST:g} s")
            lost = time.monotonic()
            units.unplug()
            noticed = _wait(agent, fleet, offline=agent.names)
            time.sleep(max(0.0, lost + away - time.monotonic()))
            fleet.forget()
            plugged = time.monotonic()
            units.plug()
            back = _wait(agent, fleet, polled=agent.names)
            cost = _cost(agent, seconds)
            fleet.look()
            return Return(
                None if noticed is None else noticed - lost,
                None if back is None else back - plugged,
                len(fleet.polled),
                cost,
            )


def _agent(folder: Path, port: int, units: Units) -> Agent:
    # With the timeouts that the agent has by itself, as most users will have them.
    return Agent(folder, port, units.resources, poll_interval=1.0)


def _subscriber(folder: Path, port: int) -> Subscriber:
    subscriber = Subscriber(folder / "seen", port, ["psu/+/status", "psu/+/1/state"], "%t %p", qos=1)
    subscriber.log.touch()
    return subscriber


def _wait(agent: Agent, fleet: Fleet, *, polled: Collection[str] = (), offline: Collection[str] = ()) -> float | None:
    """When these units were polled and those offline (monotonic clock, s); None if not after `LONGEST` s."""
    wanted, away = set(polled), set(offline)

    def settled() -> bool:
        fleet.look()
        return wanted <= fleet.polled and away <= fleet.offline

    deadline = time.monotonic() + LONGEST
    while not settled():
        if agent.ended() is not None:
            raise BenchmarkError(f"the agent ended with status {agent.ended()}: {agent.text()[-500:]}")
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return time.monotonic()


def _cost(agent: Agent, seconds: float) -> Cost:
    """The cost over the next ``seconds``, after a moment in which the agent finishes its start."""
    time.sleep(min(3.0, seconds / 2))
    memory = []
    used, begun = agent.cpu_seconds(), time.monotonic()
    while time.monotonic() - begun < seconds:
        time.sleep(min(0.5, seconds / 4))
        memory.append(agent.resident_bytes())
    cores = (agent.cpu_seconds() - used) / (time.monotonic() - begun)
    return Cost(cores, round(statistics.median(memory)))


def _seconds(value: float | None) -> str:
    return f"more than {LONGEST:g} s" if value is None else f"{value:.1f} s"


def _within(what: str, value: float | None, most: float) -> Figure:
    return Figure(what, _seconds(value), f"< {most:g} s", value is not None and value < most)


def _costs(what: str, cost: Cost) -> Figure:
    fits = cost.cores <= MOST_CORES and cost.resident_bytes <= MOST_BYTES
    return Figure(f"{what}: afterwards", str(cost), f"≤ {MOST_CORES:g} cores, {MOST_BYTES / 1e6:.0f} MB", fits)


def figures(count: int = UNITS, seconds: float = 10.0) -> list[Figure]:
    """All figures of this module."""
    refusing, silent = count * REFUSING // UNITS, count * SILENT // UNITS
    found = []
    for unanswered, most in ((False, MOST_STARTING), (True, MOST_STARTING_UNANSWERED)):
        what = f"{count} units, {refusing} of them refusing and {silent} silent"
        what += ", one start-up question unanswered" if unanswered else ""
        result = start(count, refusing=refusing, silent=silent, unanswered=unanswered, seconds=seconds)
        print(f"{what}: {result}", file=sys.stderr, flush=True)
        found += [_within(f"{what}: all polled or marked offline", result.seconds, most), _costs(what, result.cost)]
    what = f"{count} units, all links lost for {AWAY:g} s"
    back = lose_and_return(count, seconds=seconds)
    print(f"{what}: {back}", file=sys.stderr, flush=True)
    return [
        *found,
        _within(f"{what}: all back after the network", back.seconds, MOST_RETURNING),
        # All of them are online then: the bound of memory is one for a fleet of which 300 units can't be reached.
        Figure(f"{what}: afterwards", str(back.cost), f"≤ {MOST_CORES:g} cores", back.cost.cores <= MOST_CORES),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of looking at processor and memory")
    arguments = parser.parse_args()
    print(table(figures(arguments.units, arguments.seconds)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

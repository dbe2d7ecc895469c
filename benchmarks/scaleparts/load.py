"""One agent with any number of units, looked at from outside: what it costs, and how long commands take meanwhile."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import ECHO_TOPIC, Requester
from benchmarks.off import percentile
from benchmarks.rig import Agent, BenchmarkError, Counter, Subscriber, Units, workbench
from tests.support.processes import ROOT, Process

CHANNELS = 3
#: s. Pauses before a command are random, up to this, so that it meets polls in every phase.
_LONGEST_PAUSE = 0.05
#: s that the agent gets, once all units are polled, before anything is measured.
_WARM_UP = 2.0
#: bytes, about those of the response to a command.
_ECHO_SIZE = 600


@dataclass(frozen=True, slots=True)
class Result:
    """The cost of some units, and the latency of commands to them. Times in s, memory in bytes.

    ``echos``: a bare MQTT echo through the same broker, asked in turn with the commands: what broker, machine and requester
    need of a command's time under that load. ``rig``: cores that the simulated units, the broker and the subscriber take.
    """

    units: int
    interval: float
    processor: float  # of the agent, a poll of three channels
    cores: float
    memory: int
    late_polls: int  # since the agent's start
    polls: float  # a second
    rig: tuple[float, float, float]
    commands: list[float]
    echos: list[float]

    def command(self, percent: int) -> float:
        """The percentile of the commands' latencies."""
        return percentile(self.commands, percent)

    def echo(self, percent: int) -> float:
        """The percentile of the echos' latencies."""
        return percentile(self.echos, percent)

    def __str__(self) -> str:
        units, broker, subscriber = self.rig
        return (
            f"{self.units} units every {self.interval:g} s: {self.processor * 1e3:.2f} ms a poll, {self.cores:.2f} cores of "
            f"{self.cores + sum(self.rig):.2f} (units {units:.2f}, broker {broker:.2f}, subscriber {subscriber:.2f}), "
            f"{self.memory / 1e6:.0f} MB, {self.late_polls} late; command {self.command(50) * 1e3:.1f} / "
            f"{self.command(99) * 1e3:.1f} ms, echo {self.echo(50) * 1e3:.1f} / {self.echo(99) * 1e3:.1f} ms of "
            f"{len(self.commands)}"
        )


def measure(
    count: int, interval: float = 1.0, *, seconds: float = 10.0, commands: int = 300, latency: float = 0.0
) -> Result:
    """Have an agent poll ``count`` units for some time (s), then send commands to units picked at random, one at a time.

    :param latency: s that a unit takes for a message
    """
    with workbench() as (folder, broker), Units(count, latency) as units:
        log = folder / "metrics"
        with (
            Counter(folder, broker.port, "psu/+/+/state") as states,
            Subscriber(log, broker.port, ("psu/agents/+/metrics",), "%p"),
            Agent(folder, broker.port, units.resources, poll_interval=interval) as agent,
            Process([sys.executable, "-m", "benchmarks.echo", str(broker.port), ECHO_TOPIC, str(_ECHO_SIZE)],
                    folder / "echo.log", folder=ROOT),
            Requester(broker.port) as requester,
        ):  # fmt: skip
            enough = 3 * CHANNELS * count
            agent.wait_until(lambda: states.count >= enough, f"{count} units are polled", 60 + 10 * interval)
            time.sleep(min(_WARM_UP, seconds))
            parts = [cpu_of(units.pid), cpu_of(broker.pid), cpu_of(states.pid)]
            used, came, start = agent.cpu_seconds_of_threads(), states.count, time.perf_counter()
            time.sleep(seconds)
            took = time.perf_counter() - start
            used, came = agent.cpu_seconds_of_threads() - used, states.count - came
            rig = [cpu_of(pid) - part for pid, part in zip((units.pid, broker.pid, states.pid), parts, strict=True)]
            memory = agent.resident_bytes()
            latencies, echos = _ask(requester, agent.names, commands)
            if seconds > 1:
                agent.wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "the agent's metrics")
            agent.stop()
        told = log.read_text().splitlines()
    return Result(
        units=count,
        interval=interval,
        processor=used / max(1, came) * CHANNELS,
        cores=used / took,
        memory=memory,
        late_polls=json.loads(told[-1])["late_polls"] if told else 0,
        polls=came / CHANNELS / took,
        rig=(rig[0] / took, rig[1] / took, rig[2] / took),
        commands=latencies,
        echos=echos,
    )


def _ask(requester: Requester, names: list[str], count: int) -> tuple[list[float], list[float]]:
    """The latencies (s) of commands to units picked at random, and of echos in turn with them."""
    chance = random.Random(12)
    voltages = itertools.cycle((1.0, 1.5))
    commands, echos = [], []
    for _ in range(count):
        time.sleep(chance.random() * _LONGEST_PAUSE)
        took, answer = requester.ask(f"psu/{chance.choice(names)}/1/set", b'{"voltage_limit": %.3f}' % next(voltages))
        if not json.loads(answer)["ok"]:
            raise BenchmarkError(f"the command was refused: {answer.decode()}")
        commands.append(took)
        time.sleep(chance.random() * _LONGEST_PAUSE)
        echos.append(requester.ask(ECHO_TOPIC, b"x" * 24)[0])
    return commands, echos


def cpu_of(pid: int | None) -> float:
    """Processor time (s) of a process of the rig so far, of all its threads that live."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9

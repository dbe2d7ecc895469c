"""One run: an agent, its units and its broker, and their faults."""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import random
import sqlite3
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.local.broker import LocalBroker
from agent.simulator.reactor import Reactor
from tests.soak.agentfaults import AgentFaults
from tests.soak.brokerfaults import BrokerFaults
from tests.soak.commands import LIMITS, LOSS_AFTER, LOSS_CHANNEL, Commands
from tests.soak.publisher import Publisher
from tests.soak.rules.ledger import Ledger
from tests.soak.tap import Tap
from tests.soak.units import WatchedUnit
from tests.support.bench import settings, unit
from tests.support.waiting import WaitedInVainError, wait_until

BASE = "psu"
#: s
POLL_INTERVAL = 0.5
TIMEOUT = 1.0
KEEPALIVE = 4
#: s between two of them, on average.
COMMAND_INTERVAL, GET_INTERVAL, UNIT_FAULT_INTERVAL, BROKER_FAULT_INTERVAL = 0.12, 3.0, 0.8, 20.0
AGENT_FAULT_INTERVAL, FLOOD_INTERVAL, RAMPS_INTERVAL = 20.0, 20.0, 6.0
#: Commands of a flood; s that a unit takes for a message while it has ramps on all of its channels.
FLOOD, SLOW = 400, 0.03
#: s that everything may take to come to rest after the last fault.
LONGEST_REST = 60.0
#: s; the contract's.
LONGEST_STOP = 5.0
#: bytes that the agent's memory may grow by from the second quarter of the time to the last. It remembers each id, and each
#: command of a flood, for 10 minutes.
MOST_GROWTH = 12e6


class Soak:
    """One run.

    :param pace: how many times as often as usual units, broker and agent have faults
    """

    def __init__(self, folder: Path, *, units: int, seed: int, pace: float = 1.0) -> None:
        self._pace = pace
        self.seed = seed
        self.violations: list[str] = []
        self.completed = False
        self.faults: Counter[str] = Counter()
        self._folder = folder
        self._started = time.monotonic()
        # One for each stream of events: what happens in one of them must not depend on how fast the others go.
        self._randoms = {
            name: random.Random(f"{name} {seed}")
            for name in ("command", "get", "unit fault", "broker fault", "agent fault", "flood", "ramps", "retained")
        }
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._memory: list[tuple[float, int]] = []

        names = [f"psu{number:02}" for number in range(1, units + 1)]
        self.ledger = Ledger(BASE, names, self._complain)
        self._reactor = Reactor("units")
        self._reactor.start()
        self.units = [
            WatchedUnit(name, number, seed, self.ledger, self._reactor) for number, name in enumerate(names, 1)
        ]
        self._broker = LocalBroker(folder, kind="mosquitto", conf="max_queued_messages 100000")
        self._broker.start()
        self._tap = Tap(self._broker.port, self.ledger)
        self._broker_faults = BrokerFaults(
            self._broker, self._tap, self.ledger, self._randoms["broker fault"], self._in, self.faults
        )
        self._agent_faults = AgentFaults(folder, self.ledger, self._randoms["agent fault"], self._in, self.faults)
        self._agent_faults.before_kill = self._load
        self._agent_faults.on_restart = self._memory.clear
        self._publisher = Publisher(self._broker.port, BASE, self.ledger, keepalive=KEEPALIVE)
        # Three supplies: how many floods there are must not change the other commands.
        self._commands, self._floods = Commands(names, seed), Commands(names, seed, "floods", first=1_000_000)
        self._removals = Commands(names, seed, "removals", first=2_000_000)
        channels: dict[int, dict[str, Any]] = {
            index: {"voltage_max": voltage, "current_max": current} for index, (voltage, current) in LIMITS.items()
        }
        # Some outputs are turned off when the broker stays away.
        channels[LOSS_CHANNEL] |= {"on_broker_loss": "off", "broker_loss_after": LOSS_AFTER}
        milliseconds = round(TIMEOUT * 1000)
        entries = [
            unit(
                one.name,
                one.simulator,
                channels=channels,
                pyvisa_args={"timeout": milliseconds, "open_timeout": milliseconds},
            )
            for one in self.units
        ]
        data = settings(
            self._tap.port,
            entries,
            self._agent_faults.state,
            poll_interval=POLL_INTERVAL,
            mqtt={"keepalive": KEEPALIVE},
        )
        self._agent = self._agent_faults.start(data)

    def _complain(self, what: str) -> None:
        self.violations.append(what)
        print(f"{time.monotonic() - self._started:7.1f} s: VIOLATION of {what}", file=sys.stderr, flush=True)

    # --- the run

    def run(self, seconds: float) -> None:
        """Commands and faults for so long; then all faults end, and everything that is due has to come."""
        wait_until(lambda: self.ledger.quiet() or self._agent.ended() is not None, "all units to be online", 60)
        self.begin = self._measure()
        start = time.monotonic()
        for action in (self._command, self._get, self._unit_fault, self._broker_fault, self._look):
            self._in(0.0, action)
        for stream, interval, action in (
            ("agent fault", AGENT_FAULT_INTERVAL, self._agent_fault),
            ("flood", FLOOD_INTERVAL, self._flood),
            ("ramps", RAMPS_INTERVAL, self._ramps),
        ):
            self._again(stream, interval, action)
        while (now := time.monotonic()) < start + seconds and self._agent.ended() is None:
            due, _, action = self._actions[0]
            if due > now:
                time.sleep(min(due - now, start + seconds - now))
                continue
            heapq.heappop(self._actions)
            action()
        self.duration = time.monotonic() - start
        if self._agent.ended() is not None:
            self._complain(f"the agent ended by itself with status {self._agent.ended()}")
            return
        self._rest()

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._actions, (time.monotonic() + seconds, next(self._order), action))

    def _again(self, stream: str, interval: float, action: Callable[[], None], after: float = 0.0) -> random.Random:
        rng = self._randoms[stream]
        self._in(after + rng.expovariate(self._pace / interval), action)
        return rng

    def _command(self) -> None:
        self._again("command", COMMAND_INTERVAL * self._pace, self._command)
        for command in self._commands.next():
            self._publisher.send(command)
            if command.retain:
                seconds = self._randoms["retained"].uniform(0.2, 5)
                self._in(seconds, functools.partial(self._publisher.send, self._removals.removal(command)))

    def _get(self) -> None:
        self._publisher.get(self._again("get", GET_INTERVAL, self._get).choice(self.units).name)

    def _unit_fault(self) -> None:
        unit = self._again("unit fault", UNIT_FAULT_INTERVAL, self._unit_fault).choice(self.units)
        name, undo = unit.fault()
        self.faults[name] += 1
        if undo is not None:
            self._in(*undo)

    def _broker_fault(self) -> None:
        lasts = self._broker_faults.fault()
        self._again("broker fault", BROKER_FAULT_INTERVAL, self._broker_fault, lasts)

    def _agent_fault(self) -> None:
        lasts = self._agent_faults.fault()
        self._again("agent fault", AGENT_FAULT_INTERVAL, self._agent_fault, lasts)

    def _flood(self) -> None:
        self._again("flood", FLOOD_INTERVAL, self._flood)
        self.faults["flood of commands"] += 1
        self._send_flood(FLOOD)

    def _send_flood(self, count: int) -> None:
        for command in self._floods.flood(count):
            self._publisher.send(command)

    def _ramps(self) -> None:
        self._again("ramps", RAMPS_INTERVAL, self._ramps)
        self._send_ramps()

    def _load(self) -> None:
        """Commands that are under way when the agent is killed."""
        for _ in range(3):
            self._send_ramps()
        self._send_flood(FLOOD // 8)

    def _send_ramps(self) -> None:
        """Ramps and cycles on all channels of a unit, which is slow meanwhile."""
        self.faults["ramps at once"] += 1
        commands = self._floods.ramps()
        unit = next(one for one in self.units if one.name == commands[0].unit)
        unit.ramp_slowly(SLOW)
        self._in(10.0, functools.partial(unit.ramp_slowly, 0.0))
        for command in commands:
            self._publisher.send(command)

    def _look(self) -> None:
        self._in(1.0, self._look)
        self.ledger.sweep()
        if not self._agent.runs:
            return
        with contextlib.suppress(FileNotFoundError):  # it may just have ended
            memory, threads, descriptors = self._measure()
            self._memory.append((time.monotonic(), memory))
            if len(self._memory) % 60 == 0:
                print(
                    f"{time.monotonic() - self._started:7.1f} s: {memory / 1e6:.1f} MB, {threads} threads, "
                    f"{descriptors} descriptors, {self.ledger.counts['deliveries']} commands",
                    file=sys.stderr,
                    flush=True,
                )

    def _measure(self) -> tuple[int, int, int]:
        return self._agent.resident_bytes(), self._agent.thread_count(), self._agent.descriptor_count()

    def _rest(self) -> None:
        self._agent_faults.heal()
        self._broker_faults.heal()
        for one in self.units:
            one.heal()
        start = time.monotonic()
        try:
            wait_until(self.ledger.quiet, "everything to heal", LONGEST_REST)
        except WaitedInVainError as error:
            self._complain(f"healing: {error}; still due: {'; '.join(self.ledger.due()[:10])}")
        self.healing = time.monotonic() - start
        self.end = self._measure()
        start = time.monotonic()
        status = self._agent.stop(timeout=2 * LONGEST_STOP)
        self.stopping = time.monotonic() - start
        if status != 0 or self.stopping > LONGEST_STOP:
            self._complain(f"stopping: it took {self.stopping:.1f} s and ended with status {status}")
        self._judge()
        self.completed = True

    def _judge(self) -> None:
        with contextlib.closing(sqlite3.connect(self._agent_faults.state / "bench.sqlite3")) as database:
            self.ledger.kept(
                [(topic, bytes(payload)) for topic, payload in database.execute("SELECT topic, payload FROM samples")],
                [
                    (topic, bytes(payload), correlation)
                    for topic, payload, correlation in database.execute(
                        "SELECT topic, payload, correlation FROM messages UNION ALL "
                        "SELECT topic, payload, correlation FROM commands WHERE payload IS NOT NULL"
                    )
                ],
            )
        self.ledger.close()
        if "Traceback" in self._agent.text():
            self._complain("the agent's log: there is a traceback in it")
        _, threads, descriptors = self.begin
        _, threads_after, descriptors_after = self.end
        if threads_after > threads or descriptors_after > descriptors + 2:
            self._complain(
                f"leaks: from {threads} threads and {descriptors} descriptors to {threads_after} and {descriptors_after}"
            )
        quarter = len(self._memory) // 4
        if quarter >= 15:  # below a minute there is nothing to compare
            self.growth: float | None = statistics.median(
                memory for _, memory in self._memory[-quarter:]
            ) - statistics.median(memory for _, memory in self._memory[quarter : 2 * quarter])
            if self.growth > MOST_GROWTH:
                self._complain(f"memory: it grew by {self.growth / 1e6:.1f} MB from the second quarter to the last")
        else:
            self.growth = None

    def close(self) -> None:
        """End what is still there, in any state."""
        self._agent_faults.close()
        self._publisher.close()
        self._tap.close()
        self._broker_faults.stop()
        for one in self.units:
            one.simulator.stop()
        self._reactor.stop()

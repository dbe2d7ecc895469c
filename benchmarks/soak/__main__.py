"""Run it: ``python -m benchmarks.soak --minutes 5``. Exits 1 if a rule was broken, with the seed to do it again."""

from __future__ import annotations

import argparse
import contextlib
import functools
import heapq
import itertools
import os
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.local.broker import LocalBroker
from agent.simulator.reactor import Reactor
from benchmarks.echo import no_delay
from benchmarks.rig import Agent, BenchmarkError, Figure, machine, table, wait_until
from benchmarks.soak.commands import LIMITS, Commands
from benchmarks.soak.commands import Command as SoakCommand
from benchmarks.soak.ledger import RESPONSE_TOPIC, Ledger
from benchmarks.soak.tap import Tap
from benchmarks.soak.units import WatchedUnit

BASE = "psu"
#: s
POLL_INTERVAL = 0.5
TIMEOUT = 1.0
KEEPALIVE = 4
#: s between two of them, on average.
COMMAND_INTERVAL, GET_INTERVAL, UNIT_FAULT_INTERVAL, BROKER_FAULT_INTERVAL = 0.12, 3.0, 0.6, 15.0
#: s that everything may take to come to rest after the last fault.
LONGEST_REST = 60.0
#: s; the contract's.
LONGEST_STOP = 5.0
#: bytes that the agent's memory may grow by from the second quarter of the time to the last.
MOST_GROWTH = 6e6


class Publisher:
    """Sends the commands. paho keeps what finds no broker and sends it later, as real clients do."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        self._ledger = ledger
        self.responses_heard = 0
        client = Client(CallbackAPIVersion.VERSION2, client_id="soak", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_socket_open = no_delay
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.connect_async("127.0.0.1", port, keepalive=KEEPALIVE)
        client.loop_start()
        self._client = client

    def _on_connect(self, client: Client, *_: object) -> None:
        client.subscribe([(f"{BASE}/+/response", 1), (f"{BASE}/+/+/response", 1), (RESPONSE_TOPIC, 1)])

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self.responses_heard += 1

    def send(self, command: SoakCommand) -> None:
        self._ledger.sending(command)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = command.correlation
        if not command.own_topic:
            properties.ResponseTopic = RESPONSE_TOPIC
        if command.expiry is not None:
            properties.MessageExpiryInterval = command.expiry
        self._client.publish(
            f"{BASE}/{command.topic}", command.payload, qos=1, retain=command.retain, properties=properties
        )

    def get(self, unit: str) -> None:
        self._client.publish(f"{BASE}/{unit}/get", b"", qos=1)

    def remove(self, topic: str) -> None:
        """Take a retained command from the broker again, which is no command."""
        self._client.publish(f"{BASE}/{topic}", b"", qos=1, retain=True)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Soak:
    """One run."""

    def __init__(self, folder: Path, *, units: int, seed: int) -> None:
        self.seed = seed
        self.violations: list[str] = []
        self.completed = False
        self.faults: Counter[str] = Counter()
        self._folder = folder
        self._started = time.monotonic()
        # One for each stream of events: what happens in one of them must not depend on how fast the others go.
        self._randoms = {
            name: random.Random(f"{name} {seed}")
            for name in ("command", "get", "unit fault", "broker fault", "retained")
        }
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._memory: list[tuple[float, int]] = []

        names = [f"psu{number:02}" for number in range(1, units + 1)]
        self.ledger = Ledger(BASE, names, self._complain)
        self._reactor = Reactor("units")
        self._reactor.start()
        self._units = [
            WatchedUnit(name, number, seed, self.ledger, self._reactor) for number, name in enumerate(names, 1)
        ]
        self._broker = LocalBroker(folder, kind="mosquitto", conf="max_queued_messages 100000")
        self._broker.start()
        self._tap = Tap(self._broker.port, self.ledger)
        self._publisher = Publisher(self._broker.port, self.ledger)
        self._commands = Commands(names, seed)
        channels: dict[int, dict[str, Any]] = {
            index: {"voltage_max": voltage, "current_max": current} for index, (voltage, current) in LIMITS.items()
        }
        # Some outputs go off by themselves when the broker stays away, which is one more hand on them.
        channels[3] |= {"on_broker_loss": "off", "broker_loss_after": 3}
        self._agent = Agent(
            folder,
            self._tap.port,
            [unit.simulator.resource for unit in self._units],
            names=names,
            poll_interval=POLL_INTERVAL,
            settings={"mqtt": {"host": "127.0.0.1", "port": self._tap.port, "keepalive": KEEPALIVE}},
            channels=channels,
            pyvisa_args={"timeout": round(TIMEOUT * 1000), "open_timeout": round(TIMEOUT * 1000)},
        )

    def _complain(self, what: str) -> None:
        self.violations.append(what)
        print(f"{time.monotonic() - self._started:7.1f} s: VIOLATION of {what}", file=sys.stderr, flush=True)

    # --- the run

    def run(self, seconds: float) -> None:
        """Commands and faults for so long; then everything heals, and what is still due has to come."""
        self._agent.wait_until(self.ledger.quiet, "all units are online", 60)
        self._begin = self._measure()
        start = time.monotonic()
        for action in (self._command, self._get, self._unit_fault, self._broker_fault, self._look):
            self._in(0.0, action)
        while (now := time.monotonic()) < start + seconds and self._agent.popen.poll() is None:
            due, _, action = self._actions[0]
            if due > now:
                time.sleep(min(due - now, start + seconds - now))
                continue
            heapq.heappop(self._actions)
            action()
        self.duration = time.monotonic() - start
        if self._agent.popen.poll() is not None:
            self._complain(f"the agent ended by itself with status {self._agent.popen.returncode}")
            return
        self._rest()

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._actions, (time.monotonic() + seconds, next(self._order), action))

    def _again(self, stream: str, interval: float, action: Callable[[], None]) -> random.Random:
        rng = self._randoms[stream]
        self._in(rng.expovariate(1 / interval), action)
        return rng

    def _command(self) -> None:
        self._again("command", COMMAND_INTERVAL, self._command)
        for command in self._commands.next():
            self._publisher.send(command)
            if command.retain:
                seconds = self._randoms["retained"].uniform(0.2, 5)
                self._in(seconds, functools.partial(self._publisher.remove, command.topic))

    def _get(self) -> None:
        self._publisher.get(self._again("get", GET_INTERVAL, self._get).choice(self._units).name)

    def _unit_fault(self) -> None:
        unit = self._again("unit fault", UNIT_FAULT_INTERVAL, self._unit_fault).choice(self._units)
        name, undo = unit.fault()
        self.faults[name] += 1
        if undo is not None:
            self._in(*undo)

    def _broker_fault(self) -> None:
        rng = self._randoms["broker fault"]
        fault = rng.choice(
            [self._kill_broker, self._restart_broker, self._stop_broker, self._cut_connection, self._hold_connection]
        )
        lasts = fault()
        self._in(lasts + rng.expovariate(1 / BROKER_FAULT_INTERVAL), self._broker_fault)

    def _kill_broker(self) -> float:
        self.faults["broker killed"] += 1
        self._broker.kill()
        return self._start_broker_later()

    def _restart_broker(self) -> float:
        self.faults["broker restarted"] += 1
        self._broker.stop()
        return self._start_broker_later()

    def _start_broker_later(self) -> float:
        away = self._randoms["broker fault"].choice([0.0, 0.5, 2.0, 8.0])
        self._in(away, self._broker.start)
        return away

    def _stop_broker(self) -> float:
        """A broker that hangs, for less than the keep-alive or for longer."""
        self.faults["broker hangs"] += 1
        lasts = self._randoms["broker fault"].choice([0.5, 2.0, 9.0])
        self._signal_broker(signal.SIGSTOP)
        self._in(lasts, lambda: self._signal_broker(signal.SIGCONT))
        return lasts

    def _signal_broker(self, number: signal.Signals) -> None:
        if self._broker.pid is not None:
            os.kill(self._broker.pid, number)

    def _cut_connection(self) -> float:
        self.faults["broker connection cut"] += 1
        self._tap.cut()
        return 0.0

    def _hold_connection(self) -> float:
        """Nothing passes, and nobody is told."""
        self.faults["broker connection black-holed"] += 1
        lasts = self._randoms["broker fault"].choice([0.5, 3.0, 10.0])
        self._tap.hold()
        self._in(lasts, self._tap.release)
        return lasts

    def _look(self) -> None:
        self._in(1.0, self._look)
        self.ledger.sweep()
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
        if self._broker.pid is None:
            self._broker.start()
        self._signal_broker(signal.SIGCONT)
        self._tap.release()
        for unit in self._units:
            unit.heal()
        start = time.monotonic()
        try:
            wait_until(self.ledger.quiet, "everything healed", LONGEST_REST)
        except BenchmarkError as error:
            self._complain(f"healing: {error}; still due: {'; '.join(self.ledger.due()[:10])}")
        self.healing = time.monotonic() - start
        self._end = self._measure()
        start = time.monotonic()
        status = self._agent.stop(timeout=2 * LONGEST_STOP)
        self.stopping = time.monotonic() - start
        if status != 0 or self.stopping > LONGEST_STOP:
            self._complain(f"stopping: it took {self.stopping:.1f} s and ended with status {status}")
        self._judge()
        self.completed = True

    def _judge(self) -> None:
        with contextlib.closing(sqlite3.connect(self._folder / "state" / "bench.sqlite3")) as database:
            self.ledger.kept(
                [(topic, bytes(payload)) for topic, payload in database.execute("SELECT topic, payload FROM samples")],
                [
                    (topic, bytes(payload), correlation)
                    for topic, payload, correlation in database.execute(
                        "SELECT topic, payload, correlation FROM messages"
                    )
                ],
            )
        self.ledger.close()
        if "Traceback" in self._agent.log.read_text():
            self._complain("the agent's log: there is a traceback in it")
        _, threads, descriptors = self._begin
        _, threads_after, descriptors_after = self._end
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
        self._agent.stop()
        self._publisher.close()
        self._tap.close()
        if self._broker.pid is not None:
            self._signal_broker(signal.SIGCONT)
        self._broker.stop()
        for unit in self._units:
            unit.simulator.stop()
        self._reactor.stop()

    # --- what it found

    def figures(self) -> list[Figure]:
        """The table, if the run came to its end."""
        ledger, counts = self.ledger, self.ledger.counts
        by_rule = Counter(violation.partition(":")[0] for violation in self.violations)
        refused = ", ".join(f"{count} `{code}`" for code, count in ledger.outcomes.most_common() if code != "ok")
        unit_faults = {name: count for name, count in self.faults.items() if not name.startswith("broker")}
        broker_faults = {name: count for name, count in self.faults.items() if name.startswith("broker")}
        memory, threads, descriptors = self._begin
        memory_after, threads_after, descriptors_after = self._end
        growth = "" if self.growth is None else f"; second quarter to last: {self.growth / 1e6:+.1f} MB"
        return [
            Figure("duration, units, seed", f"{self.duration / 60:.1f} min, {len(self._units)}, {self.seed}"),
            Figure("faults of units", _listed(unit_faults)),
            Figure("faults of the broker", _listed(broker_faults)),
            Figure(
                "commands delivered to units", f"{counts['deliveries']}, {counts['deliveries cut off']} of them cut off"
            ),
            Figure(
                "responses; commands without exactly one",
                f"{counts['responses']}, {counts['responses sent again']} sent again after a lost connection; "
                f"{by_rule['rule 1']}",
                "0",
                by_rule["rule 1"] == 0,
            ),
            Figure("carried out; refused", f"{ledger.outcomes['ok']}; {refused}"),
            Figure("confirmed, but not done", str(by_rule["rule 6"]), "0", by_rule["rule 6"] == 0),
            Figure(
                "outputs turned on by the agent; without a command that was good for it",
                f"{counts['outputs turned on']}; {by_rule['rule 2']}",
                "0",
                by_rule["rule 2"] == 0,
            ),
            Figure(
                "setpoints received by units; above a limit",
                f"{counts['setpoints']}; {by_rule['rule 3']}",
                "0",
                by_rule["rule 3"] == 0,
            ),
            Figure(
                "samples; missing, or two with one `seq`",
                f"{counts['samples']}, {counts['backlog']} by the backlog; {by_rule['rule 4']}",
                "0",
                by_rule["rule 4"] == 0,
            ),
            Figure(
                "states that the unit did not answer at that time", str(by_rule["rule 5"]), "0", by_rule["rule 5"] == 0
            ),
            *(
                Figure(f"delivered to answered, {kind}: median, 99 %", _percentiles(delays))
                for kind, delays in sorted(ledger.delays.items())
            ),
            Figure(
                "everything well again after the last fault, within",
                f"{self.healing:.1f} s",
                f"{LONGEST_REST:g} s",
                by_rule["healing"] == 0,
            ),
            Figure("stopped within", f"{self.stopping:.2f} s", f"{LONGEST_STOP:g} s", self.stopping <= LONGEST_STOP),
            Figure(
                "memory at the beginning, at the end",
                f"{memory / 1e6:.0f} MB, {memory_after / 1e6:.0f} MB{growth}",
                f"≤ {MOST_GROWTH / 1e6:+.0f} MB",
                by_rule["memory"] == 0,
            ),
            Figure(
                "threads and descriptors at the beginning, at the end",
                f"{threads} and {descriptors}, {threads_after} and {descriptors_after}",
                "no more",
                by_rule["leaks"] == 0,
            ),
            Figure("violations in all", str(len(self.violations)), "0", not self.violations),
        ]


def _listed(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{count} {name.removeprefix('broker ')}" for name, count in sorted(counts.items()))
    return f"{sum(counts.values())}: {parts}"


def _percentiles(delays: list[float]) -> str:
    if len(delays) < 2:
        return "–"
    return f"{statistics.median(delays) * 1e3:.0f} ms, {statistics.quantiles(delays, n=100)[98] * 1e3:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--units", type=int, default=20)
    parser.add_argument("--seed", type=int, help="of an earlier run, to have the same commands and faults again")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and state; default: nowhere")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"soaking for {arguments.minutes:g} min with seed {seed}", file=sys.stderr, flush=True)
    with contextlib.ExitStack() as stack:
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=arguments.keep.resolve()))
            print(f"logs and state: {folder}", file=sys.stderr)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="psu-agent-soak-")))
        soak = Soak(folder, units=arguments.units, seed=seed)
        stack.callback(soak.close)
        soak.run(arguments.minutes * 60)
        if soak.completed:
            print(table(soak.figures()))
            print(f"\n{machine()}")
    if soak.violations:
        again = f"make soak MINUTES={arguments.minutes:g} UNITS={arguments.units} SEED={seed}"
        print(f"\n{len(soak.violations)} violations; the same commands and faults again: {again}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The agent is killed at random moments, under load: ``python -m tests.faults.kills [ROUNDS] [SEED]``, figures on stdout.

Exits with 1 if a command that it had acknowledged got no response or two different ones, or if a sample is missing that it had
the time to keep. The link to the broker is cut all the time, so that the backlog is in use. The broker goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import AgentProcess, Observer, settings, unit, wait_until
from tests.soak.tap import Publish, Tap
from tests.support import inside
from tests.support.observer import no_delay

UNITS = ("psu1", "psu2")
#: s before a kill. A sample that was taken earlier, and not delivered, is in the file: the store gathers them for 20 ms.
_TIME_TO_KEEP = 0.5
#: s between two commands.
_PAUSE = 0.01

Answer = tuple[bytes, str]
"""A command's Correlation Data, and the unit that answers."""


@dataclass
class Figures:
    """What was seen. The last three must be 0."""

    rounds: int = 0
    cuts: int = 0
    sent: int = 0
    acknowledged: int = 0
    answers: int = 0
    uncertain: int = 0
    answers_twice: int = 0
    samples: int = 0
    samples_twice: int = 0
    unanswered: list[Answer] = field(default_factory=list)
    contradicted: list[Answer] = field(default_factory=list)
    lost: list[tuple[int, str, int, int]] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not (self.unanswered or self.contradicted or self.lost)

    def __str__(self) -> str:
        shown = (f"{name} {len(value) if isinstance(value, list) else value}" for name, value in vars(self).items())
        return ", ".join(shown)


class _Acknowledged:
    """Knows which commands the agent has told the broker that it took. An observer of a `Tap`."""

    def __init__(self) -> None:
        self._delivered: dict[tuple[int, int], list[Answer]] = {}
        self.answers: set[Answer] = set()

    def delivered(self, connection: int, packet: Publish) -> None:
        if packet.correlation is not None:
            psu = packet.topic.split("/")[1]
            units = UNITS if psu == "all" else (psu,)
            self._delivered[connection, packet.mid] = [(packet.correlation, name) for name in units]

    def agent_acknowledged(self, connection: int, mid: int) -> None:
        self.answers.update(self._delivered.pop((connection, mid), ()))

    def connected(self, connection: int) -> None: ...
    def published(self, connection: int, packet: Publish) -> None: ...
    def broker_acknowledged(self, connection: int, mid: int) -> None: ...
    def disconnected(self, connection: int) -> None: ...


class _Commander:
    """Sends commands of all kinds, some hundred a second, in a thread."""

    def __init__(self, port: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_socket_open = no_delay
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._ending.wait(_PAUSE):
            self.sent += 1
            topic, command = self._command()
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = b"%d" % self.sent
            if self._random.random() < 0.5:
                properties.ResponseTopic = "clients/kills"
            payload = json.dumps({"id": f"kill {self.sent}", **command})
            self._client.publish(topic, payload, qos=1, properties=properties)

    def _command(self) -> tuple[str, dict[str, Any]]:
        choice = self._random.random()
        name, channel = self._random.choice(UNITS), self._random.randint(1, 3)
        volts = self._random.randint(0, 50) / 10
        if choice < 0.05:
            return "psu/all/set", {"state": False}
        if choice < 0.15:
            return f"psu/{name}/set", {"state": False}
        if choice < 0.25:
            return f"psu/{name}/{channel}/set", {"voltage_limit": volts, "ramp": 5}
        if choice < 0.3:
            return f"psu/{name}/{channel}/set", {"cycle": 0.3}
        if choice < 0.4:
            return f"psu/{name}/{channel}/set", {"voltage_limit": "much"}
        return f"psu/{name}/{channel}/set", {"voltage_limit": volts, "state": self._random.random() < 0.5}


def run(rounds: int, folder: Path, seed: int = 0) -> Figures:
    """Start and kill the agent that many times, start it once more, and look at what came."""
    chance = random.Random(seed)
    figures = Figures()
    books = _Acknowledged()
    runs: list[tuple[float, float]] = []  # from its start to its end, by the wall clock
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(LocalBroker(folder, kind="mosquitto"))
        tap = Tap(broker.port, books)
        stack.callback(tap.close)
        observer = Observer(broker.port)
        stack.callback(observer.close)
        simulators = [Simulator(latency=0.003).start() for _ in UNITS]
        for simulator in simulators:
            stack.callback(simulator.stop)
        units = [unit(name, simulator) for name, simulator in zip(UNITS, simulators, strict=True)]
        agent = AgentProcess(settings(tap.port, units, folder / "state", poll_interval=0.03), folder)
        stack.callback(agent.kill)

        def start(*, waits: bool = True) -> None:
            after = observer.mark()
            runs.append((time.time(), 0.0))
            agent.start(before=inside.MEASURE_OFTEN + inside.WAIT_FOR_THE_DISK)
            if waits:
                observer.wait_agent(after=after)

        start()
        with _Commander(broker.port, seed) as commander:
            for _ in range(rounds):
                for _ in _moments(chance, chance.uniform(0.05, 2.0)):
                    tap.cut()
                    figures.cuts += 1
                runs[-1] = (runs[-1][0], time.time())
                agent.kill()
                figures.rounds += 1
                start(waits=chance.random() > 0.2)  # some are killed before they are connected, or in that moment
        figures.sent = commander.sent
        observer.wait("psu/agents/bench/metrics", after=observer.mark())
        _settle(observer, books)
        runs[-1] = (runs[-1][0], time.time())
        assert agent.stop() == 0
    _judge(figures, observer, books.answers, runs)
    return figures


def _moments(chance: random.Random, seconds: float) -> Iterator[None]:
    """Some moments within this time, in which it passes."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, chance.uniform(0.1, 0.8)))
        if time.monotonic() < end:
            yield


def _settle(observer: Observer, books: _Acknowledged) -> None:
    """Wait for the last response, and for the end of the backlog."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: books.answers <= _answers(observer).keys(), "every response")
    observer.wait("psu/agents/bench/metrics", lambda m: m["backlog"] == 0, after=observer.mark(), timeout=40)


def _answers(observer: Observer) -> dict[Answer, list[bytes]]:
    found: dict[Answer, list[bytes]] = defaultdict(list)
    for message in list(observer.received):
        if message.correlation is not None and (message.topic == "clients/kills" or "/response" in message.topic):
            found[message.correlation, message.json["psu"]].append(message.payload)
    return found


def _judge(figures: Figures, observer: Observer, acknowledged: set[Answer], runs: list[tuple[float, float]]) -> None:
    answers = _answers(observer)
    figures.acknowledged = len(acknowledged)
    figures.answers = len(answers)
    figures.uncertain = sum(b'"uncertain"' in payloads[0] for payloads in answers.values())
    figures.answers_twice = sum(len(payloads) > 1 for payloads in answers.values())
    figures.contradicted = [answer for answer, payloads in answers.items() if len(set(payloads)) > 1]
    figures.unanswered = sorted(acknowledged - answers.keys())
    samples: dict[tuple[int, str, int], dict[int, float]] = defaultdict(dict)  # run, unit, channel → seq → time
    for message in list(observer.received):
        parts = message.topic.split("/")
        if parts[-1] not in ("state", "backlog") or message.retain or len(parts) != 4 or parts[2] == "set":
            continue
        sample = message.json
        moment = datetime.fromisoformat(sample["time"]).timestamp()
        number = max((n for n, (start, _) in enumerate(runs) if start <= moment + 0.001), default=0)
        channel = samples[number, sample["psu"], sample["index"]]
        figures.samples += 1
        figures.samples_twice += sample["seq"] in channel
        channel[sample["seq"]] = moment
    for (number, name, index), seqs in samples.items():
        end = runs[number][1]
        kept = max((seq for seq, moment in seqs.items() if moment < end - _TIME_TO_KEEP), default=0)
        figures.lost += [(number, name, index, seq) for seq in range(1, kept + 1) if seq not in seqs]


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int.from_bytes(os.urandom(2))
    with tempfile.TemporaryDirectory() as folder:
        figures = run(rounds, Path(folder), seed)
    print(f"seed {seed}: {figures}")
    for name in ("unanswered", "contradicted", "lost"):
        print(*(f"{name}: {what}" for what in getattr(figures, name)[:10]), sep="\n")
    return 0 if figures.is_well else 1


if __name__ == "__main__":
    sys.exit(main())

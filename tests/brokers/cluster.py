"""Three NATS nodes lose one under load, again and again: ``python -m tests.brokers.cluster [ROUNDS] [UNITS] [RATE]``.

Two agents, a listener with a session that the broker keeps, and a client that sends commands and sends each again until it is
answered, all through relays that connect to a node that lives (as HAProxy or a name with three addresses would). In each round
the node that the agents are on is killed (SIGKILL) and started again, and then another one. Exits with 1 if a sample did not
arrive, if a command was carried out twice, or if one got no answer.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from agent.local.ports import free_port
from agent.simulator import Simulator
from tests.brokers import page
from tests.brokers.listener import Listener, gaps
from tests.brokers.nats import VERSION, NatsNode
from tests.lab import AgentProcess, settings, unit, wait_until
from tests.support.relay import Relay, connected

_AGENTS = ("bench1", "bench2")
#: s of load between two changes; s between two commands; s after which a command without an answer is sent again.
_LOADED, _PAUSE, _AGAIN = 3.0, 0.1, 3.0
#: s for a cluster to be whole again, and for the last samples.
_LONG = 300.0
_VOLTS = re.compile(r"VOLT(?:AGE)?\S* ([\d.]+)")


class _Node(NatsNode):
    """A node that tells by HTTP if it has caught up with the others."""

    def configuration(self) -> str:
        self.health_port = free_port()
        return json.dumps({**json.loads(super().configuration()), "http": f"{self.host}:{self.health_port}"}, indent=1)

    def is_well(self) -> bool:
        """It has all that the others have."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.health_port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False


class Switch(Relay):
    """Connects each client to the first node, from ``first`` on, that takes the connection."""

    def __init__(self, nodes: list[_Node], first: int) -> None:
        self._nodes = nodes
        self.first = first
        #: The node of the newest connection.
        self.current = first
        super().__init__(nodes[first].port)

    def connected(self) -> socket.socket:
        count = len(self._nodes)
        for number in range(self.first, self.first + count):
            with contextlib.suppress(OSError):
                connection = connected(self._nodes[number % count].port)
                self.current = number % count
                return connection
        raise ConnectionRefusedError("no node lives")


@dataclass
class Figures:
    """What was seen. The last three must be empty."""

    version: str = VERSION.removeprefix("v")
    rounds: int = 0
    units: int = 0
    seconds: float = 0.0
    samples: int = 0
    #: Samples that came twice or more, as states or as backlog.
    doubled: int = 0
    backlog: int = 0
    commands: int = 0
    #: Times that a command was sent again.
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    #: s without a sample of an agent at the listener, for each kill of the agents' node.
    outages: list[float] = field(default_factory=list)
    #: The same for kills of a node that nobody of them is on.
    others: list[float] = field(default_factory=list)
    lost: list[tuple[str, str, int, int]] = field(default_factory=list)
    twice: list[tuple[str, float]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Nothing is lost, done twice or unanswered."""
        return not (self.lost or self.twice or self.unanswered)

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds

    def __str__(self) -> str:
        return "\n".join(f"{name}: {len(v) if name == 'lost' else v}" for name, v in vars(self).items())


class _Commander(threading.Thread):
    """Sends commands, one after another, each with an id and a voltage of its own, and again until it is answered."""

    def __init__(self, port: int, units: list[str], figures: Figures) -> None:
        super().__init__(daemon=True)
        self._listener = Listener(port, "3.1.1", "psu/+/1/response", {})
        self._units = units
        self._figures = figures
        self._ending = threading.Event()
        self.sent: dict[str, tuple[str, float]] = {}

    def run(self) -> None:
        number = 0
        while not self._ending.wait(_PAUSE):
            number += 1
            name, psu, volts = f"c{number}", self._units[number % len(self._units)], round(0.001 * number, 3)
            self.sent[name] = (psu, volts)
            self._figures.commands += 1
            self._until_answered(name, psu, volts)

    def _until_answered(self, name: str, psu: str, volts: float) -> None:
        for attempt in range(60):
            self._figures.repeated += attempt > 0
            # paho sends it again by itself after a reconnection, too.
            self._listener.send(f"psu/{psu}/1/set", {"id": name, "voltage_limit": volts})
            deadline = time.monotonic() + _AGAIN
            while time.monotonic() < deadline:
                answers = [m.json for m in self._listener.on(f"psu/{psu}/1/response") if m.json["id"] == name]
                if answers:
                    if not answers[0]["ok"]:
                        self._figures.refused[answers[0]["error"]["code"]] += 1
                    return
                time.sleep(0.01)
        self._figures.unanswered.append(name)

    def end(self) -> None:
        """Send no further one; wait for the answer to the last."""
        self._ending.set()
        self.join()
        self._listener.close()


class _Gap:
    """The longest time without a new sample of an agent at the listener, from now until `end`."""

    def __init__(self, listener: Listener, agents: tuple[str, ...]) -> None:
        self._listener, self._agents = listener, agents
        self._after = len(listener.received)
        self._begun = time.monotonic()

    def end(self) -> float:
        longest = 0.0
        for name in self._agents:
            mark = f'"agent":"{name}"'.encode()
            moments = [
                m.moment for m in self._listener.received[self._after :] if mark in m.payload.replace(b'": "', b'":"')
            ]
            times = [self._begun, *moments, time.monotonic()]
            longest = max(longest, *(b - a for a, b in itertools.pairwise(times)))
        return longest


class Scene:
    """The cluster and all its clients."""

    def __init__(self, folder: Path, units: int, interval: float, *, build: bool = False) -> None:
        routes = [free_port() for _ in range(3)]
        self.nodes = [_Node(folder / f"node{n}", routes=routes, number=n, build=build) for n in range(3)]
        self.figures = Figures(units=2 * units)
        self._folder, self._count, self._interval = folder, units, interval
        self._stack = contextlib.ExitStack()
        self.names = [[f"psu{n}{k}" for k in range(units)] for n in (1, 2)]
        self.simulators: dict[str, Simulator] = {}

    def __enter__(self) -> Self:
        stack = self._stack
        for node in self.nodes:
            stack.callback(node.close)
            node.start()
        self._wait_whole()
        self.switches = [stack.enter_context(Switch(self.nodes, first)) for first in (0, 2, 2)]
        agents, listeners, commanders = (switch.port for switch in self.switches)
        self.listener = stack.enter_context(_first(listeners))
        for agent, names in zip(_AGENTS, self.names, strict=True):
            for name in names:
                self.simulators[name] = stack.enter_context(Simulator())
            data = settings(
                agents,
                [unit(name, self.simulators[name], poll_interval=self._interval) for name in names],
                self._folder / agent,
                mqtt={"keepalive": 15},
                agent=agent,
            )
            stack.enter_context(AgentProcess(data, self._folder / f"{agent}.run"))
        every = [name for names in self.names for name in names]
        wait_until(lambda: all(self.listener.on(f"psu/{name}/3/state") for name in every), "all units' states", _LONG)
        self.commander = _Commander(commanders, every, self.figures)
        self.commander.start()
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def round(self) -> None:
        """The agents' node is killed and started again, and then another one."""
        agents = self.switches[0]
        self.figures.outages.append(self._lose(agents.current))
        others = [number for number in range(3) if number not in {switch.current for switch in self.switches}]
        self.figures.others.append(self._lose(others[0] if others else (agents.current + 1) % 3))
        self.figures.rounds += 1

    def _lose(self, number: int) -> float:
        """Kill a node and start it again, under load: the longest time (s) without a sample of one of the agents."""
        gap = _Gap(self.listener, _AGENTS)
        node = self.nodes[number]
        node.kill()
        self._wait_served()  # by the two others
        time.sleep(_LOADED)
        node.start()
        self._wait_whole()
        self._wait_served()
        time.sleep(_LOADED)
        return round(gap.end(), 1)

    def _wait_whole(self) -> None:
        """Until each node has caught up, and serves a client: its first one has it ask the others for the streams of MQTT."""
        wait_until(lambda: all(node.is_well() for node in self.nodes), "the cluster to be whole", _LONG)
        for node in self.nodes:
            wait_until(node.accepts_client, "each node to serve a client", _LONG)

    def _wait_served(self) -> None:
        """Until each agent's samples come as states, and a command that is sent from now on is answered."""
        after, sent = len(self.listener.received), self.figures.commands
        wait_until(
            lambda: (
                all(self.listener.on(f"psu/{names[0]}/1/state", after) for names in self.names)
                and self.figures.commands > sent + 2
            ),
            "the agents to be served again",
            _LONG,
        )

    def end(self) -> Figures:
        """Send no more commands, wait until nothing is missing, and count."""
        figures = self.figures
        self.commander.end()
        self.figures.seconds = round(time.monotonic() - self._begun, 1)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not any(gaps(seqs) for seqs in self.listener.samples().values()), "all samples", 30)
        for (agent, psu, index), seqs in self.listener.samples().items():
            figures.lost += [(agent, psu, index, seq) for seq in gaps(seqs)]
            figures.samples += len(set(seqs))
            figures.doubled += len(seqs) - len(set(seqs))
        figures.backlog = sum(m.topic.endswith("/backlog") for m in self.listener.received)
        for psu, volts in self.commander.sent.values():
            written = [float(found.group(1)) for found in self._writes(psu)]
            if written.count(volts) > 1:
                figures.twice.append((psu, volts))
        return figures

    def _writes(self, psu: str) -> Iterator[re.Match[str]]:
        log: list[Any] = list(self.simulators[psu].instrument.log)
        for message in log:
            for part in str(message).split(";"):
                if "?" not in part and (found := _VOLTS.search(part)):
                    yield found


def _first(port: int) -> Listener:
    """The first client of a cluster: its streams are made for it, which may take longer than a client waits."""
    return Listener(port, "3.1.1", "psu/#", {}, client_id="listener")


def run(folder: Path, rounds: int, units: int, rate: float, *, build: bool = False) -> Figures:
    """Rounds of kills with two agents of some units each, polled at a rate (Hz)."""
    with Scene(folder, units, 1 / rate, build=build) as scene:
        for _ in range(rounds):
            scene.round()
        return scene.end()


def table(figures: Figures) -> str:
    """The figures as docs/brokers.md shows them."""
    outages, others = figures.outages, figures.others
    rows = {
        "Brokers": f"three nodes of NATS Server {figures.version}, `stream_replicas: 3`",
        "Agents": f"two, with {figures.units} simulated E36313A together, three channels each",
        "Load": f"{figures.rate:.0f} samples a second for {figures.seconds:.0f} s, {figures.commands} commands",
        "Kills (SIGKILL), each started again": f"{len(outages)} of the agents' node, {len(others)} of another one",
        "Samples without a node, until they arrive again: the agents' node": _spread(outages),
        "The same: another node": _spread(others),
        "Samples": f"{figures.samples}, of which {figures.backlog} messages came as backlog",
        "Samples lost": str(len(figures.lost)),
        "Samples that came more than once": str(figures.doubled),
        "Commands sent again for want of an answer": str(figures.repeated),
        "Commands refused": ", ".join(f"{n} {code}" for code, n in figures.refused.most_common()) or "none",
        "Commands carried out twice": str(len(figures.twice)),
        "Commands never answered": str(len(figures.unanswered)),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"| {dt.datetime.now(dt.UTC).date().isoformat()} | |", "| --- | --- |", *lines])


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "–"
    return f"{min(seconds):.0f} to {max(seconds):.0f} s, median {statistics.median(seconds):.0f} s"


def main() -> int:
    """Print the figures, and write them into docs/brokers.md."""
    rounds, units, rate = (int(text) for text in [*sys.argv[1:], *("10", "5", "10")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory(prefix="psu-cluster-") as folder:
        figures = run(Path(folder), rounds, units, rate, build=True)
    sys.stdout.write(f"{figures}\n")
    text = page.PAGE.read_text(encoding="utf-8")
    page.PAGE.write_text(page.written(text, "cluster", table(figures)), encoding="utf-8")
    return 0 if figures.is_well else 1


if __name__ == "__main__":
    sys.exit(main())

"""Units in a process of their own: simulated supplies, or one that answers with canned lines at once.

Prints one JSON line with the resource names; then answers each line of its input with one JSON line: ``counts`` (messages
received, by unit), ``log`` (the messages of the first unit), ``clear``. It ends with its input.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import sys
import threading
from typing import Protocol

from agent.simulator.e36300 import E36300
from agent.simulator.loads import Wander
from agent.simulator.reactor import Reactor
from agent.simulator.simulator import Simulator


class Units(Protocol):
    """Any number of units on loopback."""

    @property
    def resources(self) -> list[str]: ...
    def counts(self) -> list[int]: ...
    def log(self) -> list[str]: ...
    def clear(self) -> None: ...


class SimulatedUnits:
    """E36313As with wandering loads, all served by one thread. ``latency``: seconds that a message takes."""

    def __init__(self, count: int, latency: float) -> None:
        reactor = Reactor("units")
        reactor.start()
        self._simulators = [
            Simulator(
                "E36313A",
                latency=latency,
                loads={n: Wander(mean=0.5, amplitude=0.4, period=20.0, seed=3 * number + n) for n in range(1, 4)},
                reactor=reactor,
            ).start()
            for number in range(count)
        ]

    @property
    def resources(self) -> list[str]:
        return [simulator.resource for simulator in self._simulators]

    def counts(self) -> list[int]:
        return [simulator.instrument.message_count for simulator in self._simulators]

    def log(self) -> list[str]:
        return self._simulators[0].instrument.log

    def clear(self) -> None:
        for simulator in self._simulators:
            simulator.instrument.clear_log()


class CannedUnit:
    """One E36313A that says what a simulated one said first, and nothing else: the least that a peer can do."""

    def __init__(self) -> None:
        self._instrument = E36300("E36313A", noise=False)
        self._answers: dict[bytes, bytes] = {}
        self._count = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def resources(self) -> list[str]:
        return [f"TCPIP::127.0.0.1::{self._server.getsockname()[1]}::SOCKET"]

    def counts(self) -> list[int]:
        return [self._count]

    def log(self) -> list[str]:
        return [message.decode() for message in self._answers]

    def clear(self) -> None:
        self._count = 0

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        answers = self._answers
        # Its clients send one message and wait for the answer, so what comes in is one message.
        while data := connection.recv(65536):
            self._count += 1
            answer = answers.get(data)
            if answer is None:
                said = self._instrument.execute(data.decode().rstrip("\n"))
                answer = answers[data] = b"" if said is None else said.encode() + b"\n"
            if answer:
                connection.sendall(answer)


def _allow_many_files() -> None:
    """Two sockets a unit are more than most systems allow a process by default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(description="simulated units, for the benchmarks")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.0, metavar="S")
    parser.add_argument("--canned", action="store_true")
    arguments = parser.parse_args()
    _allow_many_files()
    units: Units = CannedUnit() if arguments.canned else SimulatedUnits(arguments.count, arguments.latency)
    print(json.dumps(units.resources), flush=True)
    for line in sys.stdin:
        match line.strip():
            case "counts":
                answer: object = units.counts()
            case "log":
                answer = units.log()
            case "clear":
                units.clear()
                answer = None
            case other:
                answer = f"unknown: {other}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""Units in a process of their own: simulated supplies, some of them out of order, or one with canned answers.

Prints one JSON line with the resource names; then answers each line of its input with one JSON line: ``counts`` (messages
received, by unit), ``log`` (the messages of the first unit), ``clear``, ``unplug`` (every connection is reset and new ones are
refused), ``plug`` (as before), ``hang N`` (the unit of that number takes messages and answers no more), ``writes`` (with
``--stamped``: unit, moment of ``time.monotonic`` and text of each message without an answer that came in since the last time).
It ends with its input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from agent.simulator import E36300, Quirks, Reactor, Simulator
from agent.simulator import simulator as simulators
from agent.simulator.exchange import Answered, Exchange
from agent.simulator.loads import Wander
from tests.support.messages import writes_in

#: Below the ports that the system gives to clients: a client that asked for a port which refuses could be given that very
#: port as its own, and TCP would connect it with itself.
_PORTS = range(10_000, 30_000)


#: Serial number of the unit, moment and text of each setting that came in.
_writes: list[tuple[str, float, str]] = []


class StampedExchange(Exchange):
    """Notes when a message came in, which on a unit that takes its time is earlier than when it is carried out."""

    def submit(self, owner: object, data: bytes, answered: Answered) -> None:
        moment = time.monotonic()
        for text in writes_in([data.decode()]):
            assert isinstance(self.instrument, E36300)
            _writes.append((self.instrument.serial, moment, text))
        super().submit(owner, data, answered)


class Units(Protocol):
    """Any number of units on loopback."""

    @property
    def resources(self) -> list[str]: ...
    def counts(self) -> list[int]: ...
    def log(self) -> list[str]: ...
    def clear(self) -> None: ...
    def unplug(self) -> None: ...
    def plug(self) -> None: ...
    def hang(self, number: int) -> None: ...
    def writes(self) -> list[tuple[int, float, str]]: ...


class SimulatedUnits:
    """E36313As with wandering loads, all served by one thread; behind them those that can't be reached.

    :param latency: s that a message takes
    :param refusing: units at whose ports nobody listens
    :param silent: units that take connections and answer nothing
    :param missing: headers that the units do not know: they answer nothing, and report error -113
    """

    def __init__(
        self, count: int, latency: float, *, refusing: int = 0, silent: int = 0, missing: tuple[str, ...] = ()
    ) -> None:
        self._reactor = Reactor("units")
        self._reactor.start()
        self._ports = _some_ports()
        quirks = Quirks(missing=missing)
        self._simulators = [self._started(number, latency, quirks) for number in range(count)]
        self._silent = [self._started(count + number, 0.0, quirks) for number in range(silent)]
        for simulator in self._silent:
            simulator.freeze()
        self._refusing = [self._bound() for _ in range(refusing)]

    def _started(self, number: int, latency: float, quirks: Quirks) -> Simulator:
        while True:
            port = next(self._ports)
            simulator = Simulator(
                "E36313A",
                f"MY{62000000 + port}",  # unlike that of any other process's unit: an agent takes two of one number for one
                latency=latency,
                loads={n: Wander(mean=0.5, amplitude=0.4, period=20.0, seed=3 * number + n) for n in range(1, 4)},
                seed=number,
                quirks=quirks,
                reactor=self._reactor,
                socket_port=port,
            )
            try:
                return simulator.start()
            except OSError:
                continue

    def _bound(self) -> socket.socket:
        """A socket that has its port and does not listen: connections to it are refused."""
        while True:
            holder = socket.socket()
            try:
                holder.bind(("127.0.0.1", next(self._ports)))
                return holder
            except OSError:
                holder.close()

    @property
    def resources(self) -> list[str]:
        reachable = [simulator.resource for simulator in (*self._simulators, *self._silent)]
        return reachable + [f"TCPIP::127.0.0.1::{holder.getsockname()[1]}::SOCKET" for holder in self._refusing]

    def counts(self) -> list[int]:
        return [simulator.instrument.message_count for simulator in self._simulators]

    def log(self) -> list[str]:
        return self._simulators[0].instrument.log

    def clear(self) -> None:
        for simulator in self._simulators:
            simulator.instrument.clear_log()

    def unplug(self) -> None:
        for simulator in self._simulators:
            simulator.disconnect(reset=True)
            simulator.stop()

    def plug(self) -> None:
        for simulator in self._simulators:
            simulator.start()

    def hang(self, number: int) -> None:
        self._simulators[number].freeze()

    def writes(self) -> list[tuple[int, float, str]]:
        serials = [simulator.instrument.serial for simulator in self._simulators]
        found = [(serials.index(serial), moment, text) for serial, moment, text in _writes]
        del _writes[: len(found)]
        return found


class CannedUnit:
    """One E36313A that repeats the first answer of a simulated one to each message: the least that a peer can do."""

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

    def unplug(self) -> None:
        raise NotImplementedError

    def plug(self) -> None:
        raise NotImplementedError

    def hang(self, number: int) -> None:
        raise NotImplementedError

    def writes(self) -> list[tuple[int, float, str]]:
        raise NotImplementedError

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):  # so a client ends that did not end in good order
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
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


def _some_ports() -> Iterator[int]:
    """Ports to try, from somewhere on: several of these processes may run beside each other."""
    first = random.SystemRandom().randrange(len(_PORTS))
    return iter([*_PORTS[first:], *_PORTS[:first]])


def _allow_many_files() -> None:
    """Two sockets a unit are more than most systems allow a process by default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(description="simulated units, for the benchmarks")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.0, metavar="S")
    parser.add_argument("--canned", action="store_true", help="one unit that says the same again and again")
    parser.add_argument("--refusing", type=int, default=0, metavar="N", help="more units, that refuse connections")
    parser.add_argument("--silent", type=int, default=0, metavar="N", help="more units, that answer nothing")
    parser.add_argument("--missing", action="append", default=[], metavar="HEADER", help="what the firmware lacks")
    parser.add_argument("--stamped", action="store_true", help="note when messages come in")
    arguments = parser.parse_args()
    if arguments.stamped:
        setattr(simulators, "Exchange", StampedExchange)  # noqa: B010  # the type checker knows no such change
    _allow_many_files()
    units: Units
    if arguments.canned:
        units = CannedUnit()
    else:
        units = SimulatedUnits(
            arguments.count,
            arguments.latency,
            refusing=arguments.refusing,
            silent=arguments.silent,
            missing=tuple(arguments.missing),
        )
    print(json.dumps(units.resources), flush=True)
    for line in sys.stdin:
        match line.split():
            case ["counts"]:
                answer: object = units.counts()
            case ["log"]:
                answer = units.log()
            case ["hang", number]:
                answer = units.hang(int(number))
            case [("clear" | "unplug" | "plug" | "writes") as order]:
                answer = getattr(units, order)()
            case other:
                answer = f"unknown: {other}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

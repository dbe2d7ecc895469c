"""The parts of the benchmarks: processes around one agent, a bare socket to compare with, a subscriber that counts.

The agent is always the command ``python -m agent.cli run``, looked at from outside: through MQTT, its units and /proc.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from agent.local.broker import LocalBroker
from tests.support.processes import ROOT, Process
from tests.support.waiting import PATIENCE, WaitedInVainError, wait_until

#: One poll of all three channels of an E36313A, as the agent asks for it.
POLL_MESSAGE = (
    "MEAS:VOLT? (@1,2,3);:MEAS:CURR? (@1,2,3);:VOLT? (@1,2,3);:CURR? (@1,2,3);:OUTP? (@1,2,3);:VOLT:PROT? (@1,2,3);"
    ":VOLT:PROT:TRIP? (@1,2,3);:CURR:PROT:STAT? (@1,2,3);:CURR:PROT:TRIP? (@1,2,3);:STAT:QUES:INST:ISUM1:COND?;"
    ":STAT:QUES:INST:ISUM2:COND?;:STAT:QUES:INST:ISUM3:COND?"
)


class BenchmarkError(RuntimeError):
    """Nothing can be measured, and why."""


class PipedUnits(Process):
    """Units in a process of their own, which prints their resource names first, and an answer to each line."""

    def __init__(self, log: Path, module: str, *arguments: str) -> None:
        super().__init__([sys.executable, "-m", module, *arguments], log, folder=ROOT, piped=True)
        self.resources: list[str] = []

    def start(self) -> Self:
        """Start them. Returns when they can be connected to."""
        super().start()
        self.resources = self._read()
        return self

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchmarkError(f"the simulated units ended by themselves: {self.text()}")
        return json.loads(line)

    def _ask(self, question: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(question.encode() + b"\n")
        self.process.stdin.flush()
        return self._read()


class Units(PipedUnits):
    """Units of `benchmarks.units`.

    :param options: of `benchmarks.units`, beside the number of units and their latency (s)
    """

    def __init__(self, count: int = 1, latency: float = 0.0, *options: str) -> None:
        self._folder_of_log = tempfile.TemporaryDirectory(prefix="psu-agent-bench-")
        log = Path(self._folder_of_log.name) / "units.log"
        super().__init__(log, "benchmarks.units", f"--count={count}", f"--latency={latency}", *options)
        self._writes: list[tuple[int, float, str]] = []

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder_of_log.cleanup()

    def counts(self) -> list[int]:
        """Messages that each unit has received."""
        return list(self._ask("counts"))

    def messages(self) -> list[str]:
        """The last messages that the first unit has received."""
        return list(self._ask("log"))

    def clear(self) -> None:
        """Forget what was received."""
        self._ask("clear")

    def unplug(self) -> None:
        """Take all units off the network: their connections are reset, and new ones refused."""
        self._ask("unplug")

    def plug(self) -> None:
        """Put all units back on the network, at the same addresses."""
        self._ask("plug")

    def hang(self, number: int) -> None:
        """Have a unit take messages and answer no more."""
        self._ask(f"hang {number}")

    def writes(self) -> list[tuple[int, float, str]]:
        """Unit, moment (`time.monotonic`) and text of each message without an answer so far; with ``--stamped``."""
        self._writes += [(unit, moment, text) for unit, moment, text in self._ask("writes")]
        return self._writes

    @property
    def address(self) -> tuple[str, int]:
        """Of the first unit's raw socket."""
        return address_of(self.resources[0])


class Agent(Process):
    """``psu-agent run`` with a configuration of its own, in a process of its own.

    :param settings: more of the configuration's ``settings``
    :param pyvisa_args: of every unit
    :param profile: a folder for each thread's profile; see `benchmarks.agentprocess`
    :param stderr: where it writes its log, if not into a file
    :param model: of every unit
    """

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        resources: Sequence[str],
        *,
        poll_interval: float,
        settings: dict[str, Any] | None = None,
        pyvisa_args: dict[str, Any] | None = None,
        profile: Path | None = None,
        stderr: Path | None = None,
        model: str = "E36313A",
    ) -> None:
        self.names = [f"psu{number}" for number in range(1, len(resources) + 1)]
        configuration = {
            "settings": {
                "agent": "bench",
                "state_dir": str(folder / "state"),
                "mqtt": {"host": "127.0.0.1", "port": broker_port},
                "poll_interval": poll_interval,
                **(settings or {}),
            },
            "units": [
                {"name": name, "model": model, "uri": uri, "pyvisa_args": pyvisa_args or {}}
                for name, uri in zip(self.names, resources, strict=True)
            ],
        }
        file = folder / "psu-agent.yaml"
        file.write_text(json.dumps(configuration, indent=1))  # which is YAML too
        command = ["-m", "agent.cli", "run"] if profile is None else ["-m", "benchmarks.agentprocess", str(profile)]
        super().__init__([sys.executable, *command, file], folder / "agent.log", folder=ROOT, stderr=stderr)

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """Wait for a condition.

        :raises BenchmarkError: it did not come true in time (s), or the agent has ended
        """
        try:
            wait_until(lambda: condition() or self.ended() is not None, what, timeout)
        except WaitedInVainError as error:
            raise BenchmarkError(f"{error}; the agent's log ends with: {self._end_of_log()}") from None
        if self.ended() is not None:
            raise BenchmarkError(f"the agent ended with status {self.ended()}: {self._end_of_log()}")

    def _end_of_log(self) -> str:
        return " / ".join(self.text().splitlines()[-3:])


class Subscriber(Process):
    """A `mosquitto_sub` that writes a line for each message into its log."""

    def __init__(self, log: Path, port: int, topics: Sequence[str], form: str, *, qos: int = 0) -> None:
        filters = [part for topic in topics for part in ("-t", topic)]
        super().__init__(["mosquitto_sub", "-p", str(port), "-R", "-q", str(qos), *filters, "-F", form], log)


class Counter(Subscriber):
    """A subscriber that costs little: two bytes for each message."""

    def __init__(self, folder: Path, port: int, *topics: str) -> None:
        super().__init__(folder / f"count-{len(list(folder.glob('count-*')))}", port, topics, "x")
        self.log.touch()

    @property
    def count(self) -> int:
        """Messages so far."""
        return self.log.stat().st_size // 2

    def settled(self, quiet: float = 0.1, timeout: float = 10.0) -> int:
        """The count once nothing has come for ``quiet`` seconds."""
        deadline = time.monotonic() + timeout
        count, since = self.count, time.monotonic()
        while time.monotonic() - since < quiet and time.monotonic() < deadline:
            time.sleep(0.01)
            if self.count != count:
                count, since = self.count, time.monotonic()
        return count


def samples_in_spool(folder: Path) -> int:
    """Samples that an agent which has ended kept for its next start."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "bench.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM samples").fetchone()[0])


def address_of(resource: str) -> tuple[str, int]:
    """Host and port of a raw-socket resource name."""
    match = re.fullmatch(r"TCPIP::([^:]+)::(\d+)::SOCKET", resource)
    assert match is not None, resource
    return match[1], int(match[2])


class BareSocket:
    """The plainest client: a blocking socket, a message sent, bytes received up to the newline."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def tell(self, message: str) -> None:
        """Send a message that has no answer."""
        self._socket.sendall(message.encode() + b"\n")

    def ask(self, message: str) -> bytes:
        """The answer to a message, with its newline."""
        self._socket.sendall(message.encode() + b"\n")
        answer = self._socket.recv(65536)
        while not answer.endswith(b"\n"):
            answer += self._socket.recv(65536)
        return answer

    def rate(self, message: str, seconds: float) -> float:
        """Questions answered a second."""
        count = 0
        start = time.perf_counter()
        end = start + seconds
        while (now := time.perf_counter()) < end:
            self.ask(message)
            count += 1
        return count / (now - start)


@contextlib.contextmanager
def workbench() -> Iterator[tuple[Path, LocalBroker]]:
    """A folder and a Mosquitto, gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="psu-agent-bench-") as name,
        LocalBroker(Path(name), kind="mosquitto") as broker,
    ):
        yield Path(name), broker

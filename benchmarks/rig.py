"""What the benchmarks are built from: processes around one agent, a bare socket to compare with, and tables."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.instruments.catalogue import Batching, PollPlan, candidates
from agent.local.broker import LocalBroker

ROOT = Path(__file__).resolve().parent.parent
#: What one poll of all three channels of an E36313A asks, as the agent asks it.
POLL_MESSAGE = PollPlan(candidates("E36313A")[0], Batching.COMPOUND).messages[0]
_PR_SET_PDEATHSIG = 1


class BenchmarkError(RuntimeError):
    """Nothing can be measured, and why."""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """:raises BenchmarkError: the condition did not come true in time (s)"""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {timeout:g} s in vain until {what}")
        time.sleep(0.005)


class Process:
    """A child that ends with this process, or when the context ends."""

    def __init__(self, command: Sequence[str], output: Path | None = None, *, piped: bool = False) -> None:
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        with ExitStack() as stack:
            out = stack.enter_context(output.open("wb")) if output is not None else None
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if piped else out,
                stderr=None if piped else subprocess.STDOUT,
                start_new_session=True,
                # Should this process be killed, no measurement goes on without it. Calls nothing but prctl().
                preexec_fn=(lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)) if libc else None,  # noqa: PLW1509
            )
        self.pid = self.popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def stop(self, timeout: float = 10.0) -> int:
        """End it in good order if it lets itself be ended; its exit status."""
        if self.popen.poll() is None:
            self.signal(signal.SIGCONT)
            self.popen.terminate()
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return self.popen.wait()

    # What /proc tells (Linux).

    def cpu_seconds(self) -> float:
        """Processor time of all threads so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def thread_count(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptor_count(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


class Units(Process):
    """Units in a process of their own; see `benchmarks.units`."""

    def __init__(self, count: int = 1, latency: float = 0.0, *, canned: bool = False) -> None:
        command = [sys.executable, "-m", "benchmarks.units", "--count", str(count), "--latency", str(latency)]
        super().__init__([*command, "--canned"] if canned else command, piped=True)
        self.resources: list[str] = self._read()

    def _read(self) -> Any:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise BenchmarkError("the simulated units ended by themselves")
        return json.loads(line)

    def _ask(self, question: str) -> Any:
        assert self.popen.stdin is not None
        self.popen.stdin.write(question.encode() + b"\n")
        self.popen.stdin.flush()
        return self._read()

    def counts(self) -> list[int]:
        """Messages that each unit has received."""
        return list(self._ask("counts"))

    def log(self) -> list[str]:
        """The last messages that the first unit has received."""
        return list(self._ask("log"))

    def clear(self) -> None:
        self._ask("clear")

    @property
    def address(self) -> tuple[str, int]:
        """Of the first unit's raw socket."""
        return address_of(self.resources[0])


class Agent(Process):
    """``psu-agent run`` with a configuration of its own, in a process of its own."""

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        resources: Sequence[str],
        *,
        poll_interval: float,
        names: Sequence[str] | None = None,
        settings: dict[str, Any] | None = None,
        channels: dict[int, dict[str, Any]] | None = None,
        pyvisa_args: dict[str, Any] | None = None,
        profile: Path | None = None,
    ) -> None:
        """``profile``: a folder for each thread's profile; see `benchmarks.agentprocess`."""
        self.names = list(names or (f"psu{number}" for number in range(1, len(resources) + 1)))
        configuration = {
            "settings": {
                "agent": "bench",
                "state_dir": str(folder / "state"),
                "mqtt": {"host": "127.0.0.1", "port": broker_port},
                "poll_interval": poll_interval,
                **(settings or {}),
            },
            "units": [
                {
                    "name": name,
                    "model": "E36313A",
                    "uri": uri,
                    "channels": channels or {},
                    "pyvisa_args": pyvisa_args or {},
                }
                for name, uri in zip(self.names, resources, strict=True)
            ],
        }
        file = folder / "psu-agent.yaml"
        file.write_text(json.dumps(configuration, indent=1))  # which is YAML too
        self.log = folder / "agent.log"
        command = ["-m", "agent.cli", "run"] if profile is None else ["-m", "benchmarks.agentprocess", str(profile)]
        super().__init__([sys.executable, *command, str(file)], self.log)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """:raises BenchmarkError: the condition did not come true in time (s), or the agent has ended"""
        try:
            wait_until(lambda: condition() or self.popen.poll() is not None, what, timeout)
        except BenchmarkError as error:
            raise BenchmarkError(f"{error}; the agent's log ends with: {self._last_words()}") from None
        if not condition():
            raise BenchmarkError(f"the agent ended with status {self.popen.returncode}: {self._last_words()}")

    def _last_words(self) -> str:
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-3:])


class Counter(Process):
    """A subscriber that costs little: `mosquitto_sub` writing two bytes for each message."""

    def __init__(self, folder: Path, port: int, *topics: str) -> None:
        self._file = folder / f"count-{len(list(folder.glob('count-*')))}"
        filters = [part for topic in topics for part in ("-t", topic)]
        super().__init__(["mosquitto_sub", "-p", str(port), "-R", "-q", "0", *filters, "-F", "x"], self._file)

    @property
    def count(self) -> int:
        return self._file.stat().st_size // 2

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
    """What anybody would write first: a blocking socket, a message sent, bytes received up to the newline."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def tell(self, message: str) -> None:
        self._socket.sendall(message.encode() + b"\n")

    def ask(self, message: str) -> bytes:
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


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, against which target, and whether that was reached (None: no target)."""

    what: str
    value: str
    target: str = ""
    reached: bool | None = None


def table(figures: Sequence[Figure]) -> str:
    """The figures in Markdown."""
    rows = [("figure", "measured", "target", "")]
    rows += [(f.what, f.value, f.target, {True: "reached", False: "**missed**", None: ""}[f.reached]) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine() -> str:
    """What it was measured on, in a line."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1] if found else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores ({name}), {platform.system()} {platform.release()}, Python {platform.python_version()}"

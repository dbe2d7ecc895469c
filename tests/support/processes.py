"""Programs as child processes: started, stopped, killed, waited for, and looked at through /proc."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from types import TracebackType
from typing import Self

from agent.local import children
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


class Process:
    """One program, its output in a file. Started and stopped any number of times; ends with this process.

    :param command: changed at will between two starts
    :param log: appended to by each start
    :param environment: more variables than this process has
    :param folder: where it runs; None: where this process does
    :param piped: its stdin and stdout belong to this process
    :param stderr: where it writes instead of the log, such as a pipe whose other end somebody copies there
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        piped: bool = False,
        stderr: Path | None = None,
    ) -> None:
        self.command = command
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = environment
        self._folder = folder
        self._piped = piped
        self._stderr = stderr or log

    def start(self) -> Self:
        """Start it. Returns at once."""
        assert self._process is None, f"{self.log.stem} runs already"
        with self._stderr.open("ab") as log:
            self._process = children.start(
                self.command,
                log,
                pipe=self._piped,
                pipe_in=self._piped,
                folder=self._folder,
                environment=self._environment,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, which was started and may have ended by itself."""
        assert self._process is not None, f"{self.log.stem} is not running"
        return self._process

    @property
    def runs(self) -> bool:
        """It was started, and neither stopped nor killed; it may have ended by itself."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its number; it must have been started."""
        return self.process.pid

    def ended(self) -> int | None:
        """The exit status if it ended by itself; None while it runs, or where it was not started."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def suspend(self) -> None:
        """Stop all of its threads by SIGSTOP, and wait until they are stopped; `signal` with SIGCONT lets them go on."""
        self.signal(SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        wait_until(lambda: all(_state(task) in "TX" for task in tasks.iterdir()), "its threads to stop")

    def stop(self, number: int = SIGTERM, timeout: float = 25.0) -> int | None:
        """End it by a signal, or by SIGKILL after the timeout (s). Its exit status; None if it was not running."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.send_signal(SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        process = self._process
        self.kill()
        return process.returncode

    def kill(self) -> None:
        """End it by SIGKILL. May be called in any state."""
        if self._process is not None:
            children.kill(self._process)
            self._process = None

    def text(self) -> str:
        """All that it has written so far, over all of its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self if self._process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- as /proc has it (Linux)

    def cpu_seconds(self) -> float:
        """Processor time of all threads so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_seconds_of_threads(self) -> float:
        """Processor time of the threads that it has now, to the ns: for what is over in less than many ticks (10 ms)."""
        stats = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9

    def resident_bytes(self) -> int:
        """Memory that it occupies now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def thread_count(self) -> int:
        """Its threads now."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def descriptor_count(self) -> int:
        """Its open files now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def _state(task: Path) -> str:
    """The state of a thread by its folder in /proc: T is stopped, X has ended, as one may at any moment."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"

"""The program as a user starts it: a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

from click.testing import CliRunner, Result

from agent.cli import main as cli

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "agent.cli"]
_OWN_VARIABLES = ("PSU_AGENT_CONF", "PSU_AGENT_BROKER", "PSU_AGENT_MQTT_PASSWORD", "PSU_AGENT_DEBUG", "STATE_DIRECTORY")


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
    return inherited | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | variables


def psu_agent(
    *arguments: str, cwd: Path = ROOT, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def invoke(*arguments: str, **variables: str) -> Result:
    """The same in this process: much quicker, and all but the outermost shell of the program."""
    cleared: dict[str, str | None] = dict.fromkeys(_OWN_VARIABLES)
    return CliRunner().invoke(cli.cli, arguments, env=cleared | variables)


class Running:
    """A command that runs until it is ended, as a context manager. Its output can be waited for."""

    def __init__(self, *arguments: str, cwd: Path = ROOT, **variables: str) -> None:
        self._arguments = arguments
        self._cwd = cwd
        self._variables = variables
        self.output: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [*COMMAND, *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self._cwd,
            env=environment(**self._variables),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """The next line of output that holds `text`."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {text!r} within {timeout} s in {self.output}") from None
            if line is None:
                raise AssertionError(f"ended without {text!r}: {self.output}")
            self.output.append(line)
            if text in line:
                return line

    def end(self, number: int = signal.SIGINT, timeout: float = 30) -> int:
        """Send a signal, and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

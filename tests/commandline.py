"""The program as a user starts it: a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner, Result

from agent.cli import main as cli
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

__all__ = ["COMMAND", "ROOT", "Running", "called", "environment", "invoke", "psu_agent"]

COMMAND = [sys.executable, "-m", "agent.cli"]
_COMMON_VARIABLES = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def environment(**variables: str) -> dict[str, str]:
    """This process's variables, and those that the command and a test need."""
    return os.environ | _COMMON_VARIABLES | variables


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


def called(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """As `psu_agent`, in this process: for what does not depend on a process, half a second of processor time less."""
    runner = CliRunner(env=variables)
    with (
        contextlib.chdir(cwd),
        patch.object(sys, "argv", ["psu-agent", *arguments]),
        runner.isolation() as (out, err, _),
    ):
        code = cli.main()
        sys.stdout.flush()
        sys.stderr.flush()
        printed, told = out.getvalue().decode(), err.getvalue().decode()
    return subprocess.CompletedProcess(arguments, code, printed, told)


def invoke(*arguments: str, **variables: str) -> Result:
    """Run a command in this process, which is much quicker; `agent.cli.main.main` around it is left out."""
    return CliRunner().invoke(cli.cli, arguments, env=variables)


class Running(Process):
    """A command that runs until it is ended, as a context manager. Its output can be waited for."""

    def __init__(self, *arguments: str, cwd: Path = ROOT, **variables: str) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="psu-agent-test-")
        super().__init__(
            [*COMMAND, *arguments],
            Path(self._temporary.name) / "output",
            environment={**_COMMON_VARIABLES, **variables},
            folder=cwd,
        )
        self.output: list[str] = []  # lines that were waited for, and those before them
        self._read = 0

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._temporary.cleanup()

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """The next line of output that holds `text`."""

        def found() -> str | None:
            ended = self.ended() is not None
            *lines, rest = self.text()[self._read :].split("\n")
            if ended and rest:  # the last line may end without a newline
                lines.append(rest)
            for line in lines:
                self._read += len(line) + 1
                self.output.append(line)
                if text in line:
                    return line
            assert not ended, f"ended without {text!r}: {self.output}"
            return None

        line: str = wait_until(found, f"the output {text!r}; there was {self.output}", timeout)
        return line

    def end(self, number: int = signal.SIGINT, timeout: float = 30) -> int:
        """Send a signal, and wait for the exit code."""
        self.signal(number)
        return self.process.wait(timeout)

"""`docker compose`, asked by the scripts of the stack."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import IO

from scripts.common import ROOT, Fault


class Compose:
    """`docker compose`, or what the environment variable COMPOSE names instead."""

    def __init__(self) -> None:
        try:
            self.command = shlex.split(os.environ.get("COMPOSE", "")) or ["docker", "compose"]
        except ValueError as error:
            raise Fault(f"COMPOSE={os.environ['COMPOSE']}: {error}") from None

    def running(self) -> set[str]:
        """The services that run, or are about to: one that fails at its start again and again, too.

        :raises Fault: compose cannot be asked
        """
        asked = [*self.command, "ps", "--services", "--status", "running", "--status", "restarting"]
        try:
            done = subprocess.run(asked, check=False, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
        except OSError as error:
            raise Fault(f'{self.command[0]}: {error.strerror}; COMPOSE="podman compose" names another one') from None
        if done.returncode != 0:
            raise Fault(f"{shlex.join(asked)}: {done.stderr.strip()}")
        return set(done.stdout.split())

    def run(self, words: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> int:
        """Show a command, carry it out, and return its exit code."""
        print(f"$ {self.shown(words)}", flush=True)
        command = [*self.command, *shlex.split(words)]
        source = stdin or subprocess.DEVNULL
        return subprocess.run(command, check=False, stdin=source, stdout=stdout, cwd=ROOT).returncode  # noqa: S603

    def shown(self, words: str) -> str:
        return f"{shlex.join(self.command)} {words}"

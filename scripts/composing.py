"""`docker compose`, asked by the scripts of the stack."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO

from scripts.common import ROOT, Fault, say


class Compose:
    """`docker compose`, or what the environment variable COMPOSE names instead."""

    def __init__(self) -> None:
        #: Ctrl-C came while `insist` was at work.
        self.interrupted = False
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

    def services(self) -> set[str]:
        """The services of compose.yaml and of its overrides; empty where compose does not tell."""
        asked = [*self.command, "config", "--services"]
        done = subprocess.run(asked, check=False, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def run(self, words: str, stdin: IO[bytes] | None = None) -> int:
        """Show a command, carry it out, and return its exit code."""
        return subprocess.run(self._command(words), check=False, stdin=stdin or subprocess.DEVNULL, cwd=ROOT).returncode  # noqa: S603

    def read(self, words: str, take: Callable[[IO[bytes]], None]) -> int:
        """The same with a command whose output is for ``take``. It is ended where that fails."""
        command = self._command(words)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT) as process:  # noqa: S603
            assert process.stdout is not None
            try:
                take(process.stdout)
            except BaseException:
                process.terminate()
                raise
        return process.returncode

    def _command(self, words: str) -> list[str]:
        say(f"$ {self.shown(words)}")
        return [*self.command, *shlex.split(words)]

    def insist(self, words: str) -> int:
        """A command that should come to its end, as services stand still while it is at work: the first Ctrl-C does not reach it
        and sets `interrupted`, a second one ends it."""
        command = self._command(words)

        def interrupt(*_: object) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            say("Interrupted. This step is ended first; Ctrl-C again leaves it halfway", sys.stderr)

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=ROOT, process_group=0) as process:  # noqa: S603
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    process.terminate()
                    raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def shown(self, words: str) -> str:
        return f"{shlex.join(self.command)} {words}"

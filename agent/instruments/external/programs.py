"""Running a program of the user: no terminal, a time limit, a limit on what it prints, and no process of it left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.instruments.external.secrets import Secrets

#: s between SIGTERM and SIGKILL.
GRACE = 0.5
#: s that a program which has ended may leave its output open by a child of its own.
_LINGER = 0.2
_CHUNK = 65536
#: Variables of the agent that its programs get, too. Others may hold the broker's password, or are of the service manager.
_INHERITED = ("PATH", "HOME", "LANG")

# vfork, which Python prefers, halts this whole process until a program has been read from its disk: for ever if that hangs.
# The way to do without it is in the manual of `subprocess`.
vars(subprocess)["_USE_VFORK"] = False


class ProgramError(Exception):
    """A program could not be started, or was killed because it took too long or printed too much; one sentence says which."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended by itself: its exit status (negative: the signal that ended it), and what it printed.

    ``stderr``: without secrets.
    """

    status: int
    stdout: bytes
    stderr: str

    @property
    def complaint(self) -> str:
        """How it failed, in a few words: its status and the last line that it wrote to stderr, without secrets."""
        how = f"exit status {self.status}" if self.status >= 0 else f"ended by {_signal_name(-self.status)}"
        lines = self.stderr.strip().splitlines()
        said = "".join(c if c.isprintable() else " " for c in lines[-1]).strip()[:200] if lines else ""
        return f"{how}: {said}" if said else f"{how}, nothing on stderr"


class Runner:
    """Runs programs. Another thread may cut short what is running.

    :param folder: where they run
    :param timeout: s
    :param output_limit: bytes, of stdout and stderr each
    :param environment: theirs, beside PATH, HOME and LANG of the agent's own
    :param secrets: what no message may show of what they print; the values of environments besides
    """

    def __init__(
        self,
        folder: Path,
        *,
        timeout: float,
        output_limit: int,
        environment: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._folder = folder
        self._timeout = timeout
        self._output_limit = output_limit
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = {**inherited, **(environment or {})}
        self._secrets = Secrets([*secrets, *(environment or {}).values()])
        self._cut_short = threading.Event()
        self._cut_short_at = 0.0

    def hurry(self, seconds: float) -> None:
        """From any thread, when the agent stops: the program that runs, and all later ones, are killed after that time (s)."""
        self._cut_short_at = time.monotonic() + seconds
        self._cut_short.set()

    def run(self, command: Sequence[str]) -> Outcome:
        """Run a program to its end. Its standard input is empty; its process group is its own and ends with it.

        :raises ProgramError: it could not be started, or was killed; the text has no secrets in it
        """
        try:
            return self._run(command)
        except ProgramError as error:
            raise ProgramError(self.conceal(str(error))) from None

    def conceal(self, text: str) -> str:
        """A text for people, without secrets."""
        return self._secrets.conceal(text)

    def _run(self, command: Sequence[str]) -> Outcome:
        name = Path(command[0]).name
        try:
            process = subprocess.Popen(  # noqa: S603  # the configuration's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ProgramError(f"{command[0]!a} can't be started: {reason}") from error
        with process:
            try:
                return self._watch(process, name)
            finally:
                _end_group(process)

    def _watch(self, process: subprocess.Popen[bytes], name: str) -> Outcome:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = {process.stdout: bytearray(), process.stderr: bytearray()}
        deadline = time.monotonic() + self._timeout
        ended_at: float | None = None
        with selectors.DefaultSelector() as selector:
            for stream, kept in printed.items():
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, kept)
            while True:
                now = time.monotonic()
                if _has_ended(process):
                    ended_at = ended_at or now
                    # Only a child that it left behind still holds the pipes open: nothing to wait for.
                    if not selector.get_map() or now - ended_at > _LINGER:
                        break
                if now >= deadline:
                    raise ProgramError(f"{name} did not end within {self._timeout:g} s and was killed")
                if self._cut_short.is_set() and now >= self._cut_short_at:
                    raise ProgramError(f"{name} was killed, as the agent stops")
                # Short, as select() does not notice the end of the process itself.
                for key, _ in selector.select(min(0.02 if not ended_at else _LINGER, max(0.0, deadline - now))):
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    kept = key.data
                    kept += data
                    if len(kept) > self._output_limit:
                        raise ProgramError(f"{name} printed more than {self._output_limit} bytes and was killed")
        _end_group(process)
        complaint = self.conceal(printed[process.stderr].decode("utf-8", "replace"))
        return Outcome(process.returncode, bytes(printed[process.stdout]), complaint)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End all that is left of the process group: by SIGTERM first where the program itself still runs."""
    if process.returncode is not None:
        return
    if not _has_ended(process):
        _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while not _has_ended(process) and time.monotonic() < deadline:
            time.sleep(0.01)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """True if it has ended. It is not reaped: until it is, no other process group can get its number."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""The stack in containers: a checkout as a user has it, and `docker compose` on it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.compose import docker_compose
from tests.support.waiting import wait_until

from .engine import Engine

#: The parts of the project that the stack needs.
PARTS = (
    *("compose.yaml", "Makefile", "stack.mk", "packaging.mk", "scripts", "docs", "docker", "examples"),
    *("mosquitto", "telegraf", "influxdb", "grafana", "backup"),
)
#: s. The longest that anything in the stack may take, on a busy machine.
LONG = 120.0
#: Sends a request within the engine's network, as a browser on its host would.
_ASK = """\
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[3].encode() if len(sys.argv) > 3 else None)
if sys.argv[2]:
    request.add_header("Authorization", sys.argv[2])
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(0, error)
"""


class Stack:
    """`docker compose` in a checkout. As no systemd runs the health checks at their times, a thread has them run.

    :param profiles: of compose.yaml
    """

    def __init__(self, engine: Engine, folder: Path, *profiles: str) -> None:
        self.engine = engine
        self.folder = folder
        self._options = [word for profile in profiles for word in ("--profile", profile)]
        self._end = threading.Event()
        self._checks = threading.Thread(target=self._check, name="health checks", daemon=True)

    def __enter__(self) -> Self:
        self._checks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._checks.join()

    def _check(self) -> None:
        """Have those checked each second that are not known to be well, and the others now and then."""
        running: dict[str, subprocess.Popen[bytes]] = {}
        due: dict[str, float] = {}
        while not self._end.wait(1.0):
            listed = self.engine.podman("ps", "--format", "{{.Names}} {{.Status}}", fails=True)
            for name, _, status in (line.partition(" ") for line in listed.splitlines()):
                # An agent's takes ten seconds, which the others are not to wait for.
                if name in running and running[name].poll() is None:
                    continue
                if "(healthy)" not in status or time.monotonic() > due.get(name, 0.0):
                    due[name] = time.monotonic() + 10
                    running[name] = self.engine.start("podman", "healthcheck", "run", name)
        for process in running.values():
            process.wait()

    def run(self, line: str, *, fails: bool | None = False, timeout: float = 300, **environment: str) -> str:
        """A command line of the documentation, in the checkout's folder. Returns its output, of both streams.

        :param fails: None: compose does not hand on the exit code of what it runs (its own with Podman 4.3's service)
        """
        if line.startswith("docker compose "):
            words = [*docker_compose(), *self._options, *shlex.split(line)[2:]]
        else:
            words = ["bash", "-ec", line]
            # What `make rotate`, `make backup` and `make restore` speak to.
            environment = {"COMPOSE": shlex.join([*docker_compose(), *self._options])} | environment
        way = ["env", "-C", str(self.folder), *words]
        done = self.engine.run(*way, fails=True, timeout=timeout, environment=environment)
        said = done.stdout + done.stderr
        assert fails is not False or done.returncode == 0, f"{line}\n{said}\n{self.state()}"
        assert not fails or done.returncode != 0, f"{line}\n{said}"
        return said

    def state(self) -> str:
        """How the containers are, and the last lines of those that are not well: for a test that failed."""
        lines = [self.engine.podman("ps", "--all", "--format", "{{.Names}} {{.Status}}", fails=True)]
        for line in lines[0].splitlines():
            name, _, status = line.partition(" ")
            if "(healthy)" not in status:
                done = self.engine.run("podman", "logs", "--tail", "12", name, fails=True)
                lines.append(f"-- {name}\n{done.stdout}{done.stderr}")
        return "\n".join(lines)

    def services(self) -> dict[str, dict[str, Any]]:
        """The services of compose.yaml."""
        found: dict[str, dict[str, Any]] = yaml.safe_load((self.folder / "compose.yaml").read_text())["services"]
        return found

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"psu-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        """All that Podman tells of a service's container."""
        (found,) = json.loads(self.engine.podman("inspect", self.container(service)))
        return dict(found)

    def health(self, service: str) -> str:
        """`healthy`, `unhealthy`, `starting`, or nothing where it has no check."""
        state = self.inspect(service)["State"]
        found = state.get("Health") or state.get("Healthcheck") or {}
        return str(found.get("Status", ""))

    def log(self, service: str) -> str:
        """A service's log so far."""
        done = self.engine.run("podman", "logs", self.container(service))
        return done.stdout + done.stderr

    def inside(self, service: str, *command: str, fails: bool = False) -> str:
        """A command in a service's container. Returns its output, of both streams."""
        done = self.engine.run("podman", "exec", self.container(service), *command, fails=True)
        assert fails == (done.returncode != 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def kill(self, service: str) -> None:
        """End a service's first process as a crash does. The restart policy brings the container back."""
        before = self.inspect(service)["State"]
        self.engine.run("kill", "-KILL", str(before["Pid"]))
        wait_until(
            lambda: (now := self.inspect(service)["State"])["Running"] and now["Pid"] not in (0, before["Pid"]),
            f"{service} is there again",
            LONG,
        )

    def ask(self, url: str, authorization: str = "", data: str | None = None) -> tuple[int, str]:
        """The status and the body of an HTTP answer, 0 and the reason where there is none; ``data`` makes it a POST."""
        command = [sys.executable, "-c", _ASK, url, authorization, *([] if data is None else [data])]
        status, _, body = self.engine.run(*command).stdout.partition(" ")
        return int(status), body.strip()

    def secret(self, name: str) -> str:
        """The content of a file below secrets/."""
        return (self.folder / "secrets" / name).read_text().strip()

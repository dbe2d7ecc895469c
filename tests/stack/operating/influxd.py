"""InfluxDB 2 as a process, and `influxdb/setup.py` as compose.yaml runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from agent.local.ports import accepts, free_port
from tests.stack.services import influxd
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until


def paths(folder: Path) -> list[str]:
    """Where it keeps things, as options."""
    return [
        f"--bolt-path={folder / 'influxd.bolt'}",
        f"--sqlite-path={folder / 'influxd.sqlite'}",
        f"--engine-path={folder / 'engine'}",
    ]


class Influxd(Process):
    """An empty store, until `SetupService.setup` has been there."""

    def __init__(self, folder: Path, *more: str) -> None:
        """``more``: options of InfluxDB; `command` may be changed between two starts."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        options = [f"--http-bind-address=127.0.0.1:{self.port}", "--reporting-disabled", "--log-level=error"]
        super().__init__([influxd(), *options, *paths(folder), *more], folder / "influxd.log")

    def start(self) -> Self:
        super().start()
        wait_until(lambda: accepts(self.port), "influxd listens")
        return self

    def stop(self, number: int = signal.SIGINT, timeout: float = 25.0) -> int | None:
        """End it as compose.yaml does."""
        return super().stop(number, timeout)

    def ask(self, method: str, path: str, token: str, body: str = "", **query: str) -> tuple[int, Any]:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, body.encode() or None, {"Authorization": f"Token {token}"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            text, status = error.read(), error.code
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def write(self, token: str, line: str) -> int:
        """The status of a write of one line."""
        return self.ask("POST", "/api/v2/write", token, line, org="lab", bucket="psu")[0]

    def values(self, token: str, measurement: str) -> list[Any] | None:
        """The values of the field v, asked as Grafana does, or nothing if this token may not."""
        query = {"db": "psu", "q": f"SELECT v FROM {measurement}", "epoch": "ms"}
        status, answer = self.ask("POST", "/query", token, " ", **query)
        if status != 200 or "error" in answer["results"][0]:
            return None
        return [row[1] for series in answer["results"][0].get("series", []) for row in series["values"]]


class SetupService:
    """The folders that the container of `influxdb-setup` sees."""

    def __init__(self, folder: Path, url: str, password: str = "the-first-password") -> None:
        self.secrets, self.tokens, self.state = (folder / name for name in ("secrets", "tokens", "state"))
        for path in (self.secrets, self.tokens, self.state):
            path.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.password = password

    @property
    def password(self) -> str:
        return (self.secrets / "admin_password").read_text()

    @password.setter
    def password(self, text: str) -> None:
        (self.secrets / "admin_password").write_text(text)

    def setup(self, *options: str, retention: str = "52w", url: str = "") -> subprocess.CompletedProcess[str]:
        """One run, to its end."""
        command, environment = self.command(*options, retention=retention, url=url)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)

    def command(self, *options: str, retention: str = "52w", url: str = "") -> tuple[list[str], dict[str, str]]:
        """The program and its environment."""
        environment = {
            "PATH": os.environ["PATH"], "INFLUX_HOST": url or self.url, "PSU_RETENTION": retention,
            "SECRETS": str(self.secrets), "TOKENS": str(self.tokens), "STATE": str(self.state),
        }  # fmt: skip
        # -S: the container's Python has no packages.
        return [sys.executable, "-S", "-B", str(ROOT / "influxdb" / "setup.py"), *options], environment

    def token(self, name: str) -> str:
        return (self.tokens / name).read_text()

    def copy(self, folder: Path) -> SetupService:
        """The same, so that something may be tried."""
        for path in (self.secrets, self.tokens, self.state):
            shutil.copytree(path, folder / path.name)
        return SetupService(folder, self.url, self.password)

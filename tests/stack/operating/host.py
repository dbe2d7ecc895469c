"""A host with the stack, as far as operating goes: store and broker as processes, volumes as folders, a stand-in for compose."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.stack.services import Broker, influxd
from tests.support.processes import ROOT

from .influxd import Influxd, SetupService

#: In the place of docker compose. The test starts and stops processes for it (`Host.serve`); all calls are noted.
COMPOSE = """#!/bin/bash
ask() { : >"$HOST/$1"; while [ -e "$HOST/$1" ]; do sleep 0.02; done; }
setup() { "$PYTHON" -S -B "$PROJECT/influxdb/setup.py" "$@"; }
[ ! -e .env ] || . ./.env
export PSU_RETENTION
echo "$*" >>"$HOST/calls"
case "$*" in
  "ps --services --status running --status restarting") cat "$HOST/running" 2>/dev/null || true ;;
  "run --rm -T backup "*) shift 4; [ "$1" != "$FAILING" ] || exit 9
    VOLUMES="$HOST/volumes" exec "$PYTHON" -S -B "$PROJECT/backup/volumes.py" "$@" ;;
  "run --rm --no-deps influxdb-setup"*) setup "${@:5}" ;;
  "run --rm --no-deps --entrypoint influxd influxdb "*) exec "$INFLUXD" "${@:7}" ;;
  "stop influxdb"|stop) ask stopped ;;
  "up -d --no-deps --no-recreate "*influxdb*) ask started ;;
  "up -d"|"up -d --force-recreate") ask started; setup ;;
  "kill -s HUP mosquitto"|"restart mosquitto") ask hup ;;
  "exec -T grafana grafana cli "*) cat >"$HOST/grafana.password" ;;
  "stop "*|"up -d --no-deps --no-recreate "*|"restart "*|"build "*|"pull "*) ;;
  *) echo "what is $*?" >&2; exit 64 ;;
esac
"""


class Host:
    """The project's folder and the volumes of a host, with or without a stack that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.volumes = folder, folder / "project", folder / "volumes"
        self.root.mkdir(parents=True)
        for name in ("agent", "influxdb", "influxdb-setup", "grafana", "tokens"):
            (self.volumes / name).mkdir(parents=True)
        self.store = Influxd(self.volumes / "influxdb")
        self.store.log = folder / "influxd.log"
        self.broker: Broker | None = None
        self.setup_service = SetupService(folder / "setup", self.store.url)
        self.setup_service.state, self.setup_service.tokens = self.volumes / "influxdb-setup", self.volumes / "tokens"
        self.setup_service.secrets = self.root / "secrets" / "influxdb"
        programs = folder / "bin"
        programs.mkdir()
        self.compose = programs / "compose"
        for name, text in (
            ("compose", COMPOSE),
            ("docker", f'#!/bin/sh\nshift\nexec {self.compose} "$@"\n'),
            ("git", "#!/bin/sh\n"),
            ("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n'),
        ):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (folder / "calls").write_text("")

    def fill(self) -> None:
        """Files and a store, as they are in use, and the files that `make secrets` and people make."""
        self.setup_service.secrets.mkdir(parents=True, exist_ok=True)
        (self.root / "secrets").chmod(0o700)
        self.setup_service.password = "the-password"
        (self.root / "mosquitto").mkdir(exist_ok=True)
        (self.root / "mosquitto" / "users.toml").write_text("# mine\n")
        self.configure()
        self.store.start()
        assert self.setup_service.setup().returncode == 0

    def configure(self) -> None:
        """The files of an agent and of Grafana, and the settings of the host."""
        (self.root / ".env").write_text("# PSU_AGENT_FOLDER=./no\nPSU_AGENT_FOLDER=./config\n")
        (self.root / "config").mkdir()
        (self.root / "config" / "psu-agent.yaml").write_text("units: []\n")
        (self.volumes / "agent" / "energy.json").write_text("{}")
        (self.volumes / "grafana" / "grafana.db").write_bytes(os.urandom(70_000))
        (self.folder / "running").write_text("agent\nmosquitto\ntelegraf\ninfluxdb\ngrafana\n")

    def write(self, value: int) -> None:
        assert self.store.write(self.setup_service.token("telegraf"), f"kept v={value}i") == 204

    def values(self) -> list[int] | None:
        return self.store.values(self.setup_service.token("grafana"), "kept")

    def backup(self, *words: str | Path, failing: str = "") -> subprocess.CompletedProcess[str]:
        """scripts/backup.py, to its end."""
        return self.wait(self.start(*words, failing=failing))

    def start(self, *words: str | Path, failing: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, ROOT / "scripts" / "backup.py", *words, "--root", self.root]
        return self._start(command, COMPOSE=str(self.compose), FAILING=failing)

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """A line of the documentation, in the project's folder."""
        return self.wait(self._start(["bash", "-c", command]))

    def _start(self, command: list[str | Path], **more: str) -> subprocess.Popen[str]:
        (self.folder / "calls").write_text("")
        _, environment = self.setup_service.command()
        del environment["PSU_RETENTION"]
        environment |= {
            "PATH": f"{self.compose.parent}:{os.environ['PATH']}", "HOST": str(self.folder), "PYTHON": sys.executable,
            "PROJECT": str(ROOT), "INFLUXD": influxd(), **more,
        }  # fmt: skip
        return subprocess.Popen(
            [str(word) for word in command], env=environment, cwd=self.root, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def wait(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        while process.poll() is None:
            self.serve()
            time.sleep(0.005)
        text, told = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, text, told)

    def serve(self) -> None:
        """Do with the processes what compose was asked to."""
        for name in ("stopped", "started", "hup"):
            if not (self.folder / name).exists():
                continue
            if name == "stopped":
                self.store.stop()
            elif name == "started" and not self.store.runs:
                self.store.start()
            elif name == "hup" and self.broker:
                self.broker.signal(1)
            (self.folder / name).unlink()

    def calls(self) -> list[str]:
        return [line for line in (self.folder / "calls").read_text().splitlines() if not line.startswith("ps ")]


#: The parts of the project that `make` needs.
PARTS = (
    "Makefile",
    "stack.mk",
    "packaging.mk",
    "scripts",
    "mosquitto",
    "influxdb",
    "telegraf",
    "grafana",
    "backup",
    "docker",
)

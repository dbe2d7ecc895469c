"""The commands that the pages show, run as a user would: in one folder, with an agent, a broker and a supply."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.commandline import COMMAND, environment
from tests.docs.pages import Command, commands, pages, text_of
from tests.lab import AgentProcess, Observer, needs, settings, unit, wait_until

#: Commands that are not run here, and the reason.
ELSEWHERE = {
    r"docker |docker compose ": "containers: tests/stack",
    r"make (demo|test|bench|soak|fuzz|fleet|cluster|brokers|secrets|lint|types|deb|package|man)\b": "this project's targets: CI",
    r"(sudo )?(apt|apt-get|systemctl|install|dpkg|udevadm|journalctl|usermod|adduser|loginctl) ": "they change the host",
    r".*secrets": "it needs the stack: tests/stack",
    r"git ": "it would fetch the project",
    r"(\S*/)?(python3? -m venv|pip|uv|pipx) ": "it would install the project: tests/packaging",
}
#: Commands that go on until somebody ends them.
ENDLESS = re.compile(r"(psu-agent (run|watch|demo|simulate)\b|mosquitto_sub\b(?!.* -(C|W)))")
PAGES = [page for page in pages() if commands(page) and page != "CHANGELOG.md"]


def reason_elsewhere(command: Command) -> str | None:
    return next((reason for pattern, reason in ELSEWHERE.items() if re.match(pattern, command.text)), None)


class Desk:
    """A folder with ``psu-agent.yaml``, whose agent runs, and a PATH on which every program finds the broker by itself."""

    def __init__(self, folder: Path, broker: LocalBroker) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        self._script(programs / "psu-agent", f'exec {shlex.join(COMMAND)} "$@"')
        for name in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
            if found := shutil.which(name):
                self._script(programs / name, f'exec {found} -p {broker.port} "$@"')
        self.environment = environment(
            PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", PSU_AGENT_BROKER=f"mqtt://localhost:{broker.port}"
        )

    def lay_out(self, page: str) -> None:
        """Write the files that a page shows, under the names in their first lines."""
        for name, text in re.findall(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
            (self.folder / name).write_text(f"# {name}\n{text}")

    @staticmethod
    def _script(file: Path, line: str) -> None:
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)

    def run(self, command: Command) -> subprocess.CompletedProcess[str]:
        """One command, by a shell, to its end; one that goes on for ever until it has printed something."""
        if not ENDLESS.search(command.text):
            return subprocess.run(
                ["bash", "-c", command.text], cwd=self.folder, env=self.environment,
                capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        output = self.folder / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.text}"], cwd=self.folder, env=self.environment,
                stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            wait_until(lambda: output.stat().st_size or process.poll() is not None, f"the output of {command.text}")
            assert process.poll() is None, output.read_text()
            process.send_signal(signal.SIGINT)
            process.wait(30)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(command.text, 0, output.read_text(), "")


@pytest.fixture
def desk(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> Iterator[Desk]:
    needs("mosquitto")
    needs("mosquitto_pub")
    broker = make_broker(kind="mosquitto")
    with Simulator() as simulator, contextlib.closing(Observer(broker.port)) as observer:
        simulator.instrument.panel.knob_current(1, 0.5)
        entry = unit("psu1", simulator, channels={1: {"name": "VDD", "voltage_max": 5.5, "current_max": 1.0}})
        data = settings(broker.port, [entry], tmp_path / "state", agent="bench3")
        (tmp_path / "psu-agent.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        with AgentProcess(data, tmp_path / "agent"):
            observer.wait_agent("bench3")
            observer.wait_online("psu1")
            observer.wait_state("psu1", online=True)
            yield Desk(tmp_path, broker)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_the_page_says(page: str, desk: Desk) -> None:
    ran = 0
    desk.lay_out(page)
    for command in commands(page):
        if reason_elsewhere(command):
            continue
        ran += 1
        done = desk.run(command)
        said = done.stdout + done.stderr
        where = f"{command.page}:{command.line}: {command.text}\n{said}"
        assert "Traceback" not in said, where
        if command.output:
            assert said == command.output, where
        else:
            assert done.returncode == 0, where
    if not ran:
        pytest.skip("all its commands are tried elsewhere")

"""The commands that the pages show, run as a user would: in one folder, with an agent, a broker and a supply."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.commandline import COMMAND, environment
from tests.docs.pages import Command, commands, pages, text_of
from tests.lab import needs, wait_until
from tests.support.namespaces import Host, NoNamespacesError
from tests.support.processes import Process

#: Commands that are not run here, and the reason.
ELSEWHERE = {
    r"docker |docker compose |podman ": "containers: tests/containers",
    r"mkdir config |echo PSU_|export DOCKER_HOST": "the folder of the stack: tests/containers",
    r"make ": "this project's targets: CI",
    r"sudo |~/psu-agent-env/bin/": "they change the host: tests/packaging/test_install_page.py",
    r"(apt|apt-get|systemctl|install|dpkg|udevadm|journalctl|usermod|adduser|loginctl) ": "they change the host",
    r".*secrets": "it needs the stack: tests/stack",
    r"psu-agent verify ": "it asks if nothing is connected: tests/cli/test_verify.py",
    r"git ": "it would fetch the project",
    r"(pytest --lg-env|labgrid-client|pdudaemon|curl .*:16421)": "labgrid and pdudaemon: tests/examples",
    r"(\S*/)?(python3? -m venv|pip|uv|pipx) ": "it would install the project: tests/packaging",
}
NUMBER = r"-?\b\d+\.\d+(e-?\d+)?"
#: Commands that go on until somebody ends them.
ENDLESS = re.compile(r"(psu-agent (run|watch|demo|simulate)\b|mosquitto_sub\b(?!.* -(C|W)))")
CONFIGURATION = """\
settings:
  agent: bench3
  poll_interval: 0.2
units:
  - name: psu1
    model: Keysight Technologies,E36313A
    uri: TCPIP::127.0.0.1::5025::SOCKET
    channels:
      1: {name: VDD, voltage_max: 5.5, current_max: 1.0}
"""


def reason_elsewhere(command: Command) -> str | None:
    return next((reason for pattern, reason in ELSEWHERE.items() if re.match(pattern, command.text)), None)


#: Pages that show a command that is tried here.
PAGES = [page for page in pages() if any(reason_elsewhere(command) is None for command in commands(page))]


class Desk:
    """A computer with a broker, a supply, and in its folder ``psu-agent.yaml``, whose agent runs."""

    def __init__(self, host: Host, folder: Path, stack: contextlib.ExitStack) -> None:
        self._host = host
        self._folder = folder / "home"
        self._folder.mkdir()
        self._logs = folder
        self._stack = stack
        programs = folder / "bin"
        programs.mkdir()
        (programs / "psu-agent").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
        (programs / "psu-agent").chmod(0o755)
        self._environment: Mapping[str, str] = environment(
            PATH=os.pathsep.join([str(programs), os.environ["PATH"], "/usr/sbin"]),
            XDG_STATE_HOME=str(folder / "state"),
            HOME=str(self._folder),
        )
        (folder / "mosquitto.conf").write_text("listener 1883 127.0.0.1\nallow_anonymous true\n")
        (self._folder / "psu-agent.yaml").write_text(CONFIGURATION)
        self._start("mosquitto -c ../mosquitto.conf")
        wait_until(lambda: self._call("mosquitto_sub -E -t x").returncode == 0, "the broker to answer")
        self._start("psu-agent simulate")
        self._agent = self._start("psu-agent run")
        self._is_of_page = False
        self._wait_for_agent()

    def begin(self, page: str) -> None:
        """Be as before any command, with the files that a page shows, under the names in their first lines."""
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self._folder / "psu-agent.yaml").write_text(CONFIGURATION)
        if self._is_of_page:
            self._use("psu-agent run")
            self._is_of_page = False
        assert self._call("psu-agent set psu1/1 --current-limit 0.5").returncode == 0
        for name, text in re.findall(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
            (self._folder / name).write_text(f"# {name}\n{text}")

    def run(self, command: Command) -> tuple[int, str]:
        """One command, by a shell, to its end: its exit code, and all that it said.

        An agent goes on until the next one, what else goes on for ever until it has said something.
        """
        if re.search(r"psu-agent run\b", command.text):
            self._use(command.text)
            self._is_of_page = True
            return 0, ""
        if ENDLESS.search(command.text):
            with self._start(command.text, is_kept=False) as process:
                wait_until(lambda: process.text() or process.ended() is not None, f"what {command.text} says")
                assert process.ended() is None, process.text()
                process.signal(signal.SIGINT)
                return 0, process.text()
        done = self._call(command.text)
        if command.output and not is_like(
            command.output, done.stdout + done.stderr
        ):  # what was started may need a moment
            with contextlib.suppress(TimeoutError, AssertionError):
                wait_until(lambda: is_like(command.output, self._call(command.text).stdout), command.text)
            done = self._call(command.text)
        return done.returncode, done.stdout + done.stderr

    def _use(self, command: str) -> None:
        self._agent.stop()
        self._agent = self._start(command)
        self._wait_for_agent()

    def _start(self, command: str, *, is_kept: bool = True) -> Process:
        process = Process(
            [*self._host.way, "bash", "-c", f"exec {command}"],
            self._logs / f"{command.split()[0]}.log",
            environment=self._environment,
            folder=self._folder,
        )
        return self._stack.enter_context(process) if is_kept else process

    def _call(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._host.way, "bash", "-c", command], cwd=self._folder, env=self._environment,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _wait_for_agent(self) -> None:
        # A fresh state, not the one that the broker keeps of the agent before, by a program that starts in no time.
        done = self._call("mosquitto_sub -R -C 1 -W 55 -t psu/psu1/1/state")
        assert done.returncode == 0, f"no state came from the agent: {done.stderr}"


def is_like(shown: str, said: str) -> bool:
    """True if two texts differ in measured numbers alone."""
    return re.sub(NUMBER, "N", shown) == re.sub(NUMBER, "N", said)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    needs("mosquitto")
    needs("mosquitto_sub")
    folder = tmp_path_factory.mktemp("desk")
    with contextlib.ExitStack() as stack:
        try:
            host = Host("bench3", [], owner=None, log=folder / "host.log")
        except NoNamespacesError as error:
            pytest.skip(str(error))
        stack.callback(host.close)
        yield Desk(host, folder, stack)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_the_page_says(page: str, desk: Desk) -> None:
    desk.begin(page)
    for command in commands(page):
        if reason_elsewhere(command):
            continue
        code, said = desk.run(command)
        where = f"{command.page}:{command.line}: {command.text}\n{said}"
        assert "Traceback" not in said, where
        if command.output:
            assert is_like(command.output, said), where
        else:
            assert code == 0, where

"""`psu-agent demo`: a broker, a simulated supply with changing loads, and the agent, each a process, all on loopback."""

from __future__ import annotations

import contextlib
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from agent.cli.watch import Watch
from agent.client.address import Address
from agent.client.connection import Client
from agent.local import children
from agent.local.broker import Kind, LocalBroker, NoBrokerError
from agent.local.ports import is_free

UNIT = "psu1"
CHANNELS = {1: "LOGIC", 2: "MOTOR", 3: "LAMP"}
USUAL_PORT = 1883
_START_TIMEOUT = 20.0
#: Columns of the terminals that are narrowest.
_WIDTH = 80


class DemoError(Exception):
    """The demonstration can't be run. The message says why."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The running processes, for the instructions."""

    port: int
    broker_kind: Kind
    remark: str | None
    agent: subprocess.Popen[bytes]
    agent_log: Path

    @property
    def address(self) -> str:
        """The broker's address."""
        return f"mqtt://localhost:{self.port}"

    def instructions(self) -> list[str]:
        """Lines that say what runs, and what to type in another terminal; what needs programs that are not installed says so."""
        program, broker = _program(), f"--broker localhost:{self.port}"
        names = ", ".join(f"{number} {name}" for number, name in CHANNELS.items())
        by_clients = {
            "mosquitto_sub": f"-p {self.port} -v -t 'psu/#'",
            "mosquitto_pub": f"-p {self.port} -t psu/{UNIT}/MOTOR/set -m '{{\"voltage_limit\": 3.3}}'",
        }
        return [
            f"A simulated Keysight E36313A, {UNIT}, on {self.address} ({self.broker_kind}).",
            f"Its channels: {names}.",
            *([self.remark] if self.remark else []),
            "Try in another terminal:",
            *(f"  {client} {options}" for client, options in by_clients.items() if shutil.which(client)),
            *_fitted(f"  {program} set {UNIT}/MOTOR --voltage-limit 5", broker),
            *_fitted(f"  {program} set {UNIT}/LAMP --state off", broker),
            *_fitted(f"  {program} watch", broker),
            *_with_clients(by_clients),
            "Ctrl-C ends everything.",
        ]


def _with_clients(options: dict[str, str]) -> list[str]:
    """Mosquitto's client for a command, where it is to be installed first."""
    if shutil.which("mosquitto_pub"):
        return []
    return [
        "With Mosquitto's clients (Debian, Ubuntu: sudo apt install mosquitto-clients):",
        f"  mosquitto_pub {options['mosquitto_pub']}",
    ]


def _fitted(command: str, option: str) -> list[str]:
    """A command and an option of it, in one line or, where that has no room, in two that a shell takes as one."""
    whole = f"{command} {option}"
    return [whole] if len(whole) < _WIDTH else [f"{command} \\", f"    {option}"]


def run(*, port: int | None = None, kind: Kind | None = None) -> None:
    """Run the demonstration until SIGINT, SIGTERM or SIGHUP; then end everything.

    :raises DemoError: it can't be run, or one of its processes ended
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_as_interrupts())
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        demo = stack.enter_context(running(port, kind))
        with Client(Address(port=demo.port, host="127.0.0.1")) as client:
            _wait_for_samples(client, demo)
            Watch(client, instructions=demo.instructions(), still_running=lambda: _check(demo), line_interval=1.0).run()


@contextlib.contextmanager
def running(port: int | None = None, kind: Kind | None = None) -> Iterator[Demo]:
    """A broker, a simulated supply and the agent, as processes that end with the context.

    :param port: of the broker; None for 1883, or a free one where that is taken
    :param kind: of the broker; None for Mosquitto where it is installed
    :raises DemoError: one of them does not start
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="psu-agent-demo-")))
        log = stack.enter_context((folder / "demo.log").open("wb"))
        remark = None
        wanted = port or USUAL_PORT
        if not is_free(wanted):
            if port is not None:
                raise DemoError(f"port {port} is taken; give another, or none")
            remark = f"Port {USUAL_PORT} is taken, so the broker has another."
        try:
            broker = LocalBroker(folder, port=0 if remark else wanted, kind=kind)
            broker.start()
        except NoBrokerError as error:
            raise DemoError(str(error)) from None
        stack.callback(broker.stop)

        supply = children.start([sys.executable, "-m", "agent.cli.simulate"], log, pipe=True)
        stack.callback(children.end, supply)
        resource = _first_line(supply, folder / "demo.log")

        configuration = folder / "psu-agent.yaml"
        configuration.write_text(yaml.safe_dump(_configuration(broker, resource, folder), sort_keys=False))
        agent_log = folder / "agent.log"
        agent_output = stack.enter_context(agent_log.open("wb"))
        agent = children.start([sys.executable, "-m", "agent.cli", "run", str(configuration)], agent_output)
        stack.callback(children.end, agent)
        yield Demo(broker.port_311, broker.kind, remark, agent, agent_log)


def _configuration(broker: LocalBroker, resource: str, folder: Path) -> dict[str, Any]:
    return {
        "settings": {
            "agent": "demo",
            "poll_interval": 0.5,
            "state_dir": str(folder / "state"),
            "mqtt": {"host": broker.host, "port": broker.port, "protocol": "5"},
        },
        "units": [
            {
                "name": UNIT,
                "model": "Keysight Technologies,E36313A",
                "uri": resource,
                "channels": {number: {"name": name} for number, name in CHANNELS.items()},
            }
        ],
    }


def _first_line(process: subprocess.Popen[bytes], log: Path) -> str:
    """The first line that the simulated supply prints: its resource name."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise DemoError(f"the simulated supply did not start: {_last_line(log)}")
    return line


def _wait_for_samples(client: Client, demo: Demo) -> None:
    client.subscribe([client.topics.state(UNIT, "+")])
    deadline = time.monotonic() + _START_TIMEOUT
    while client.inbox.empty():
        _check(demo)
        if time.monotonic() > deadline:
            raise DemoError(f"no sample within {_START_TIMEOUT:g} s; the agent says: {_last_line(demo.agent_log)}")
        time.sleep(0.02)


def _check(demo: Demo) -> None:
    if demo.agent.poll() is not None:
        raise DemoError(f"the agent ended by itself: {_last_line(demo.agent_log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demonstration as Ctrl-C does. Further signals do not interrupt the end itself."""

    def interrupt(*_: int | FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _program() -> str:
    """The command by which this program is called from the folder that it was started in."""
    own = Path(sys.argv[0])
    if own.name != "psu-agent":
        return "psu-agent"
    found = shutil.which("psu-agent")
    if found is not None and Path(found).resolve() == own.resolve():
        return "psu-agent"
    with contextlib.suppress(ValueError, OSError):  # it may be elsewhere, or the folder may have been removed
        return shlex.quote(str(own.absolute().relative_to(Path.cwd())))
    with contextlib.suppress(OSError):
        own = own.absolute()
    return shlex.quote(str(own))

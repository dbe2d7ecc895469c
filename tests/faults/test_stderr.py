"""An agent whose stderr nobody reads, or that has none: it goes on, and ends in time."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.lab import Observer, settings, unit, wait_until
from tests.support.processes import ROOT

RUN = [sys.executable, "-m", "agent.cli", "run"]
#: s. The contract's, and some for a busy machine.
STOP = 5.0 + 10.0


class Lab:
    """An agent in a process of its own, started by the test with any stderr; a supply and an observer."""

    def __init__(self, port: int, folder: Path) -> None:
        self.simulator = Simulator().start()
        self.observer = Observer(port)
        self.file = folder / "psu-agent.yaml"
        self.log = folder / "log"
        self.file.write_text(yaml.safe_dump(settings(port, [unit("psu1", self.simulator)], folder / "state")))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, stderr: int | None, *, script: str | None = None) -> subprocess.Popen[bytes]:
        command = [*RUN, str(self.file)] if script is None else ["/bin/sh", "-c", script, "sh", *RUN, str(self.file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=environment
        )
        self.observer.wait_state("psu1", online=True)
        return self.process

    def refuse(self, count: int) -> None:
        """Have so many commands refused, and wait for the answers."""
        before = len(self.observer.responses("psu1", 1))
        for number in range(count):
            self.observer.send("psu/psu1/1/set", {"voltage_limit": 1e6, "id": f"{before}-{number}"})
            if number % 200 == 199:  # no faster than it answers
                wait_until(lambda n=number: len(self.observer.responses("psu1", 1)) > before + n, "the responses")  # type: ignore[misc]
        wait_until(lambda: len(self.observer.responses("psu1", 1)) >= before + count, "all responses")

    def goes_on(self) -> None:
        assert self.observer.ask("psu/psu1/1/set", {"state": True, "voltage_limit": 1})["ok"]
        assert self.observer.ask("psu/psu1/1/set", {"state": False})["ok"]
        assert not self.simulator.instrument.channels[1].output
        self.observer.wait_state("psu1", after=self.observer.mark())

    def end(self) -> float:
        """SIGTERM, and the time that it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP) == 0
        return time.monotonic() - begun

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.observer.close()
        self.simulator.stop()


@pytest.fixture
def lab(broker: LocalBroker, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(broker.port, tmp_path)
    yield lab
    lab.close()


@pytest.mark.parametrize("room", [0, None])
def test_a_stderr_that_nobody_reads(lab: Lab, room: int | None) -> None:
    """``room`` 0: it is full already when the agent starts."""
    reader, writer = os.pipe()
    if room == 0:
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
    lab.start(writer)
    os.close(writer)
    lab.refuse(1000)
    lab.goes_on()
    lab.end()
    os.close(reader)


def test_a_terminal_whose_output_is_stopped(lab: Lab) -> None:
    """By Ctrl-S, which somebody pressed by mistake."""
    screen, terminal = pty.openpty()
    lab.start(terminal)
    termios.tcflow(terminal, termios.TCOOFF)
    lab.refuse(1000)
    lab.goes_on()
    lab.end()
    os.close(terminal)
    os.close(screen)


def test_a_flood_of_refusals_is_a_few_lines(lab: Lab) -> None:
    with lab.log.open("wb") as log:
        lab.start(log.fileno())
        lab.refuse(2000)
        lab.goes_on()
        lab.end()
    assert len(lab.log.read_text().splitlines()) < 200


def test_a_reader_that_goes_away(lab: Lab) -> None:
    reader, writer = os.pipe()
    lab.start(writer)
    os.close(writer)
    os.close(reader)
    lab.refuse(100)
    lab.goes_on()
    lab.end()


@pytest.mark.parametrize("closed", ["2>&-", "0<&- >&- 2>&-"])
def test_streams_that_are_closed_at_the_start(lab: Lab, closed: str) -> None:
    """The number of a closed one is the next file's or socket's: a line of the log must not go there."""
    process = lab.start(subprocess.DEVNULL, script=f'exec "$@" {closed}')
    lab.refuse(100)
    lab.goes_on()
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
    lab.end()


def test_a_disk_without_room_for_the_log(lab: Lab) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    lab.start(full)
    os.close(full)
    lab.refuse(100)
    lab.goes_on()
    lab.observer.wait("psu/agents/bench/metrics", lambda m: m["dropped_log_lines"] > 0, after=lab.observer.mark())
    lab.end()

"""`psu-agent log` where the broker, the agent, the link or the recording itself goes away: each sample is in the file once."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.commandline import Running, called
from tests.faults.proxy import Proxy
from tests.lab import AgentProcess, needs, settings, unit, wait_until

CHANNELS = 3


@dataclass
class Scene:
    """A broker that keeps sessions on its disk, an agent as a process of its own that polls ten times a second, and a folder."""

    broker: LocalBroker
    agent: AgentProcess
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "run.csv"

    def log(self, *arguments: str, port: int = 0, name: str = "run.csv") -> Running:
        url = f"mqtt://127.0.0.1:{port or self.broker.port}"
        return Running("log", "psu1", "-o", name, *arguments, cwd=self.folder, PSU_AGENT_BROKER=url)

    def rows(self) -> list[dict[str, str]]:
        if not self.file.exists():
            return []
        with self.file.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row["late"]]  # the last line may be half written

    def wait_rows(self, more: int = 3 * CHANNELS) -> None:
        """Wait until there are some more rows of each channel than now."""
        wanted = len(self.rows()) + more
        wait_until(lambda: len(self.rows()) >= wanted, f"{wanted} rows")

    def runs(self) -> list[list[int]]:
        """The numbers of each channel, apart by the agent's runs; in the order of the file."""
        found = []
        for index in range(1, CHANNELS + 1):
            own: list[list[int]] = []
            for row in self.rows():
                if row["index"] == str(index):
                    seq = int(row["seq"])
                    if not own or seq <= own[-1][-1]:
                        own.append([])
                    own[-1].append(seq)
            found += own
        return found

    def check(self, *, runs: int = 1) -> None:
        """Each number of each run once, in order; and the rows of a channel in the order of time."""
        found = self.runs()
        assert len(found) == CHANNELS * runs
        for numbers in found:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        for index in range(1, CHANNELS + 1):
            times = [row["time"] for row in self.rows() if row["index"] == str(index)]
            assert times == sorted(set(times))
        assert {row["late"] for row in self.rows()} == {"false"}


@pytest.fixture
def scene(make_broker: Callable[..., LocalBroker], tmp_path: Path) -> Iterator[Scene]:
    needs("mosquitto")
    kept = tmp_path / "broker"
    kept.mkdir()
    conf = f"persistence true\npersistence_location {kept}/\nautosave_interval 1\nmax_queued_messages 100000"
    broker = make_broker(kind="mosquitto", folder=kept, conf=conf)
    with Simulator("E36313A") as supply:
        data = settings(broker.port, [unit("psu1", supply)], tmp_path / "state")
        with AgentProcess(data, tmp_path / "agent").start() as agent:
            wait_until(
                lambda: called("get", "psu1", PSU_AGENT_BROKER=f"mqtt://127.0.0.1:{broker.port}").returncode == 0,
                "psu1",
            )
            yield Scene(broker, agent, tmp_path)


def end(log: Running) -> dict[str, int]:
    assert log.end(signal.SIGTERM) == 0
    assert "Traceback" not in log.text()
    summary: dict[str, int] = json.loads(log.text().splitlines()[-1])
    return summary


def test_the_broker_goes_and_comes_back(scene: Scene) -> None:
    with scene.log("--summary", "json") as log:
        for _ in range(2):
            scene.wait_rows()
            scene.broker.stop()
            log.wait_for("the connection to the broker is lost: it closed the connection")
            scene.broker.start()
            log.wait_for("the broker is there again")
        scene.wait_rows(10 * CHANNELS)
        summary = end(log)
    scene.check()
    assert summary["missing"] == 0
    assert summary["samples"] == len(scene.rows())


def test_a_broker_that_lets_nobody_in_any_more_is_told_once(scene: Scene) -> None:
    with scene.log() as log:
        scene.wait_rows()
        scene.broker.stop()
        log.wait_for("the connection to the broker is lost: ")
        scene.broker.conf += "\nallow_anonymous false"
        scene.broker.start()
        log.wait_for("lost: it refuses the connection: not authorized; trying again")
        tries = len(scene.broker.log.read_text().splitlines())
        wait_until(
            lambda: len(scene.broker.log.read_text().splitlines()) >= tries + 12, "it and the agent to try again"
        )
        assert log.text().count("the connection to the broker is lost: ") == 2, log.text()
        log.end(signal.SIGINT)
        assert "Traceback" not in log.text()


def test_the_agent_is_killed_and_starts_again(scene: Scene) -> None:
    with scene.log("--summary", "json") as log:
        scene.wait_rows()
        scene.agent.kill()
        scene.agent.start()
        wait_until(lambda: len(scene.runs()) == 2 * CHANNELS, "rows of the second run")
        scene.wait_rows()
        summary = end(log)
    scene.check(runs=2)
    assert [numbers[0] for numbers in scene.runs()[1::2]] == [1] * CHANNELS
    assert summary["missing"] == 0


def test_a_recording_that_is_killed_goes_on(scene: Scene) -> None:
    for number in range(3):
        with scene.log("--append", "--summary", "json") as log:
            scene.wait_rows()
            if number < 2:
                log.signal(signal.SIGKILL)
                wait_until(lambda log=log: log.ended() is not None, "the end")  # type: ignore[misc]
            else:
                assert "run.csv: the recording before broke off; going on with it" in log.text()
                summary = end(log)
    scene.check()
    assert summary["missing"] == 0


def test_a_parquet_recording_that_is_killed_goes_on(scene: Scene) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = scene.folder / "run.parquet.rows.csv"

    def count() -> int:
        return len(rows.read_text().splitlines()) if rows.exists() else 0

    for number in range(2):
        with scene.log("--append", "--summary", "json", name="run.parquet") as log:
            wanted = count() + 10
            wait_until(lambda wanted=wanted: count() > wanted, "rows")  # type: ignore[misc]
            if number == 0:
                log.signal(signal.SIGKILL)
                wait_until(lambda log=log: log.ended() is not None, "the end")  # type: ignore[misc]
            else:
                summary = end(log)
    assert summary["missing"] == 0
    table = parquet.read_table(scene.folder / "run.parquet", columns=["index", "seq"]).to_pylist()
    for index in range(1, CHANNELS + 1):
        numbers = [row["seq"] for row in table if row["index"] == index]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert not rows.exists()


def test_a_recording_whose_link_breaks_misses_nothing(scene: Scene) -> None:
    with Proxy(scene.broker.port) as proxy, scene.log("--summary", "json", port=proxy.port) as log:
        for _ in range(3):
            scene.wait_rows()
            proxy.end_all()
            log.wait_for("the connection to the broker is lost: it closed the connection")
            log.wait_for("the broker is there again; it kept what came meanwhile")
        scene.wait_rows()
        summary = end(log)
    scene.check()
    assert summary["missing"] == 0


def test_samples_that_the_broker_dropped_are_told(scene: Scene) -> None:
    """A broker that keeps no sessions: nobody has the states that came while the recording was dead."""
    with scene.log() as log:
        scene.wait_rows()
        log.signal(signal.SIGKILL)
        wait_until(lambda: log.ended() is not None, "the end")
    scene.broker.stop()
    for kept in scene.broker.folder.glob("*.db"):
        kept.unlink()
    scene.broker.start()
    before = len(scene.rows())
    with scene.log("--append") as log:
        wait_until(lambda: len(scene.rows()) > before, "rows after the gap")
        scene.wait_rows()
        assert log.end() == 0
        text = log.text()
    numbers = scene.runs()[0]
    assert len(numbers) == len(set(numbers))
    lacking = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert (f"psu1/1: {lacking} sample" in text) is (lacking > 0)

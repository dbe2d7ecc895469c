"""The cases in which the time of an off is measured: each an agent in trouble of one kind."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections import Counter as Counts
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks.rig import Agent, Counter, Units
from tests.support.frozen import Drain, FrozenDisk
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

#: s between polls, so that an off often meets one.
POLL_INTERVAL = 0.1
FLOOD_RATE = 1000
#: Samples of an hour at a poll a second, of each of three channels.
HOUR = 3600 * 3
#: So slow that no ramp ends by itself.
RAMP = '{"state": true, "voltage_limit": 5, "ramp": 0.02}'
_SETTING = '{"current_limit": 0.5}'
_STATE = {
    "time": "2026-11-23T09:15:02.417Z", "agent": "bench", "name": "CH1", "model": "E36313A", "online": True, "state": True,
    "voltage": 4.9998, "current": 0.1203, "power": 0.60147, "voltage_limit": 5.0, "current_limit": 1.0, "mode": "CV",
    "tripped": None, "voltage_protection": 27.5, "current_protection": False, "energy": 12.0417, "charge": 2.4101,
}  # fmt: skip


class Situation:
    """An agent that is well when this is entered, and in trouble from `begin` on. This one is in none."""

    poll_interval = POLL_INTERVAL

    def __init__(self, folder: Path, port: int, units: Units, *, profile: Path | None) -> None:
        self.folder = folder
        self.port = port
        self.units = units
        self.state = folder / "state"
        self.stderr: Path | None = None
        self.stack = contextlib.ExitStack()
        self._profile = profile

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self.stack.close)
            self.prepare()
            self.agent = self.started(profile=self._profile)
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def started(self, *, profile: Path | None = None) -> Agent:
        """An agent that polls its units, the last of which is the floor's."""
        agent = Agent(
            self.folder,
            self.port,
            self.units.resources[:-1],
            poll_interval=self.poll_interval,
            settings={"state_dir": str(self.state)},
            profile=profile,
            stderr=self.stderr,
        )
        self.stack.enter_context(agent)
        enough = 3 * len(agent.names)
        with Counter(self.folder, self.port, "psu/+/+/state") as states:
            agent.wait_until(lambda: states.count > enough, "the agent publishes states")
        return agent

    def flood(self, rate: float, payload: str, *topics: str) -> Counter:
        """Commands from now on. Returns when the first is answered: a counter of the responses."""
        responses = self.stack.enter_context(Counter(self.folder, self.port, "psu/+/+/response"))
        command = [sys.executable, "-m", "benchmarks.flood", str(self.port), str(rate), payload, *topics]
        self.stack.enter_context(Process(command, self.folder / "flood.log", folder=ROOT))
        wait_until(lambda: responses.count > 0, "the flood's first response")
        return responses

    def prepare(self) -> None:
        """Before the agent is started."""

    def begin(self) -> None:
        """Make the trouble, and wait until it is there."""

    def before_off(self) -> None:
        """Before each off."""

    def said(self) -> str:
        """What shows that the trouble was there."""
        return "no trouble"


class FloodOfUnit(Situation):
    def begin(self) -> None:
        self._responses = self.flood(FLOOD_RATE, _SETTING, "psu/psu1/2/set", "psu/psu1/3/set")

    def said(self) -> str:
        return f"{self._responses.count} responses to the flood"


class FloodOfOthers(FloodOfUnit):
    def begin(self) -> None:
        self._responses = self.flood(FLOOD_RATE, _SETTING, *(f"psu/psu{number}/2/set" for number in (2, 3, 4)))


class Frozen(Situation):
    def prepare(self) -> None:
        self._disk = self.stack.enter_context(FrozenDisk(self.folder))
        self.state = self._disk.path / "state"

    def begin(self) -> None:
        # Later than the agent on the stack: a process that waits for a frozen disk can't be ended.
        self.stack.callback(self._disk.thaw)
        self._disk.freeze()

    def said(self) -> str:
        stats = Path(f"/proc/{self.agent.pid}/task").glob("*/stat")
        waiting = [stat for stat in stats if stat.read_text().rpartition(")")[2].split()[0] == "D"]
        return f"{len(waiting)} threads wait for the disk"


class Unread(Situation):
    def prepare(self) -> None:
        self._drain = self.stack.enter_context(Drain(self.folder, self.folder / "agent.log"))
        self.stderr = self._drain.pipe

    def begin(self) -> None:
        self.stack.callback(self._drain.release)
        self._drain.hold()
        self.flood(50, "nonsense", "psu/psu1/2/set")
        wait_until(lambda: self._drain.unread > self._drain.size * 3 / 4, "stderr to be full")

    def said(self) -> str:
        return f"{self._drain.unread} bytes stand unread in stderr"


class Ramps(Situation):
    def begin(self) -> None:
        self._steps: Counts[str] = Counts()
        self._looked = 0
        self._sender = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._sender.connect("127.0.0.1", self.port)
        self._sender.loop_start()
        self.stack.callback(self._sender.loop_stop)
        for channel in ("2", "3"):
            self._sender.publish(f"psu/psu1/{channel}/set", RAMP, qos=1)

    def before_off(self) -> None:
        # The one before ended the ramp of channel 1.
        self._sender.publish("psu/psu1/1/set", RAMP, qos=1)
        before = self._steps["1"]
        wait_until(lambda: self._count_steps()["1"] > before + 1, "the ramp of channel 1 to climb")

    def said(self) -> str:
        return "steps by channel: " + ", ".join(f"{self._steps[channel]}" for channel in "123")

    def _count_steps(self) -> Counts[str]:
        writes = self.units.writes()
        steps = (text for number, _, text in writes[self._looked :] if number == 0 and text.startswith("VOLT "))
        self._steps.update(text[-2] for text in steps)  # VOLT 1.002,(@1)
        self._looked = len(writes)
        return self._steps


class Hanging(Situation):
    def begin(self) -> None:
        for number in (1, 2, 3):
            self.units.hang(number)

    def said(self) -> str:
        return "three units hang"


class Backlog(Situation):
    poll_interval = 1.0

    def prepare(self) -> None:
        self.started().stop()  # it makes the file
        with contextlib.closing(sqlite3.connect(self.state / "bench.sqlite3")) as database, database:
            for unit in range(1, len(self.units.resources)):
                rows = (
                    (f"psu/psu{unit}/{1 + number % 3}/backlog", _sample(f"psu{unit}", 1 + number % 3, number // 3))
                    for number in range(HOUR)
                )
                database.executemany("INSERT INTO samples (topic, payload) VALUES (?, ?)", rows)

    def begin(self) -> None:
        self._sent = self.stack.enter_context(Counter(self.folder, self.port, "psu/+/+/backlog"))
        wait_until(lambda: self._sent.count > 0, "the backlog")

    def said(self) -> str:
        before = self._sent.count
        wait_until(lambda: self._sent.count > before, "more of the backlog, which was there for all of the offs")
        return f"{before} samples of the backlog were sent meanwhile"


def _sample(unit: str, channel: int, seq: int) -> bytes:
    return json.dumps({**_STATE, "psu": unit, "index": channel, "seq": seq}).encode()


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table.

    :param latency: s that a message takes the units
    :param units: that the agent has; the first is the one that is turned off
    :param count: offs to be measured
    """

    name: str
    text: str
    situation: type[Situation]
    latency: float = 0.01
    units: int = 1
    count: int = 200


CASES = (
    Case("quiet1", "quiet", Situation, latency=0.001),
    Case("quiet10", "quiet", Situation),
    Case("flood", f"{FLOOD_RATE:,} valid commands/s to the unit's other channels", FloodOfUnit),
    Case("others", f"{FLOOD_RATE:,} valid commands/s to three other units", FloodOfOthers, units=4),
    Case("disk", "frozen disk", Frozen),
    Case("stderr", "blocked stderr", Unread),
    Case("ramps", "three ramps", Ramps, latency=0.03, count=100),
    Case("hang", "three other units hanging", Hanging, units=4),
    Case("backlog", "an hour's backlog of ten units being sent", Backlog, units=10),
)

"""Each alert on a real fault: simulated supplies, agents, Mosquitto, Telegraf and InfluxDB, and the shipped rules in real time.

Faults that do not disturb each other happen at once. It takes nine minutes, nearly all of it the rules' own time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest

from agent.simulator import Load, Simulator
from agent.simulator.loads import OperatingPoint, Resistor
from tests.stack.client import Client
from tests.stack.services import Broker, Store, Telegraf, generate_secrets, stopping
from tests.support.agents import AgentProcess
from tests.support.bench import settings, unit
from tests.support.relay import Relay
from tests.support.waiting import wait_until

from .watch import Watch

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

#: s. The rules' own times are up to three minutes.
LONG = 240.0
#: Bytes a second of a slow link.
SLOW = 12_000
#: Loads of a channel that is set to 5 V and 1 A.
LIGHT, NEAR_LIMIT, TOO_HEAVY = Resistor(10.0), Resistor(5.2), Resistor(2.0)


@dataclass(frozen=True)
class Flipping(Load):
    """Too heavy every other second and a half."""

    def operating_point(self, voltage: float, current_limit: float, time: float) -> OperatingPoint:
        load = TOO_HEAVY if time % 3 < 1.5 else LIGHT
        return load.operating_point(voltage, current_limit, time)


class SlowLink(Relay):
    """Passes all until it is slow, and then little upward."""

    def __init__(self, target: int) -> None:
        self.slow = False
        super().__init__(target)

    def passing(self, number: int, upward: bool, data: bytes) -> Iterable[bytes]:
        if not (upward and self.slow):
            yield data
            return
        for start in range(0, len(data), 1000):
            piece = data[start : start + 1000]
            if self.slow:
                threading.Event().wait(len(piece) / SLOW)
            yield piece


class Lab:
    def __init__(self, folder: Path) -> None:
        self.secrets = generate_secrets(folder / "secrets")
        self.broker, self.store = Broker(folder / "broker", self.secrets), Store(folder / "store")
        self.telegraf = Telegraf(folder / "telegraf", self.broker, self.store.url)
        self.supplies = {
            name: Simulator() for name in ("channels", "quiet", "near", "cut", "killed", "slow", "dropping")
        }
        for supply in self.supplies.values():
            for channel in (1, 2, 3):
                supply.instrument.set_load(channel, LIGHT)
                supply.instrument.panel.knob_voltage(channel, 5.0)
                supply.instrument.panel.knob_current(channel, 1.0)
                supply.instrument.panel.press_output(channel, True)
        for name in ("channels", "quiet"):
            self.supplies[name].instrument.set_load(3, Flipping())
        self._folder = folder

    def agent(self, name: str, *units: str, port: int | None = None, **more: Any) -> AgentProcess:
        password = {
            "username": "agent",
            "password_file": str(self.secrets / "agent" / "mqtt_password"),
            "keepalive": 60,
        }
        entries = [unit(psu, self.supplies[psu], pyvisa_args={"timeout": 2000, "open_timeout": 2000}) for psu in units]
        for entry in entries:
            if entry["name"] == "quiet":  # a state once in a minute, and when its mode changes
                entry["publish"] = {"changes_only": True, "deadband": 0.2}
        more = {"agent": name, "poll_interval": 1.0} | more
        data = settings(port or self.broker.port, entries, self._folder / name / "state", mqtt=password, **more)
        return AgentProcess(data, self._folder / name)

    def channels_are_read(self, can: bool) -> None:
        """Give Telegraf the right to read channels, or take it away, as a wrong line in the list would."""
        acl = self.secrets / "mosquitto" / "acl"
        before, mark, after = acl.read_text().partition("user telegraf\n")
        section, blank, rest = after.partition("\nuser ")
        for leaf in ("state", "backlog"):
            with_it, without = f"topic read psu/+/+/{leaf}", f"topic deny psu/+/+/{leaf}"
            old, new = (without, with_it) if can else (with_it, without)
            assert section.count(old) == 1, section
            section = section.replace(old, new)
        acl.write_text(before + mark + section + blank + rest)
        self.broker.signal(SIGHUP)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    with stopping(lab.telegraf, lab.store, lab.broker):
        for supply in lab.supplies.values():
            supply.start()
        for service in (lab.broker, lab.store, lab.telegraf):
            service.start()
        yield lab
    for supply in lab.supplies.values():
        if supply.running:
            supply.stop()


def test_each_alert_fires_and_ends(lab: Lab) -> None:
    link, outage = SlowLink(lab.broker.port), Relay(lab.broker.port)
    agents = {
        "bench1": lab.agent("bench1", "channels", "quiet", "near", "cut"),
        "bench2": lab.agent("bench2", "killed"),
        "bench3": lab.agent("bench3", "slow", port=link.port, poll_interval=0.02),
        "bench4": lab.agent("bench4", "dropping", port=outage.port, backlog={"samples": 10}),
    }
    with link, outage, stopping(*agents.values()), Client(lab.broker, "commands") as commands:
        for agent in agents.values():
            agent.start()
        units = "SELECT last(units_online) AS n FROM psu_agent GROUP BY agent"
        wait_until(lambda: sorted(row["n"] for row in lab.store.rows(units)) == [1, 1, 1, 4], "all units online", 60)
        with Watch(lab.store) as watch:
            watch.wait_evaluations(2)
            assert watch.ever() == set()

            # Everything at once.
            channels, near = lab.supplies["channels"].instrument, lab.supplies["near"].instrument
            channels.panel.knob_protection(1, 4.9)
            quiet = lab.supplies["quiet"].instrument
            for supply in (channels, quiet):
                supply.set_load(2, TOO_HEAVY)
            near.set_load(1, NEAR_LIMIT)
            near.panel.knob_protection(2, 5.1)
            lab.supplies["cut"].stop()
            agents["bench2"].kill()
            link.slow = True
            outage.stop()
            watch.wait_firing("Trip", "bench1 channels 1", 60)
            channels.panel.knob_protection(1, 6.6)
            commands.publish("psu/channels/1/set", json.dumps({"clear_protection": True}))
            watch.wait_firing("Unit offline", "cut", LONG)
            watch.wait_firing("Agent gone", "bench2", LONG)
            outage.start()
            lab.supplies["cut"].start()
            agents["bench2"].start()
            for supply, psu in ((channels, "channels"), (quiet, "quiet")):
                watch.wait_firing("Unexpected CC", f"bench1 {psu} 2", LONG)
                supply.set_load(2, LIGHT)
            watch.wait_firing("Samples dropped", "bench4", LONG)
            watch.wait_firing("Near over-voltage protection", "bench1 near 2", LONG)
            near.panel.knob_protection(2, 20.0)
            watch.wait_firing("Near the current limit", "bench1 near 1", LONG)
            near.set_load(1, LIGHT)
            watch.wait_firing("Backlog growing", "bench3", LONG)
            link.slow = False
            for title, name in watch.ever() - {("Samples dropped", "bench4")}:
                watch.wait_ended(title, name, LONG)

            # Telegraf's input for channels is dead, then the store.
            lab.channels_are_read(False)
            watch.wait_firing("Nothing is stored", "all", LONG)
            lab.channels_are_read(True)
            watch.wait_ended("Nothing is stored", "all", 60)
            before = watch.firing()
            lab.store.stop()
            watch.wait_firing("Nothing is stored", "all", LONG)
            assert watch.firing() == before | {("Nothing is stored", "all")}
            assert watch.failures("Trip") > 0
            lab.store.start()
            watch.wait_ended("Nothing is stored", "all", 60)
            watch.wait_ended("Samples dropped", "bench4", 400)
            watch.wait_evaluations(3)
            assert watch.firing() == set()
            # Of the channels whose mode flips, and of all others: nothing.
            assert watch.ever() == {
                ("Unit offline", "cut"),
                ("Trip", "bench1 channels 1"),
                ("Unexpected CC", "bench1 channels 2"),
                ("Unexpected CC", "bench1 quiet 2"),
                ("Near the current limit", "bench1 near 1"),
                ("Near over-voltage protection", "bench1 near 2"),
                ("Agent gone", "bench2"),
                ("Agent gone", "bench4"),  # in its outage
                ("Backlog growing", "bench3"),
                ("Samples dropped", "bench4"),
                ("Nothing is stored", "all"),
            }

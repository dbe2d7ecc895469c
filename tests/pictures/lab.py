"""A lab to look at dashboards with: `python -m tests.pictures.lab FOLDER [--well]`, until Ctrl-C.

The real broker, Telegraf, store and agents, and simulated supplies of several makes. Half of what a lab can have is wrong in it;
with ``--well`` nothing is. FOLDER/lab.json tells where the store is. After 80 s all has happened.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from agent.simulator import E36300, Load, NetworkInstrument, Reactor, Supply, loads, make_supply
from tests.commandline import psu_agent
from tests.stack.services import BUCKET, Broker, Store, Telegraf, generate_secrets
from tests.support.agents import AgentProcess
from tests.support.relay import Relay
from tests.support.waiting import wait_until

#: Unit: agent, model, and for each channel its name ("" for the default one), V and A that it is set to, and its load.
Channel = tuple[str, float, float, Load]
UNITS: dict[str, tuple[str, str, list[Channel]]] = {
    "psu1": (
        "bench1",
        "E36313A",
        [
            ("LOGIC", 3.3, 2.0, loads.Square(loads.ConstantPower(0.4), loads.ConstantPower(2.1), period=9.0)),
            ("MOTOR", 12.0, 0.6, loads.Wander(0.24, 0.16, period=6.0)),
            ("LAMP", 24.0, 0.5, loads.Square(loads.Resistor(150.0), loads.Resistor(55.0), period=21.0, duty=0.7)),
        ],
    ),
    "psu2": (
        "bench1",
        "DP832",
        [("", 5.0, 1.0, loads.Resistor(12.0)), ("", 12.0, 1.5, loads.Wander(0.8, 0.3)), ("", 3.3, 0.5, loads.Open())],
    ),
    "psu3": (
        "bench1",
        "SPD3303X",
        [("", 9.0, 1.0, loads.Resistor(30.0)), ("", 5.0, 1.0, loads.Wander(0.3, 0.1)), ("", 3.3, 3.0, loads.Open())],
    ),
    "psu4": (
        "bench1",
        "HMP4040",
        [
            ("VDD_CORE", 1.2, 4.0, loads.Wander(1.5, 1.0, period=4.0)),
            ("VDD_IO", 1.8, 2.0, loads.ConstantPower(0.9)),
            ("COIL", 12.0, 2.0, loads.Resistor(8.0)),
            ("LED CC", 12.0, 0.15, loads.Resistor(40.0)),
        ],
    ),
    "charger": ("bench1", "E3640A", [("BATTERY", 6.0, 0.35, loads.Resistor(20.0))]),
    "rf-bench": (
        "bench1",
        "CPX400DP",
        [("PA", 28.0, 3.0, loads.Wander(1.4, 0.7, period=5.0)), ("BIAS", 5.0, 0.5, loads.Wander(0.3, 0.1))],
    ),
    "psu7": ("bench2", "KA3005P", [("", 13.8, 2.0, loads.Wander(0.9, 0.4))]),
    "psu8": (
        "bench2",
        "E36312A",
        [
            ("SENSOR", 5.0, 0.5, loads.ConstantCurrent(0.08)),
            ("PUMP", 12.0, 1.0, loads.Wander(0.5, 0.3)),
            ("VALVE", 24.0, 0.5, loads.Resistor(120.0)),
        ],
    ),
}
#: Limits of the lab's configuration, beyond which a command is refused.
LIMITS = {"psu1": {1: {"voltage_max": 5.5}}, "psu4": {1: {"voltage_max": 1.3}, 2: {"voltage_max": 2.0}}}


class Lab:
    """All of it; as a context manager it runs until the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended = threading.Event()
        #: All that goes wrong has gone wrong.
        self.happened = threading.Event()
        self.broker = Broker(folder / "broker", generate_secrets(folder / "secrets"))
        self.store = Store(folder / "store")
        self.supplies: dict[str, E36300 | Supply] = {}
        self.agents: dict[str, AgentProcess] = {}
        self.links: dict[str, Relay] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        stack = self._stack
        stack.enter_context(self.broker)
        stack.enter_context(self.store)
        stack.enter_context(Telegraf(self.folder / "telegraf", self.broker, self.store.url))
        reactor = Reactor()
        reactor.start()
        stack.callback(reactor.stop)
        for seed, (name, (_, model, channels)) in enumerate(UNITS.items()):
            kinds = {number: channel[3] for number, channel in enumerate(channels, 1)}
            supply = make_supply(model, serial=f"{61004803 + seed}", loads=kinds, seed=seed, log_size=10)
            self.supplies[name] = supply
            for number, (_, voltage, current, _) in enumerate(channels, 1):
                self.turn(name, number, voltage, current)
                self.press(name, number, on=True)
            instrument = stack.enter_context(NetworkInstrument(supply, reactor=reactor))
            assert instrument.socket_port
            self.links[name] = stack.enter_context(Relay(instrument.socket_port))
        for agent in ("bench1", "bench2"):
            self.start_agent(agent)
            stack.callback(self.stop_agent, agent)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def reader(self) -> dict[str, str]:
        """Where the store is and how it is read, for `Drawing`."""
        return {"url": self.store.url, "token": self.store.token("grafana"), "database": BUCKET}

    # --- what people do at the bench

    def turn(self, unit: str, channel: int, voltage: float, current: float) -> None:
        """Knobs at the unit."""
        supply = self.supplies[unit]
        if isinstance(supply, E36300):
            supply.panel.knob_voltage(channel, voltage)
            supply.panel.knob_current(channel, current)
        else:
            supply.turn(channel, voltage, current)

    def press(self, unit: str, channel: int, *, on: bool) -> None:
        """The key of an output."""
        supply = self.supplies[unit]
        if isinstance(supply, E36300):
            supply.panel.press_output(channel, on=on)
        else:
            supply.press_output(channel, on=on)

    def load(self, unit: str, channel: int, load: Load) -> None:
        """Another load on an output."""
        self.supplies[unit].set_load(channel, load)

    # --- agents

    def start_agent(self, agent: str, names: dict[tuple[str, int], str] | None = None) -> None:
        """Start an agent, with other names for some channels."""
        units = []
        for unit, (served_by, model, channels) in UNITS.items():
            if served_by != agent:
                continue
            entries: dict[int, dict[str, Any]] = {}
            for number, (name, *_) in enumerate(channels, 1):
                entry: dict[str, Any] = dict(LIMITS.get(unit, {}).get(number, {}))
                if name := (names or {}).get((unit, number), name):
                    entry["name"] = name
                if entry:
                    entries[number] = entry
            uri = f"TCPIP::127.0.0.1::{self.links[unit].port}::SOCKET"
            args = {"timeout": 5000, "open_timeout": 5000}
            units.append({"name": unit, "model": model, "uri": uri, "pyvisa_args": args, "channels": entries})
        mqtt = {
            "host": "127.0.0.1",
            "port": self.broker.port,
            "username": "agent",
            "password": self.broker.password("agent"),
        }
        settings = {"agent": agent, "state_dir": str(self.folder / agent / "state"), "mqtt": mqtt}
        self.agents[agent] = AgentProcess({"settings": settings, "units": units}, self.folder / agent)
        self.agents[agent].start()

    def stop_agent(self, agent: str) -> None:
        """End an agent in good order, if it runs."""
        if self.agents[agent].runs:
            self.agents[agent].stop()

    def set(self, channel: str, *options: str) -> None:
        """A command, as somebody gives it at a shell; it may be refused."""
        url = f"mqtt://commands@127.0.0.1:{self.broker.port}"
        psu_agent("set", channel, *options, "--broker", url, PSU_AGENT_MQTT_PASSWORD=self.broker.password("commands"))

    # --- what happens

    def wait(self, seconds: float) -> bool:
        """False at the end of the lab."""
        return not self.ended.wait(seconds)

    def serve(self, *, well: bool) -> None:
        """Work and faults, until the lab ends."""
        steps = self.good_days() if well else self.bad_days()
        while self.wait(next(steps)):
            pass

    def good_days(self) -> Iterator[float]:
        """People work, and nothing goes wrong."""
        while True:
            yield 20
            self.set("psu1/1", "--voltage-limit", "3.2")
            yield 40
            self.set("psu1/1", "--voltage-limit", "3.3")
            yield 30
            self.press("psu3", 2, on=False)
            yield 30
            self.press("psu3", 2, on=True)

    def bad_days(self) -> Iterator[float]:
        """A load that is too much, one that makes its supply flip, a trip, a cable, another name, an agent that is killed."""
        yield 30
        self.load("psu4", 3, loads.Resistor(4.5))
        # Between the two loads the supply goes from CV to CC and back every second.
        flipping = loads.Square(loads.ConstantCurrent(0.48), loads.Resistor(8.0), period=2.2)
        self.load("rf-bench", 2, flipping)
        yield 15
        supply = self.supplies["psu1"]
        assert isinstance(supply, E36300)
        supply.panel.knob_protection(2, 9.0)
        yield 10
        self.links["charger"].stop()
        yield 10
        self.stop_agent("bench1")
        self.start_agent("bench1", {("psu2", 1): "CAMERA"})
        yield 10
        self.agents["bench2"].kill()
        self.happened.set()
        while True:
            self.set("psu1/1", "--voltage-limit", "3.2")
            yield 20
            self.set("psu1/1", "--voltage-limit", "9")
            yield 20
            self.set("psu4/1", "--state", "off")
            yield 20
            self.set("psu4/1", "--state", "on")
            self.set("psu1/1", "--voltage-limit", "3.3")
            yield 30
            self.press("psu3", 2, on=False)
            yield 40
            self.press("psu3", 2, on=True)


def main() -> int:
    """Run the lab until a signal ends it."""
    parser = argparse.ArgumentParser(description="A lab to look at dashboards with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--well", action="store_true", help="nothing goes wrong")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with Lab(options.folder) as lab:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: lab.ended.set())
        wait_until(lambda: lab.store.rows("SELECT last(voltage) FROM psu_channel"), "the first sample is stored")
        told = lab.reader()
        (options.folder / "lab.json").write_text(json.dumps(told))
        print(json.dumps(told), flush=True)
        lab.serve(well=options.well)
    return 0


if __name__ == "__main__":
    sys.exit(main())

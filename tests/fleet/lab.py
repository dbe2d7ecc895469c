"""A laboratory of several hosts: a broker, supplies, and agents, each pair of which has a link of its own."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fleet.instrument import READY
from tests.support.agents import AgentProcess
from tests.support.bench import settings, unit
from tests.support.namespaces import Host, Link, Network
from tests.support.observer import Observer
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until

BROKER, OTHER_BROKER = "192.0.2.1", "192.0.2.2"
SUPPLY, OTHER_SUPPLY_ADDRESS = "192.0.2.11", "192.0.2.12"
BENCHES = {"bench1": "192.0.2.21", "bench2": "192.0.2.22"}
"""The hosts of agents, which have their names. An agent's messages to a supply come from this address."""

MQTT_PORT, SCPI_PORT = 1883, 5025
#: Makes an agent connect again soon, and run with what a test can wait for.
QUICK = "from tests.support import inside; inside.retry_soon(setattr); inside.take_over_soon_from_agents(setattr); "
_CONF = """
listener {port} {address}
listener 0 {path}
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 100000
log_dest stderr
user root
{more}
"""

_BRIDGE = f"""
connection site
address {BROKER}:{MQTT_PORT}
topic # both 1
bridge_protocol_version mqttv50
notifications false
restart_timeout 1
keepalive_interval 5
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a supply has carried out."""

    moment: float  # s, time.monotonic
    peer: str  # the address that it came from
    text: str
    outputs: tuple[bool, ...]  # which are on after it

    @property
    def is_off(self) -> bool:
        return bool(re.fullmatch(r"OUTP 0,\(@[\d,:]+\)", self.settings)) if self.settings else False

    @property
    def settings(self) -> str:
        """The parts of it that set something; empty for one that only asks."""
        return ";".join(part for part in self.text.split(";") if part and "?" not in part and "*CLS" not in part)


class Supply:
    """A simulated supply on a host, which writes down who sends it what."""

    def __init__(self, host: Host, folder: Path, serial: str, port: int) -> None:
        self.port = port
        self._log = folder / f"supply-{port}.jsonl"
        self._sent: list[Sent] = []
        self._position = 0
        command: list[str | Path] = [
            *host.way,
            sys.executable,
            "-m",
            "tests.fleet.instrument",
            self._log,
            str(port),
            serial,
        ]
        self._process = Process(
            command, folder / f"supply-{port}.log", environment={"PYTHONPATH": str(ROOT)}, piped=True
        ).start()
        self._await(READY)

    def uri(self, address: str = SUPPLY) -> str:
        return f"TCPIP::{address}::{self.port}::SOCKET"

    def order(self, *words: object) -> None:
        """``press CHANNEL on``, ``latency SECONDS``, ``freeze``, ``thaw``, ``disconnect``."""
        stdin = self._process.process.stdin
        assert stdin is not None
        stdin.write(" ".join(map(str, words)).encode() + b"\n")
        stdin.flush()
        self._await("done")

    def _await(self, word: str) -> None:
        stdout = self._process.process.stdout
        assert stdout is not None
        said = stdout.readline().decode().strip()
        assert said == word, f"the supply said {said!r}: {self._process.text()}"

    def log(self) -> list[Sent]:
        """All that it has carried out, in order."""
        with self._log.open("rb") as log:
            log.seek(self._position)
            *lines, _ = log.read().split(b"\n")
        for line in lines:
            self._position += len(line) + 1
            moment, peer, text, outputs = json.loads(line)
            self._sent.append(Sent(moment, peer, text, tuple(map(bool, outputs))))
        return self._sent

    def settings(self) -> list[Sent]:
        """The messages that set something, but turn off nothing."""
        return [sent for sent in self.log() if sent.settings and not sent.is_off]

    def authors(self) -> list[str]:
        """The agents that sent settings, one for each row of settings of one agent."""
        names = {address: name for name, address in BENCHES.items()}
        return [names[peer] for peer, _ in itertools.groupby(self.settings(), lambda sent: sent.peer)]

    def outputs(self) -> tuple[bool, ...]:
        """Which outputs are on, as of the last message."""
        return self.log()[-1].outputs

    def close(self) -> None:
        self._process.kill()


class HostBroker(Process):
    """Mosquitto on a host, and on a Unix socket, so that the test has a way to it that no cut reaches."""

    def __init__(self, host: Host, folder: Path, address: str, *, more: str = "") -> None:
        # The path of a socket takes 107 bytes.
        self._place = tempfile.mkdtemp(prefix="psu-agent-broker-")
        self.path = Path(self._place) / "mqtt"
        file = folder / f"mosquitto-{host.name}.conf"
        file.write_text(_CONF.format(port=MQTT_PORT, address=address, path=self.path, more=more))
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        super().__init__([*host.way, program, "-c", file], folder / f"mosquitto-{host.name}.log")

    def start(self) -> Self:
        """Start it, and wait until it accepts connections."""
        self.path.unlink(missing_ok=True)
        super().start()
        wait_until(self._accepts, f"the broker; it said {self.text()[-300:]}")
        return self

    def _accepts(self) -> bool:
        assert self.ended() is None, self.text()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._place)


class HostAgent(AgentProcess):
    """An agent on a host of its own."""

    def __init__(self, host: Host, data: dict[str, Any], folder: Path) -> None:
        self.host = host
        self.name: str = data["settings"]["agent"]
        super().__init__(data, folder, way=host.way)

    def start(self, *, before: str = "") -> Self:
        """Start it. ``before`` is Python code that runs first."""
        return super().start(before=QUICK + before)

    def serve_once(self, fleet: FleetLab, name: str) -> None:
        """Wait until it serves a unit, and end it."""
        fleet.wait_serves(self.name, name)
        assert self.stop() == 0

    def call(self, *arguments: str) -> str:
        """Run another command of ``psu-agent`` on its host to its end. Its output."""
        return self.host.call("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "agent.cli", *arguments)


class Site:
    """The hosts and their links, which one test after another uses: ``hosts`` by name, ``links`` by the names of both ends."""

    def __init__(self) -> None:
        self._network = network = Network()
        self.hosts = {
            "broker": network.host("broker", BROKER),
            "broker2": network.host("broker2", OTHER_BROKER),
            "supply": network.host("supply", SUPPLY, OTHER_SUPPLY_ADDRESS),
            **{name: network.host(name, address) for name, address in BENCHES.items()},
        }
        self.links = {
            (first, second): network.link(self.hosts[first], self.hosts[second])
            for first, second in (
                *itertools.product(BENCHES, ("broker", "supply")),
                ("bench2", "broker2"),
                ("broker2", "broker"),
            )
        }

    def close(self) -> None:
        self._network.close()


class FleetLab:
    """A broker, an observer that no cut reaches, supplies and agents on a site; all of them end with it."""

    def __init__(self, site: Site, folder: Path, *, conf: str = "", persistent: bool = False) -> None:
        """``persistent``: a broker that is killed still has what it retained when it comes back."""
        self.site = site
        self.folder = folder
        self._stack = ExitStack()
        more = f"persistence true\npersistence_location {folder}/\nautosave_interval 1\n{conf}" if persistent else conf
        self.broker = HostBroker(site.hosts["broker"], folder, BROKER, more=more)
        self._stack.callback(self.broker.close)
        self.broker.start()
        self.observer = Observer(self.broker.path)
        self._stack.callback(self.observer.close)
        self._ports = itertools.count(SCPI_PORT)

    def bridged_broker(self) -> HostBroker:
        """A second broker, whose topics and the first one's are the same over a bridge; the agent of bench2 can use it."""
        broker = HostBroker(self.site.hosts["broker2"], self.folder, OTHER_BROKER, more=_BRIDGE)
        self._stack.callback(broker.close)
        return broker.start()

    def supply(self, serial: str = "MY61004803") -> Supply:
        """A new supply, which all agents reach at `SUPPLY` and `OTHER_SUPPLY_ADDRESS`."""
        supply = Supply(self.site.hosts["supply"], self.folder, serial, next(self._ports))
        self._stack.callback(supply.close)
        return supply

    def agent(
        self, bench: str, units: Sequence[dict[str, Any]], *, state: str = "", broker: str = BROKER, **more: Any
    ) -> HostAgent:
        """An agent on a bench, not started. ``state``: names its state directory; ``more`` goes into ``settings:``."""
        folder = self.folder / bench
        given = {"agent": bench, **more}
        mqtt = {"host": broker, "port": MQTT_PORT, **given.pop("mqtt", {})}
        data = settings(0, list(units), folder / f"state{state}", mqtt=mqtt, **given)
        agent = HostAgent(self.site.hosts[bench], data, folder)
        self._stack.callback(agent.kill)
        return agent

    def link(self, bench: str, other: str = "broker") -> Link:
        """Its link to ``broker`` or to ``supply``."""
        return self.site.links[bench, other]

    def ask(self, topic: str, payload: str | dict[str, Any], answers: int = 2) -> list[Any]:
        """Send a command, and wait for that many responses."""
        observer = self.observer
        to, correlation = observer.answers, f"{observer.name}-{observer.mark()}-{topic}".encode()
        observer.send(topic, payload, response_topic=to, correlation=correlation)

        def found() -> list[Any]:
            return [message.json for message in observer.on(to) if message.correlation == correlation]

        wait_until(lambda: len(found()) >= answers, f"{answers} responses to {payload} on {topic}")
        return found()

    def info(self, agent: str, name: str = "psu1", *, after: int = 0) -> Any:
        """The newest info of a unit that this agent has published; None where there is none."""
        for message in reversed(self.observer.received[after:]):
            if message.topic == f"psu/{name}/info" and message.payload:
                info = _content(message.payload)
                if isinstance(info, dict) and info.get("agent") == agent:
                    return info
        return None

    def wait_serves(self, agent: str, name: str = "psu1", *, serves: bool = True, after: int = 0) -> Any:
        """The info by which an agent says that it serves a unit and its supply answers; or that another agent serves it."""

        def found() -> Any:
            info = self.info(agent, name, after=after)
            if info is None or info["serves"] is not serves or info["online"] is not serves:
                return None
            return info if (info["reason"] is None if serves else info["conflict"]) else None

        return wait_until(found, f"the info of {agent}: it {'serves' if serves else 'does not serve'} {name}")

    def codes(self, topic: str, payload: str | dict[str, Any], answers: int = 2) -> list[str]:
        """The codes of the responses to a command, in alphabetical order; ``ok`` for one that was carried out."""
        responses = self.ask(topic, payload, answers)
        return sorted("ok" if one["ok"] else one["error"]["code"] for one in responses)

    def wait_codes(self, topic: str, payload: str | dict[str, Any], *codes: str) -> None:
        """Send a command until it is answered so, as an agent that has taken over does not take settings at once."""
        wait_until(lambda: self.codes(topic, payload, len(codes)) == list(codes), f"{codes} for {payload} on {topic}")

    def wait_polls(self, supply: Supply, bench: str, count: int) -> None:
        """Wait until an agent has polled that often, ten times a second."""
        address = BENCHES[bench]
        before = len(supply.log())
        wait_until(
            lambda: sum(sent.peer == address for sent in supply.log()[before:]) >= count, f"{count} polls by {bench}"
        )

    def retained(self) -> dict[str, Any]:
        """What the broker keeps: topic → JSON, or text."""
        with_all = Observer(self.broker.path)
        try:
            with_all.send(with_all.answers, "end")  # behind all that is retained
            wait_until(lambda: with_all.count(with_all.answers), "what is retained")
            return {message.topic: _content(message.payload) for message in with_all.received if message.retain}
        finally:
            with_all.close()

    def close(self) -> None:
        self._stack.close()
        for link in self.site.links.values():
            link.heal()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def entry(supply: Supply, name: str = "psu1", *, address: str = SUPPLY, **more: Any) -> dict[str, Any]:
    """A ``units:`` entry for a supply."""
    # A supply is a process of its own, which waits for the processor where the machine is busy.
    return unit(name, uri=supply.uri(address), pyvisa_args={"timeout": 2000, "open_timeout": 2000}, **more)


def _content(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")

"""A laboratory: simulated supplies, an agent and an observer on one broker."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.service.daemon import Daemon
from agent.simulator import Simulator
from tests.support.agents import Agent
from tests.support.observer import Observer

#: ms, for a unit that falls silent in a test.
IMPATIENT = {"timeout": 300, "open_timeout": 300}
#: ms, for a unit that answers. A simulator shares the processor with the test and its agent: where the machine is busy, an answer
#: has taken more than 0.3 s, and the unit was offline.
_PATIENT = 5000


def unit(name: str, simulator: Simulator | None = None, **entry: Any) -> dict[str, Any]:
    """A ``units:`` entry. One whose simulator is given is waited for; one that falls silent takes ``pyvisa_args=IMPATIENT``."""
    timeout = IMPATIENT["timeout"] if simulator is None else _PATIENT + round(10_000 * simulator.latency)
    args = {"timeout": timeout, "open_timeout": timeout, **entry.pop("pyvisa_args", {})}
    made = {"name": name, "model": "E36313A", "pyvisa_args": args, **entry}
    if simulator is not None:
        made.setdefault("uri", simulator.resource)
        made["model"] = entry.get("model", simulator.instrument.model)
    return made


def settings(
    port: int, units: list[dict[str, Any]], state_dir: Path, *, mqtt: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A whole configuration as plain data."""
    return {
        "settings": {
            "agent": "bench",
            "poll_interval": 0.1,
            "state_dir": str(state_dir),
            **more,
            "mqtt": {"host": "127.0.0.1", "port": port, "keepalive": 2, **(mqtt or {})},
        },
        "units": units,
    }


class Bench:
    """Simulated supplies ``psu1``, ``psu2`` …, an agent and an observer on one broker."""

    def __init__(
        self,
        port: int,
        folder: Path,
        simulators: list[Simulator],
        units: list[dict[str, Any]] | None = None,
        *,
        observer_port: int | None = None,
        **more: Any,
    ) -> None:
        self.simulators = simulators
        for simulator in simulators:
            if not simulator.running:
                simulator.start()
        self.units = units or [unit(f"psu{number}", s) for number, s in enumerate(simulators, 1)]
        self.data = settings(port, self.units, folder / "state", **more)
        self.folder = folder
        self.observer = Observer(observer_port or port)
        self.agent: Agent | None = None

    @property
    def simulator(self) -> Simulator:
        return self.simulators[0]

    @property
    def daemon(self) -> Daemon:
        assert self.agent is not None
        return self.agent.daemon

    def start(self, *, online: bool = True) -> Self:
        """Start the agent, and wait until it serves every unit."""
        after = self.observer.mark()
        self.agent = Agent(self.data).start()
        if online:
            self.observer.wait_agent(after=after)
            for entry in self.units:
                self.observer.wait_online(entry["name"], after=after)
                self.observer.wait_state(entry["name"], after=after, online=True)
        return self

    def stop(self) -> None:
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def close(self) -> None:
        self.stop()
        self.observer.close()
        for simulator in self.simulators:
            if simulator.running:
                simulator.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

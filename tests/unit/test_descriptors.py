"""Units leave a reserve of file descriptors to the broker's connection."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

import pytest

from agent.instruments.driver import LinkError
from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.unit import admission
from tests.lab import AgentProcess, Observer, settings, unit, wait_until


def highest_free(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))


def test_there_is_room_below_the_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        number = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, number)
        lowest = number + 1  # or higher, where the numbers have gaps
        highest_free(monkeypatch, lowest + admission.RESERVE + 1000)
        admission.check_room()
        highest_free(monkeypatch, resource.RLIM_INFINITY)
        admission.check_room()


@pytest.mark.parametrize("beyond", [0, 1, admission.RESERVE])
def test_the_reserve_is_left_alone(monkeypatch: pytest.MonkeyPatch, beyond: int) -> None:
    monkeypatch.setattr(admission, "_lowest_free", lambda: 100)
    highest_free(monkeypatch, 100 + beyond)
    with pytest.raises(LinkError, match=r"no file descriptor is left for it, as this process may have \d+ open; raise"):
        admission.check_room()
    highest_free(monkeypatch, 100 + admission.RESERVE + 1)
    admission.check_room()


def test_more_units_than_descriptors(broker: LocalBroker, tmp_path: Path) -> None:
    """With a limit of 40 open files and 36 units the broker has its connection, and units without a link say why."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); "
    count = 36
    with contextlib.ExitStack() as stack:
        simulators = [stack.enter_context(Simulator()) for _ in range(count)]
        observer = Observer(broker.port)
        stack.callback(observer.close)
        units = [unit(f"psu{number}", simulator) for number, simulator in enumerate(simulators)]
        agent = AgentProcess(settings(broker.port, units, tmp_path / "state", poll_interval=1.0), tmp_path)
        with agent.start(before=limit):
            observer.wait_agent()

            def told() -> bool:
                infos = {entry["name"]: observer.on(f"psu/{entry['name']}/info") for entry in units}
                newest = [messages[-1].json for messages in infos.values() if messages]
                online = [info for info in newest if info["online"]]
                without = [info for info in newest if "no file descriptor is left" in str(info["reason"])]
                return len(online) >= 5 and len(without) >= 5 and len(online) + len(without) == count

            wait_until(told, "every unit to be online or to say why it is not")
            assert agent.stop() == 0
        for entry in units:
            observer.wait_online(entry["name"], online=False)

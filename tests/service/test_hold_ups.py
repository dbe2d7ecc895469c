"""The process is stopped while it has commands, as by a laptop that sleeps or a virtual machine that is moved."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from agent.timing import LONGEST_ABSENCE
from tests.lab import AgentProcess, Observer, settings, unit, wait_until


class Lab:
    """An agent process with a unit that answers when it is let, and one that always does."""

    def __init__(self, slow: Simulator, process: AgentProcess, observer: Observer) -> None:
        self.slow = slow
        self.process = process
        self.observer = observer

    def begins_to_wait(self) -> None:
        """The agent waits for the slow unit's answer to a poll from now on."""
        self.slow.freeze()
        self.observer.send("psu/slow/get", b"")
        wait_until(lambda: self.slow.waiting, "the poll")

    def has_taken_all(self) -> None:
        """The agent has taken all that was sent so far: commands come in order, and the quick unit has done a later one."""
        assert self.observer.ask("psu/quick/1/set/voltage_limit", "1")["ok"]

    def is_stopped_for_long(self) -> None:
        self.process.suspend()
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() > begun + LONGEST_ABSENCE + 0.2, "the time that makes it too old")
        self.slow.thaw()
        self.process.signal(signal.SIGCONT)

    def ends(self, *ids: str) -> dict[str, str]:
        """The codes of the responses to these commands, each of which has one."""

        def found() -> dict[str, str]:
            responses = [r for channel in (1, 2, 3) for r in self.observer.responses("slow", channel) if r["id"] in ids]
            assert len({r["id"] for r in responses}) == len(responses)
            return {r["id"]: "ok" if r["ok"] else r["error"]["code"] for r in responses}

        wait_until(lambda: len(found()) == len(ids), "the responses")
        return found()


@pytest.fixture
def lab(broker: LocalBroker, tmp_path: Path) -> Iterator[Lab]:
    with Simulator() as slow, Simulator() as quick:
        patient = {"pyvisa_args": {"timeout": 20000}, "poll_interval": 60}
        units = [unit("slow", slow, **patient), unit("quick", quick)]
        observer = Observer(broker.port)
        data = settings(broker.port, units, tmp_path / "state", mqtt={"keepalive": 60})
        with AgentProcess(data, tmp_path) as process:
            observer.wait_state("slow", online=True)
            observer.wait_state("quick", online=True)
            yield Lab(slow, process, observer)
            slow.thaw()
        observer.close()


def test_what_waited_behind_a_slow_unit_is_refused_and_an_off_done(lab: Lab) -> None:
    observer, channels = lab.observer, lab.slow.instrument.channels
    lab.slow.instrument.panel.press_output(2, True)
    lab.slow.instrument.panel.press_output(3, True)
    lab.begins_to_wait()
    observer.send("psu/slow/1/set", {"id": "on", "state": True})
    observer.send("psu/slow/1/set", {"id": "set", "voltage_limit": 3})
    observer.send("psu/slow/2/set", {"id": "off", "state": False})
    observer.send("psu/slow/3/set", {"id": "both", "state": False, "voltage_limit": 3})
    lab.has_taken_all()
    lab.is_stopped_for_long()
    assert lab.ends("on", "set", "off", "both") == {"on": "expired", "set": "expired", "off": "ok", "both": "expired"}
    assert [channels[n].output for n in (1, 2, 3)] == [False, False, False]
    assert [channels[n].settings.voltage for n in (1, 3)] == [0.0, 0.0]
    wait_until(lambda: observer.code("psu/slow/1/set", {"state": True}) == "ok", "commands to be carried out again")


@pytest.mark.parametrize("command", [{"state": True}, {"cycle": 0.1}])
def test_what_was_begun_and_waits_for_its_first_look_is_refused(lab: Lab, command: dict[str, Any]) -> None:
    lab.slow.instrument.panel.press_output(1, "cycle" in command)
    lab.slow.freeze()
    lab.slow.instrument.clear_log()
    lab.observer.send("psu/slow/1/set", {"id": "begun", **command})
    wait_until(lambda: lab.slow.waiting, "the look")
    lab.is_stopped_for_long()
    assert lab.ends("begun") == {"begun": "expired"}
    assert not [message for message in lab.slow.instrument.log if message.startswith("OUTP ")]


@pytest.mark.parametrize("command", [{"cycle": 3}, {"voltage_limit": 6, "ramp": 0.5}])
def test_a_plan_under_way_goes_no_further(lab: Lab, command: dict[str, Any]) -> None:
    lab.slow.instrument.panel.press_output(1, True)
    lab.slow.instrument.clear_log()
    lab.observer.send("psu/slow/1/set", {"id": "plan", **command})
    wait_until(lambda: [m for m in lab.slow.instrument.log if m.startswith(("OUTP 0", "VOLT "))], "its first write")
    lab.is_stopped_for_long()
    assert lab.ends("plan") == {"plan": "superseded"}
    assert lab.slow.instrument.channels[1].output is ("ramp" in command)
    assert lab.slow.instrument.channels[1].settings.voltage < 5.0

"""Reading the configuration again while the agent runs: what changed comes into effect, what did not notices nothing."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import config
from agent.local.broker import LocalBroker
from agent.service.daemon import Daemon
from agent.simulator import Simulator
from tests.lab import PATIENCE, AgentProcess, Observer, settings, unit, wait_until


class Reloading:
    """An agent in a thread, on a configuration file that the test rewrites."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.file = folder / "psu-agent.yaml"
        self.observer = Observer(port)
        self.daemon: Daemon | None = None
        self._thread: threading.Thread | None = None

    def write(self, *units: dict[str, Any], **more: Any) -> None:
        self.file.write_text(yaml.safe_dump(settings(self.port, list(units), self.folder / "state", **more)))

    def start(self) -> None:
        self.daemon = Daemon(config.load(self.file))
        self._thread = threading.Thread(target=self.daemon.run)
        self._thread.start()

    def reload(self, caplog: pytest.LogCaptureFixture) -> str:
        """The status that it logs."""
        assert self.daemon is not None
        before = len(self._said(caplog))
        self.daemon.reload()
        wait_until(lambda: len(self._said(caplog)) > before, "the end of the reload")
        return self._said(caplog)[-1]

    @staticmethod
    def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
        found = [
            re.match(r"reload: (.*)", record.getMessage()) for record in caplog.records if record.levelname == "INFO"
        ]
        return [match[1] for match in found if match]

    def close(self) -> None:
        if self.daemon is not None and self._thread is not None:
            self.daemon.stop()
            self._thread.join(PATIENCE)
        self.observer.close()


@pytest.fixture
def agent(broker: LocalBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Reloading]:
    caplog.set_level("INFO")
    made = Reloading(broker.port, tmp_path)
    yield made
    made.close()


@pytest.fixture
def simulators() -> Iterator[list[Simulator]]:
    made = [Simulator(log_size=100_000).start() for _ in range(2)]
    yield made
    for simulator in made:
        simulator.stop()


def test_a_unit_is_added_and_listens(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = simulators
    agent.write(unit("psu1", first))
    agent.start()
    agent.observer.wait_online("psu1")
    agent.write(unit("psu1", first), unit("psu2", second))
    assert agent.reload(caplog) == "added psu2"
    agent.observer.wait_online("psu2")
    assert agent.observer.ask("psu/psu2/1/set", {"voltage_limit": 3})["ok"]
    info = agent.observer.wait("psu/agents/bench/info", lambda info: len(info["units"]) == 2)
    assert info["units"] == ["psu1", "psu2"]
    assert agent.observer.ask("psu/psu1/1/set", {"voltage_limit": 2})["ok"]


def test_what_did_not_change_notices_nothing(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    """No reconnection, no gap in the sequence, no output touched, and a ramp goes on."""
    first, second = simulators
    agent.write(unit("psu1", first), unit("psu2", second))
    agent.start()
    for name in ("psu1", "psu2"):
        agent.observer.wait_online(name)
    assert agent.observer.ask("psu/psu1/2/set", {"state": True, "voltage_limit": 1})["ok"]
    correlation = b"ramp"
    agent.observer.send(
        "psu/psu1/2/set", {"voltage_limit": 3, "ramp": 0.5}, response_topic="clients/ramp", correlation=correlation
    )
    wait_until(lambda: 1.1 < first.instrument.channels[2].settings.voltage < 2.5, "the ramp")
    asked = [message for message in first.instrument.log if "*IDN?" in str(message)]
    agent.write(unit("psu1", first), unit("psu2", second, channels={1: {"voltage_max": 2}}))
    mark = agent.observer.mark()
    assert agent.reload(caplog) == "changed psu2"
    agent.observer.wait_online("psu2", after=mark)
    assert agent.observer.wait("clients/ramp")["ok"]
    assert [message for message in first.instrument.log if "*IDN?" in str(message)] == asked
    agent.observer.wait_samples("psu1", 2)
    assert not [m for m in agent.observer.received[mark:] if m.topic == "psu/psu1/status" and m.payload == b"offline"]


def test_a_changed_unit_keeps_its_outputs_its_sequence_and_its_energy(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first = simulators[0]
    agent.write(unit("psu1", first))
    agent.start()
    agent.observer.wait_online("psu1")
    assert agent.observer.ask("psu/psu1/1/set", {"state": True, "voltage_limit": 5})["ok"]
    before = agent.observer.wait_state("psu1", 1, state=True)
    written = [m for m in first.instrument.log if "OUTP " in str(m) or "VOLT " in str(m)]
    agent.write(unit("psu1", first, channels={1: {"name": "VDD", "voltage_max": 4}}))
    mark = agent.observer.mark()
    assert agent.reload(caplog) == "changed psu1"
    offline = agent.observer.wait_online("psu1", online=False, after=mark)
    assert offline["reason"] == "its configuration has changed"
    after = agent.observer.wait_state("psu1", 1, after=mark, online=True, name="VDD")
    assert after["state"] is True
    assert after["voltage_limit"] == 5
    assert after["seq"] > before["seq"]
    assert [m for m in first.instrument.log if "OUTP " in str(m) or "VOLT " in str(m)] == written
    response = agent.observer.ask("psu/psu1/VDD/set", {"voltage_limit": 4.5})
    assert response["error"]["code"] == "limit_exceeded"


def test_a_plan_of_a_changed_unit_is_given_up_and_told(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first = simulators[0]
    agent.write(unit("psu1", first))
    agent.start()
    agent.observer.wait_online("psu1")
    agent.observer.send("psu/psu1/1/set", {"id": "c", "cycle": 600})
    agent.observer.wait_state("psu1", 1)
    wait_until(lambda: [m for m in first.instrument.log if "OUTP 0" in str(m)], "the first half of the cycle")
    agent.write(unit("psu1", first, poll_interval=0.2))
    agent.reload(caplog)
    error = agent.observer.wait("psu/psu1/1/response", lambda response: response["id"] == "c")["error"]
    assert error == {
        "code": "superseded",
        "message": "its configuration has changed before it was finished; the output stays as it is",
    }


def test_an_off_is_done_while_its_unit_is_changed(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first = simulators[0]
    first.latency = 0.03
    agent.write(unit("psu1", first))
    agent.start()
    agent.observer.wait_online("psu1")
    first.instrument.panel.press_all(True)
    agent.write(unit("psu1", first, poll_interval=0.2))
    done = threading.Event()

    def reload() -> None:
        agent.reload(caplog)
        agent.observer.wait("psu/psu1/info", lambda info: info["online"] and info["poll_interval"] == 0.2)
        done.set()

    thread = threading.Thread(target=reload)
    thread.start()
    answers = []
    while not done.is_set():  # before, during and after
        answers.append(agent.observer.ask("psu/psu1/1/set", {"id": "1", "state": False}))
    thread.join()
    assert all(answer["ok"] for answer in answers), answers
    assert not first.instrument.channels[1].output


def test_a_unit_that_is_gone_is_taken_off_the_broker(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = simulators
    agent.write(unit("psu1", first), unit("psu2", second))
    agent.start()
    for name in ("psu1", "psu2"):
        agent.observer.wait_online(name)
    assert agent.observer.ask("psu/psu2/1/set", {"state": True, "voltage_limit": 1})["ok"]
    agent.write(unit("psu1", first))
    assert agent.reload(caplog) == "removed psu2"
    gone = ["psu/psu2/status", "psu/psu2/info", *(f"psu/psu2/{index}/state" for index in (1, 2, 3))]
    wait_until(lambda: not any(agent.observer.on(topic)[-1].payload for topic in gone), "its topics to be empty")
    newcomer = Observer(agent.port)
    try:
        newcomer.wait("psu/psu1/info")
        assert not [m.topic for m in newcomer.received if m.topic.startswith("psu/psu2/") and m.retain]
    finally:
        newcomer.close()
    assert second.instrument.log  # its output was left as it was
    assert not [m for m in second.instrument.log if "OUTP 0" in str(m)]
    mark = agent.observer.mark()
    agent.observer.send("psu/psu2/1/set", {"state": False})
    agent.observer.send("psu/psu1/1/set", {"id": "after", "voltage_limit": 1})
    agent.observer.wait("psu/psu1/1/response", after=mark)
    assert not [m for m in agent.observer.received[mark:] if m.topic == "psu/psu2/1/response"]


def test_a_unit_may_have_another_name(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    agent.write(unit("psu1", simulators[0]))
    agent.start()
    agent.observer.wait_online("psu1")
    agent.write(unit("dut", simulators[0]))
    assert agent.reload(caplog) == "removed psu1; added dut"
    agent.observer.wait_online("dut")
    assert agent.observer.ask("psu/all/set", "OFF", qos=1)["psu"] == "dut"


def test_a_faulty_file_changes_nothing_and_is_told(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = simulators
    agent.write(unit("psu1", first))
    agent.start()
    agent.observer.wait_online("psu1")
    mark = agent.observer.mark()
    agent.write(unit("psu1", first, poll_interval=0.5, serail="X"), unit("psu2", second, poll_interval=-1))
    said = agent.reload(caplog)
    assert said.startswith(f"nothing changed, the configuration has a fault: {agent.file}:")
    assert said.endswith("(and 1 more)")
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert any("units[0].serail: unknown key; did you mean serial?" in error for error in errors)
    assert any("units[1].poll_interval" in error for error in errors)
    agent.file.unlink()
    assert "can't be read: No such file or directory" in agent.reload(caplog)
    agent.write(unit("psu1", first))
    assert agent.reload(caplog) == "no unit changed"
    assert agent.observer.ask("psu/psu1/1/set", {"voltage_limit": 2})["ok"]
    assert not [m for m in agent.observer.received[mark:] if m.topic == "psu/psu1/status"]


def test_what_needs_a_restart_is_told_and_the_rest_comes_into_effect(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = simulators
    agent.write(unit("psu1", first))
    agent.start()
    agent.observer.wait_online("psu1")
    agent.write(unit("psu1", first), unit("psu2", second), mqtt={"base_topic": "lab"}, poll_interval=0.15)
    assert agent.reload(caplog) == "added psu2; changed psu1; settings.mqtt after a restart"
    assert agent.observer.wait_online("psu2")["poll_interval"] == 0.15
    assert not [m for m in agent.observer.received if m.topic.startswith("lab/")]


def test_a_unit_that_hangs_does_not_hold_up_its_successor(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    """The abandoned worker reports nothing more: nothing comes after the new one's `online`."""
    server = socket.create_server(("127.0.0.1", 0))  # takes connections, answers nothing
    port = server.getsockname()[1]
    first = simulators[0]
    hanging = unit("psu1", model="E36313A", uri=f"TCPIP::127.0.0.1::{port}::SOCKET", pyvisa_args={"timeout": 20_000})
    with server:
        agent.write(hanging)
        agent.start()
        agent.observer.wait_agent()
        server.settimeout(PATIENCE)
        connection, _ = server.accept()
        with connection:
            wait_until(lambda: connection.recv(100, socket.MSG_PEEK), "its question")
            assert agent.daemon is not None
            abandoned = agent.daemon.supplies.by_name["psu1"]._thread
            agent.write(unit("psu1", first))
            assert agent.reload(caplog) == "changed psu1"
            assert any("still waiting for the unit" in record.getMessage() for record in caplog.records)
            agent.observer.wait_online("psu1")
            mark = agent.observer.mark()
            connection.close()
            wait_until(lambda: not abandoned.is_alive(), "the end of the abandoned worker")
            agent.observer.ask("psu/psu1/1/set", {"voltage_limit": 1})
            assert not [m for m in agent.observer.received[mark:] if m.topic == "psu/psu1/status"]


def test_home_assistant_follows(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    """A unit that is gone is cleared, one that was added is offered, and one with a new name keeps its place."""
    first, second = simulators
    places = [f"homeassistant/device/psu_E36313A_{s.instrument.serial}/config" for s in simulators]

    def offered(place: str) -> str | None:
        """The name of the device that stands there."""
        messages = agent.observer.on(place)
        return messages[-1].json["device"]["name"] if messages and messages[-1].payload else None

    agent.write(unit("psu1", first), unit("psu2", second), homeassistant={})
    agent.start()
    wait_until(lambda: all(offered(place) for place in places), "both devices")
    agent.write(unit("dut", first), homeassistant={})
    assert agent.reload(caplog) == "removed psu1, psu2; added dut"
    wait_until(lambda: "dut" in (offered(places[0]) or ""), "the device under its new name")
    wait_until(lambda: offered(places[1]) is None, "the other device to be cleared")
    assert all(message.payload for message in agent.observer.on(places[0]))
    agent.write(unit("dut", first), unit("psu2", second), homeassistant={})
    agent.reload(caplog)
    wait_until(lambda: offered(places[1]), "the other device again")


def test_sighup_and_what_systemd_is_told(broker: LocalBroker, tmp_path: Path, simulators: list[Simulator]) -> None:
    """The protocol of sd_notify(3) for ``ExecReload=kill -HUP``: RELOADING with its moment, then READY."""
    first, second = simulators
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = tmp_path / "notify"
        manager.bind(str(address))
        manager.settimeout(PATIENCE)

        def told(start: str) -> str:
            while not (message := manager.recv(4096).decode()).startswith(start):
                assert message == "WATCHDOG=1"
            return message

        data = settings(broker.port, [unit("psu1", first)], tmp_path / "state")
        with AgentProcess(data, tmp_path, environment={"NOTIFY_SOCKET": str(address)}) as process:
            assert told("READY=1")
            data["units"].append(unit("psu2", second))
            process.file.write_text(yaml.safe_dump(data))
            process.signal(signal.SIGHUP)
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", told("RELOADING=1"))
            assert told("READY=1") == "READY=1\nSTATUS=added psu2"
            process.file.write_text("units: 3\n")
            process.signal(signal.SIGHUP)
            told("RELOADING=1")
            assert "STATUS=nothing changed, the configuration has a fault: " in told("READY=1")
            assert process.stop() == 0
            assert told("STOPPING=1")


def test_a_reload_that_an_error_of_our_own_ends_says_so(
    agent: Reloading, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of our own")

    agent.write(unit("psu1", uri="TCPIP::127.0.0.1::1::SOCKET"))
    agent.start()
    assert agent.daemon is not None
    agent.write(unit("psu2", uri="TCPIP::127.0.0.1::1::SOCKET"))
    with monkeypatch.context() as patch:
        patch.setattr(agent.daemon.supplies, "replace", fail)
        assert "restart psu-agent" in agent.reload(caplog)
    wait_until(lambda: "of our own" in caplog.text, "the traceback")


def test_a_fault_in_its_series_file_leaves_a_unit_that_runs_as_it_is(
    agent: Reloading, simulators: list[Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    shipped = files("agent.instruments.catalogue") / "series" / "keysight" / "e36300.yaml"
    own = agent.folder / "own.yaml"
    sound = shipped.read_text(encoding="utf-8").replace("series: E36300", "series: Own")
    own.write_text(sound)
    psu1 = unit("psu1", simulators[0], model="Own,E36313A")
    agent.write(psu1, series=str(own))
    agent.start()
    agent.observer.wait_online("psu1")
    assert agent.observer.ask("psu/psu1/1/set", {"state": True})["ok"]
    own.write_text(sound.replace("polls:", "poles:"))
    assert agent.reload(caplog) == "no unit changed"
    assert "poles" in caplog.text
    assert agent.observer.ask("psu/psu1/1/set", {"state": False})["ok"]
    own.write_text(sound.replace("polls:", "poles:") + "#")
    assert agent.reload(caplog) == "no unit changed"
    own.write_text(sound)
    assert agent.reload(caplog) == "no unit changed"
    own.write_text(sound.replace("polls:", "poles:"))
    agent.write({**psu1, "channels": {1: {"voltage_max": 2}}}, series=str(own))
    assert agent.reload(caplog) == "changed psu1"  # a limit that nobody would keep
    own.write_text(sound)
    mark = agent.observer.mark()
    assert agent.reload(caplog) == "changed psu1"
    agent.observer.wait_online("psu1", after=mark)

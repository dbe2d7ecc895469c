"""Real disks that hang, are frozen, full or read-only under the whole agent: commands, off, polls, policy and the end go on."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import config
from agent.local.broker import LocalBroker
from agent.local.ports import free_port, is_free
from agent.mqtt import tls
from agent.service.daemon import Daemon
from agent.simulator import Simulator
from agent.store import store as store_module
from agent.store.store import Store
from tests import certificates
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench, assert_whole, seqs, wait_drained, wait_polls
from tests.lab import PATIENCE, AgentProcess, Bench, Observer, settings, unit, wait_until
from tests.store.disk import saved
from tests.support import disks
from tests.support.frozen import FrozenDisk, NoFrozenDiskError

pytestmark = pytest.mark.usefixtures("quick", "impatient")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "OPENING_TIMEOUT", 0.1)
    monkeypatch.setattr(store_module, "RETRY_OPENING", 0.05)
    monkeypatch.setattr(store_module, "RETRY", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state directory of a bench."""
    made = tmp_path / "state"
    made.mkdir()
    return made


def earlier_run(folder: Path) -> None:
    """Leave what an agent leaves that counted energy and saw a command."""
    store = Store(folder / "bench.sqlite3", 100)
    store.meters.save({"psu1": {1: (12.5, 2.5)}, "gone": {1: (1.0, 1.0)}})
    store.backlog.add_samples([("psu/psu1/1/backlog", b'{"seq": -1}')])
    store.start()
    assert store.close(PATIENCE)


def goes_on(bench: Bench | Observer, simulator: Simulator) -> None:
    observer = bench if isinstance(bench, Observer) else bench.observer
    assert observer.ask("psu/psu1/1/set", {"state": True, "voltage_limit": 1})["ok"]
    assert simulator.instrument.channels[1].output
    assert observer.ask("psu/psu1/1/set", {"state": False})["ok"]
    assert not simulator.instrument.channels[1].output
    observer.wait_state("psu1", after=observer.mark())


KINDS: dict[str, Any] = {
    "hangs": disks.hanging,
    "read-only": disks.read_only,
    "full": lambda folder: disks.small(folder, 4096),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_on_a_bad_disk_and_what_it_knows_when_it_is_well_again(
    make_bench: MakeBench, folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    earlier_run(folder)
    with KINDS[kind](folder):
        bench = make_bench()
        goes_on(bench, bench.simulator)
        codes = [bench.observer.code("psu/psu1/1/set", {"voltage_limit": 1, "id": "same"}) for _ in range(2)]
        assert codes == ["ok", "duplicate"]
        if kind == "read-only":  # which can be read, sooner or later
            bench.observer.wait("psu/psu1/1/state", lambda state: state["energy"] >= 12.5)
        else:
            assert bench.observer.states("psu1")[-1]["energy"] < 12.5
        assert len([r for r in caplog.records if "settings.state_dir" in r.getMessage()]) == 1
    # Both what it counted and what an earlier run had; the backlog of that goes out.
    wait_until(lambda: bench.observer.states("psu1")[-1]["energy"] >= 12.5, "the energy of the earlier run")
    wait_until(lambda: -1 in seqs(bench.observer, "backlog"), "the backlog of the earlier run")
    assert bench.observer.ask("psu/psu1/1/set", {"state": False})["ok"]
    bench.stop()
    store = Store(folder / "bench.sqlite3", 100)
    meters = store.meters.all()
    assert meters["psu1"][1] == pytest.approx((12.5, 2.5), abs=0.5)
    assert meters["psu1"][1][0] >= 12.5
    assert meters["gone"] == {1: (1.0, 1.0)}
    assert store.backlog.sample_count == 0
    store.start()
    assert store.close(PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_process_on_a_bad_disk_starts_serves_and_ends(
    broker: LocalBroker, tmp_path: Path, folder: Path, kind: str
) -> None:
    observer = Observer(broker.port)
    with Simulator() as simulator, KINDS[kind](folder):
        agent = AgentProcess(settings(broker.port, [unit("psu1", simulator)], folder), tmp_path)
        with agent:
            observer.wait_online("psu1")
            goes_on(observer, simulator)
            assert agent.stop() == 0
            assert "settings.state_dir" in agent.text()
            assert "Traceback" not in agent.text()
    observer.wait_agent(status="offline")
    observer.close()


def test_samples_wait_in_memory_while_broker_and_disk_are_away(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, folder: Path
) -> None:
    with disks.hanging(folder):
        bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02)
        first = seqs(bench.observer, "state")[0]
        wait_drained(bench.observer)  # what came before the first connection, or the next one sends it again
        way.stop()
        wait_polls(bench.simulator, 30)
        after = bench.observer.mark()
        way.start()
        bench.observer.wait_agent(after=after)
        wait_drained(bench.observer)
        assert_whole(bench.observer, first, seqs(bench.observer, "state")[-1])
        assert len(seqs(bench.observer, "backlog")) >= 20


@pytest.fixture
def frozen(folder: Path) -> Iterator[FrozenDisk]:
    try:
        disk = FrozenDisk(folder.parent, folder.name)
    except NoFrozenDiskError as error:
        pytest.skip(str(error))
    with disk:
        yield disk


def test_a_frozen_file_system_stops_nothing(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, frozen: FrozenDisk
) -> None:
    simulator = Simulator().start()
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 0.2}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port, poll_interval=0.05)
    saved(bench.daemon.store)
    frozen.freeze()
    try:
        goes_on(bench, simulator)
        wait_until(lambda: not bench.daemon.store.is_saved, "something to write")
        assert bench.observer.ask("psu/psu1/1/set", {"state": True, "voltage_limit": 1})["ok"]
        way.stop()
        wait_until(lambda: not simulator.instrument.channels[1].output, "the policy")
        wait_polls(simulator, 10)
        after = bench.observer.mark()
        way.start()
        bench.observer.wait_agent(after=after)
        assert bench.observer.ask("psu/psu1/2/set", {"state": False})["ok"]
        bench.stop()
        bench.observer.wait_agent(status="offline", after=after)
    finally:
        frozen.thaw()


def test_a_reload_of_a_file_on_a_disk_that_hangs(
    broker: LocalBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes effect when the disk answers; until then everything goes on, the main thread's duties too."""
    caplog.set_level("INFO")
    monkeypatch.setattr("agent.service.reload.PATIENCE", 0.1)
    place = tmp_path / "etc"
    place.mkdir()
    file = place / "psu-agent.yaml"
    observer = Observer(broker.port)
    with Simulator() as simulator:
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / "state")
        file.write_text(yaml.safe_dump(data))
        daemon = Daemon(config.load(file))
        thread = threading.Thread(target=daemon.run)
        thread.start()
        observer.wait_online("psu1")
        data["units"][0]["channels"] = {1: {"voltage_max": 2}}
        file.write_text(yaml.safe_dump(data))
        with disks.hanging(place):
            daemon.reload()
            wait_until(lambda: "can't be read yet" in caplog.text, "the warning")
            observer.wait("psu/agents/bench/metrics", after=observer.mark())  # a duty of the main thread
            goes_on(observer, simulator)
        # What hung ends with an error; the next one reads the file.
        wait_until(lambda: "reload: nothing changed" in caplog.text, "the end of the first")
        daemon.reload()
        wait_until(lambda: "reload: changed psu1" in caplog.text, "the second")
        observer.wait_online("psu1")
        daemon.stop()
        thread.join(PATIENCE)
    observer.close()


def test_a_reload_that_hangs_does_not_keep_the_process_from_its_end(broker: LocalBroker, tmp_path: Path) -> None:
    observer = Observer(broker.port)
    with Simulator() as simulator:
        agent = AgentProcess(settings(broker.port, [unit("psu1", simulator)], tmp_path / "state"), tmp_path / "etc")
        with agent:
            observer.wait_online("psu1")
            with disks.hanging(tmp_path / "etc"):
                agent.signal(signal.SIGHUP)
                observer.wait_state("psu1", after=observer.mark())
                goes_on(observer, simulator)
                assert agent.stop() == 0
    observer.close()


def test_certificates_on_a_disk_that_hangs(
    make_bench: MakeBench,
    make_broker: Callable[..., LocalBroker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The ones that were read last serve, so that the agent comes back to its broker."""
    monkeypatch.setattr(tls, "FILES_TIMEOUT", 0.2)
    place = tmp_path / "certificates"
    place.mkdir()
    files = certificates.make(place)
    plain = free_port()
    server = tmp_path / "server"
    shutil.copytree(place, server)
    conf = f"cafile {server}/ca.crt\ncertfile {server}/server.crt\nkeyfile {server}/server.key\n"
    broker = make_broker(conf=f"{conf}listener {plain} 127.0.0.1\nallow_anonymous true\n", kind="mosquitto")
    wait_until(lambda: not is_free(plain), "the other listener")
    with Proxy(broker.port) as way:
        mqtt = {"host": "localhost", "tls": {"ca": str(files["ca.crt"])}}
        bench = make_bench(port=way.port, observer_port=plain, mqtt=mqtt)
        with disks.hanging(place):
            way.stop()
            wait_polls(bench.simulator, 3)
            after = bench.observer.mark()
            way.start()
            bench.observer.wait_agent(after=after)
            assert "those that were read last are used" in caplog.text
            goes_on(bench, bench.simulator)


def test_a_program_on_a_disk_that_hangs_halts_its_unit_alone(
    make_bench: MakeBench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While a program is read from its disk, vfork halts every thread of the process that starts it."""
    place = tmp_path / "programs"
    place.mkdir()
    program = place / "get"
    program.write_text(f"#!{sys.executable} -SE\nprint('[]')\n")
    program.chmod(0o755)
    simulator = Simulator().start()
    relay = {"name": "relay", "model": "external", "commands": {"get_channels": [str(program)]}, "poll_interval": 0.05}
    with disks.hanging(place):
        bench = make_bench([simulator], [unit("psu1", simulator), relay], online=False)
        bench.observer.wait_online("psu1")
        begun = time.monotonic()
        while time.monotonic() - begun < 0.5:
            goes_on(bench, simulator)

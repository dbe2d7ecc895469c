"""Brokers that go away, hang, refuse or deny: no sample that could have been kept is lost, and no old command is carried out."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.local.ports import free_port, is_free
from agent.simulator import Simulator
from agent.store.store import Store
from tests.faults import proxy as ways
from tests.faults.proxy import Proxy
from tests.lab import PATIENCE, AgentProcess, Bench, Observer, needs, settings, unit, wait_until
from tests.support import inside


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    inside.retry_soon(monkeypatch.setattr)
    inside.measure_often(monkeypatch.setattr)


@pytest.fixture
def way(broker: LocalBroker) -> Iterator[Proxy]:
    """The agent's way to the broker. The observer has one of its own, and sees all that comes when it is mended."""
    with Proxy(broker.port) as proxy:
        yield proxy


MakeBench = Callable[..., Bench]


def seqs(observer: Observer, kind: str, name: str = "psu1", channel: int = 1) -> list[int]:
    found = [m for m in observer.on(f"psu/{name}/{channel}/{kind}") if not m.retain]
    return [m.json["seq"] for m in found]


def whole(observer: Observer, first: int, last: int, channel: int = 1) -> None:
    """Every sample from one to the other arrived, and those of the backlog once and in their order."""
    backlog = seqs(observer, "backlog", channel=channel)
    assert backlog == sorted(set(backlog))
    missing = set(range(first, last + 1)) - set(backlog) - set(seqs(observer, "state", channel=channel))
    assert missing == set()


def polls(simulator: Simulator) -> int:
    return simulator.instrument.message_count


def wait_polls(simulator: Simulator, number: int) -> None:
    before = polls(simulator)
    wait_until(lambda: polls(simulator) >= before + number, f"{number} more polls")


def drained(observer: Observer) -> None:
    """Everything that was kept has been acknowledged, by the metrics that come after this call."""
    observer.wait("psu/agents/bench/metrics", lambda m: m["backlog"] == 0, after=observer.mark())


# The backlog.


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_samples_taken_while_the_broker_was_away_arrive_once_and_in_order(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, protocol: str
) -> None:
    port = broker.port if protocol == "5" else broker.port_311
    with Proxy(port) as proxy:
        bench = make_bench(port=proxy.port, observer_port=broker.port, poll_interval=0.02, mqtt={"protocol": protocol})
        observer = bench.observer
        first = seqs(observer, "state")[0]
        for _ in range(3):
            wait_polls(bench.simulator, 10)
            proxy.stop()
            wait_polls(bench.simulator, 25)
            after = observer.mark()
            proxy.start()
            observer.wait_agent(after=after)
            # The present comes at once, and commands are carried out.
            observer.wait_state("psu1", after=after, online=True)
            answered = len(observer.responses("psu1", 2))
            observer.send("psu/psu1/2/set/voltage_limit", "1")
            wait_until(lambda: len(observer.responses("psu1", 2)) > answered, "the response")  # noqa: B023
            drained(observer)
        wait_until(lambda: len(seqs(observer, "backlog")) >= 60, "the backlog")
        drained(observer)
        for channel in (1, 2, 3):
            whole(observer, first, seqs(observer, "state", channel=channel)[-1], channel)
        sample = observer.on("psu/psu1/2/backlog")[0]
        assert not sample.retain
        assert list(sample.json) == list(observer.states("psu1", 2)[0])


@pytest.mark.parametrize("persistence", ["false", "true"])
def test_a_broker_that_is_killed_and_comes_back(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, persistence: str
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    conf = f"persistence_location {folder}/\nautosave_interval 1\npersistence true" if persistence == "true" else ""
    broker = make_broker(folder=folder, conf=conf, kind="mosquitto")
    with Proxy(broker.port) as proxy:
        bench = make_bench(port=proxy.port, observer_port=broker.port, poll_interval=0.02)
        first = seqs(bench.observer, "state")[0]
        wait_polls(bench.simulator, 10)
        last = seqs(bench.observer, "state")[-1]
        broker.kill()
        wait_polls(bench.simulator, 20)
        proxy.stop()
        broker.start()
        observer = Observer(broker.port)
        proxy.start()
        observer.wait_agent()
        observer.wait_state("psu1", online=True)
        # What the broker may have lost is there again.
        for topic in ("psu/psu1/status", "psu/psu1/info", "psu/agents/bench/info", "psu/psu1/3/state"):
            wait_until(lambda: observer.on(topic), topic)  # noqa: B023
        drained(observer)
        backlog = seqs(observer, "backlog")
        assert backlog == sorted(set(backlog))
        known = set(range(first, last + 1)) | set(backlog) | set(seqs(observer, "state"))
        newest = seqs(observer, "state")[-1]
        # What was published and not acknowledged when the broker was killed comes again.
        assert set(range(first, newest + 1)) - known == set()
        fresh = Observer(broker.port)
        fresh.wait_state("psu1")
        assert any(m.retain for m in fresh.on("psu/psu1/1/state"))
        fresh.close()
        observer.close()


def test_the_agent_is_restarted_while_the_broker_is_away(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02)
    observer = bench.observer
    drained(observer)
    observer.clear()
    way.stop()
    wait_polls(bench.simulator, 20)
    bench.stop()
    bench.start(online=False)
    wait_polls(bench.simulator, 30)
    after = observer.mark()
    way.start()
    observer.wait_agent(after=after)
    drained(observer)
    found = [m.json for m in observer.on("psu/psu1/1/backlog")]
    starts = [number for number, sample in enumerate(found) if sample["seq"] == 1]
    assert len(starts) == 1  # the second agent's first sample
    first, second = found[: starts[0]], found[starts[0] :]
    live = observer.states("psu1")
    for run in (first, second):
        run_seqs = [sample["seq"] for sample in run]
        assert run_seqs == sorted(set(run_seqs))
        # A state that the connection has no room for is kept as well, so between samples of the backlog may be live ones.
        present = {state["seq"] for state in live if (state["time"] >= second[0]["time"]) == (run is second)}
        assert {*range(run_seqs[0], run_seqs[-1] + 1)} <= {*run_seqs, *present}
    assert [sample["time"] for sample in found] == sorted(sample["time"] for sample in found)
    assert first[-1]["online"] is False  # the end of the first


def test_the_agent_is_killed_while_the_broker_is_away(broker: LocalBroker, way: Proxy, tmp_path: Path) -> None:
    with Simulator() as simulator:
        data = settings(way.port, [unit("psu1", simulator)], tmp_path / "state", poll_interval=0.02)
        observer = Observer(broker.port)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            wait_polls(simulator, 20)
            last = seqs(observer, "state")[-1]
            observer.clear()
            way.stop()
            wait_polls(simulator, 40)
            agent.kill()
            observer.wait_agent(status="offline")  # the Last Will
            passed = seqs(observer, "state")  # on their way when it was stopped
            carried = simulator.instrument.log
            assert [m for m in carried if "?" not in m] == []  # nothing was written, at no start and no end
            way.start()
            agent.start()
            observer.wait_agent(after=observer.mark())
            wait_until(lambda: len(seqs(observer, "backlog")) >= 20, "the backlog")
        observer.close()
        backlog = seqs(observer, "backlog")
        first_run = backlog[: backlog.index(1)] if 1 in backlog else backlog
        assert first_run == list(range(first_run[0], first_run[0] + len(first_run)))
        assert {*range(last + 1, first_run[-1])} <= {*first_run, *passed}


def test_a_backlog_holds_up_neither_the_present_nor_commands(
    make_bench: MakeBench, broker: LocalBroker, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    store = Store(state / "bench.sqlite3", 1_000_000)
    store.backlog.add_samples([("psu/psu1/1/backlog", b'{"old": %d, "seq": 0}' % number) for number in range(3_000)])
    assert store.close(PATIENCE)
    bench = make_bench(port=broker.port, backlog={"samples": 1_000_000})
    observer = bench.observer
    assert observer.ask("psu/psu1/2/set", {"voltage_limit": 2})["ok"]
    answered = observer.mark()
    topic = "psu/psu1/1/backlog"
    wait_until(lambda: observer.count(topic) >= 3_000, "the backlog")
    old = [m.json["old"] for m in observer.on(topic) if "old" in m.json]
    assert old == list(range(3_000))
    done = next(n for n, m in enumerate(observer.received) if m.topic == topic and m.json.get("old") == 2_999)
    assert answered < done
    present = [m for m in observer.received[:done] if m.topic == "psu/psu1/2/state"]
    assert len(present) >= 2


def test_a_full_backlog_loses_the_oldest_and_counts_them(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02, backlog={"samples": 60})
    observer = bench.observer
    drained(observer)
    observer.clear()
    way.stop()
    wait_polls(bench.simulator, 60)
    after = observer.mark()
    mended = datetime.now(UTC)
    way.start()
    observer.wait_agent(after=after)
    drained(observer)
    backlog = [m.json for channel in (1, 2, 3) for m in observer.on(f"psu/psu1/{channel}/backlog")]
    assert len(backlog) >= 60  # there are more if the connection had no room for some that came later
    assert len([sample for sample in backlog if datetime.fromisoformat(sample["time"]) < mended]) <= 60
    # The newest were kept: from the first of them on nothing is missing.
    kept = seqs(observer, "backlog")
    wait_until(lambda: max(seqs(observer, "state"), default=0) > kept[-1], "a newer state")
    whole(observer, kept[0], seqs(observer, "state")[-1])
    metrics = observer.on("psu/agents/bench/metrics")[-1].json
    assert metrics["dropped_samples"] >= 60
    assert metrics["broker_reconnects"] == 1


def test_a_disk_that_is_full_stops_nothing(broker: LocalBroker, tmp_path: Path) -> None:
    """The process may write no file of more than 100 KB; SQLite meets that as it meets a full disk.

    What the disk does not take is in memory, and arrives.
    """
    with Simulator() as simulator, Proxy(broker.port) as way:
        data = settings(way.port, [unit("psu1", simulator)], tmp_path / "state", poll_interval=0.005)
        limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        limit += inside.MEASURE_OFTEN
        observer = Observer(broker.port)
        agent = AgentProcess(data, tmp_path)
        with agent.start(before=limit):
            observer.wait_state("psu1", online=True)
            first = seqs(observer, "state")[0]
            way.stop()
            wait_until(lambda: "samples may be lost" in agent.log.read_text(), "the complaint")
            wait_polls(simulator, 20)
            after = observer.mark()
            way.start()
            observer.wait_agent(after=after)
            assert observer.ask("psu/psu1/1/set", {"id": "still here", "voltage_limit": 1})["ok"]
            assert observer.code("psu/psu1/1/set", {"id": "still here", "voltage_limit": 2}) == "duplicate"
            assert observer.ask("psu/psu1/1/set", "OFF")["ok"]
            drained(observer)
            metrics = observer.on("psu/agents/bench/metrics")[-1].json
            assert (metrics["units_online"], metrics["dropped_samples"]) == (1, 0)
            whole(observer, first, seqs(observer, "state")[-1])
            assert agent.stop() == 0
        observer.close()
        assert "Traceback" not in agent.log.read_text()


# Denied, refused, secured.


def test_a_broker_that_denies_the_backlog(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(
        "topic readwrite psu/#\ntopic deny psu/+/+/backlog\ntopic readwrite clients/#\ntopic deny psu/psu1/3/state\n"
    )
    broker = make_broker(conf=f"acl_file {acl}", kind="mosquitto")
    with Proxy(broker.port) as way:
        bench = make_bench(port=way.port, observer_port=broker.port)
        observer = bench.observer
        way.stop()
        wait_polls(bench.simulator, 10)
        after = observer.mark()
        way.start()
        observer.wait_agent(after=after)
        # What is denied stays; what is not goes on.
        metrics = observer.wait("psu/agents/bench/metrics", after=after)
        assert metrics["backlog"] > 0
        assert observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
        assert observer.states("psu1", 3) == []
        metrics = observer.wait("psu/agents/bench/metrics", lambda m: m["published"] > metrics["published"] + 20)
        assert metrics["backlog"] > 0
        assert metrics["broker_reconnects"] == 1
    assert "Not authorized" in caplog.text


def test_a_wrong_password_is_said_and_never_shown(
    make_bench: MakeBench, make_broker: Callable[..., LocalBroker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    passwords = tmp_path / "passwords"
    needs("mosquitto_passwd")
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "bench", "another"], check=True, capture_output=True)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "watcher", "w"], check=True, capture_output=True)
    passwords.chmod(0o644)
    broker = make_broker(conf=f"allow_anonymous false\npassword_file {passwords}", kind="mosquitto")
    observer = Observer(broker.port, username="watcher", password="w")
    secret = "Sesame-0pen!"
    mqtt = {"username": "bench", "password": secret}
    with Simulator() as simulator:
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / "state", mqtt=mqtt)
        with AgentProcess(data, tmp_path) as agent:
            wait_until(lambda: "refused the connection" in agent.log.read_text(), "the complaint")
            wait_polls(simulator, 5)
            shown = Path(f"/proc/{agent.process.pid}/cmdline").read_bytes()
            assert secret.encode() not in shown
            # It heals by itself when the broker knows it.
            subprocess.run(["mosquitto_passwd", "-b", passwords, "bench", secret], check=True, capture_output=True)
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGHUP)
            observer.wait_agent()
            observer.wait_state("psu1", online=True)
            assert agent.stop() == 0
        log = agent.log.read_text()
        assert "Not authorized" in log or "Bad user name" in log
        assert secret not in log
        assert log.count("refused the connection") == 1  # not at each of its tries
        assert not any(secret.encode() in m.payload for m in observer.received)
        observer.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities; ``right`` is for localhost and 127.0.0.1, ``elsewhere`` for another host, ``agent`` for a client."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other-ca"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-keyout", f"{authority}.key", "-out", f"{authority}.crt", "-subj", f"/CN=Test {authority}"),
        )
    names = {
        "right": "DNS:localhost,IP:127.0.0.1",
        "elsewhere": "DNS:broker.example",
        "agent": "DNS:agent",
    }
    for name, alternatives in names.items():
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        openssl(
            *(
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
            ),
            *("-extfile", f"{name}.ext", "-out", f"{name}.crt"),
        )
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@pytest.mark.parametrize(
    ("server", "require", "tls", "said"),
    [
        ("right", False, {"ca": "ca.crt"}, None),
        ("right", False, {"ca": "other-ca.crt"}, "certificate"),
        ("elsewhere", False, {"ca": "ca.crt"}, "not valid for '127.0.0.1'"),
        ("elsewhere", False, {"ca": "ca.crt", "insecure": True}, None),
        ("elsewhere", False, {"ca": "other-ca.crt", "insecure": True}, "certificate"),
        ("right", True, {"ca": "ca.crt", "cert": "agent.crt", "key": "agent.key"}, None),
        ("right", True, {"ca": "ca.crt"}, ""),
        ("right", False, True, "certificate"),
    ],
)
def test_tls(
    make_broker: Callable[..., LocalBroker],
    make_bench: MakeBench,
    certificates: Path,
    caplog: pytest.LogCaptureFixture,
    server: str,
    require: bool,
    tls: dict[str, Any] | bool,
    said: str | None,
) -> None:
    plain = free_port()
    conf = f"cafile {certificates}/ca.crt\ncertfile {certificates}/{server}.crt\nkeyfile {certificates}/{server}.key\n"
    conf += f"require_certificate {str(require).lower()}\nlistener {plain} 127.0.0.1\nallow_anonymous true\n"
    broker = make_broker(conf=conf, kind="mosquitto")
    wait_until(lambda: not is_free(plain), "the other listener")
    if isinstance(tls, dict):
        tls = {key: str(certificates / value) if isinstance(value, str) else value for key, value in tls.items()}
    bench = make_bench(port=broker.port, observer_port=plain, mqtt={"tls": tls}, online=said is None)
    if said is None:
        assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
        return
    wait_until(lambda: "trying again" in caplog.text, "the complaint")
    wait_polls(bench.simulator, 5)
    complaint = next(r.getMessage() for r in caplog.records if "trying again" in r.getMessage())
    assert said in complaint
    assert bench.observer.on("psu/agents/bench/status") == []


def test_two_agents_of_one_name(
    make_bench: MakeBench,
    broker: LocalBroker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They take the connection from each other, say so, and one of them is well when the other is gone."""
    inside.suspect_short_connections(monkeypatch.setattr)
    bench = make_bench(port=broker.port)
    with Simulator() as other:
        data = settings(broker.port, [unit("psu2", other)], tmp_path / "elsewhere")
        with AgentProcess(data, tmp_path / "second"):
            wait_until(lambda: "is a second agent called 'bench' running?" in caplog.text, "the complaint")
    after = bench.observer.mark()
    bench.observer.wait_agent(after=after)
    assert bench.observer.ask("psu/psu1/1/set", {"voltage_limit": 1})["ok"]


def test_the_state_of_another_running_agent_is_refused(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench()
    agent = AgentProcess(bench.data, tmp_path / "second")
    with agent:
        assert agent.process.wait(25) == 2
    log = agent.log.read_text()
    assert "another agent of this name uses it" in log
    assert "Traceback" not in log


# Slow and hung.


def test_a_broker_that_pauses_loses_nothing(make_bench: MakeBench, make_broker: Callable[..., LocalBroker]) -> None:
    broker = make_broker(kind="mosquitto")
    bench = make_bench(port=broker.port, poll_interval=0.02)
    observer = bench.observer
    first = seqs(observer, "state")[0]
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        wait_polls(bench.simulator, 40)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert observer.ask("psu/psu1/2/set/voltage_limit", "1")["ok"]
    drained(observer)
    whole(observer, first, seqs(observer, "state")[-1])


def test_a_slow_link_to_the_broker(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    """50 ms each way and few bytes at a time: states gather and go, and commands are answered."""
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=0.02)
    observer = bench.observer
    way.up = ways.late(0.05)
    way.down = ways.late(0.05)
    first = seqs(observer, "state")[-1]
    wait_polls(bench.simulator, 30)
    assert observer.ask("psu/psu1/2/set/voltage_limit", "1")["ok"]
    way.heal()
    drained(observer)
    whole(observer, first, seqs(observer, "state")[-1])


# Commands and the connection.


def _mark_as_delivered_again(data: bytes) -> Iterator[bytes]:
    """Set the DUP flag of each PUBLISH with QoS 1 (MQTT 5, 3.3.1.1), which mosquitto sets when it delivers once more."""
    marked, start = bytearray(data), 0
    while start < len(data):
        if data[start] & 0xF6 == 0x32:
            marked[start] |= 0x08
        length, shift, start = 0, 0, start + 1
        while True:  # the remaining length, 2.1.4
            byte = data[start]
            length |= (byte & 0x7F) << shift
            shift, start = shift + 7, start + 1
            if byte < 0x80:
                break
        start += length
    yield bytes(marked)


def test_a_command_that_is_delivered_again_is_refused(make_bench: MakeBench, broker: LocalBroker, way: Proxy) -> None:
    # Polled seldom, so that no packet is torn.
    bench = make_bench(port=way.port, observer_port=broker.port, poll_interval=60)
    way.down = _mark_as_delivered_again
    assert bench.observer.code("psu/psu1/1/set", {"state": True}) == "duplicate"
    assert bench.observer.code("psu/psu1/1/set/state", "ON") == "duplicate"
    way.heal()
    assert not bench.simulator.instrument.channels[1].output


def test_an_id_is_known_after_a_reconnection_and_a_restart(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port)
    observer = bench.observer
    assert observer.ask("psu/psu1/1/set", {"id": "once", "voltage_limit": 1})["ok"]
    observer.send("psu/psu1/1/set/voltage_limit", "1", response_topic="clients/c", correlation=b"c")
    wait_until(lambda: observer.on("clients/c"), "the response")
    for disturb in (way.end_all, bench.stop):
        after = observer.mark()
        disturb()
        if bench.agent is not None and disturb == bench.stop:
            raise AssertionError
        if bench.agent is None:
            bench.start()
        else:
            observer.wait_agent(after=after)
        assert observer.code("psu/psu1/1/set", {"id": "once", "voltage_limit": 2}) == "duplicate"
        answered = len(observer.on("clients/c"))
        observer.send("psu/psu1/1/set/voltage_limit", "2", response_topic="clients/c", correlation=b"c")
        wait_until(lambda: len(observer.on("clients/c")) > answered, "the response")  # noqa: B023
        assert observer.on("clients/c")[-1].json["error"]["code"] == "duplicate"
    assert bench.simulator.instrument.channels[1].settings.voltage == 1.0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_retained_command_is_refused_at_each_replay(
    make_bench: MakeBench, broker: LocalBroker, protocol: str
) -> None:
    before = Observer(broker.port)
    before.send("psu/psu1/1/set", {"id": "kept", "state": True}, retain=True)
    before.send("psu/psu1/2/set/state", "ON", retain=True)
    before.send("psu/all/set", "OFF", retain=True)
    before.close()
    port = broker.port if protocol == "5" else broker.port_311
    with Proxy(port) as way:
        bench = make_bench(port=way.port, observer_port=broker.port, mqtt={"protocol": protocol})
        bench.simulator.instrument.panel.press_output(3, True)
        for replay in (1, 2):
            wait_until(lambda: len(bench.observer.responses("psu1", 1)) == replay, "the refusal")  # noqa: B023
            wait_until(lambda: len(bench.observer.responses("psu1", 2)) == replay, "the refusal")  # noqa: B023
            wait_until(lambda: len(bench.observer.responses("psu1")) == replay, "the refusal")  # noqa: B023
            after = bench.observer.mark()
            way.end_all()
            bench.observer.wait_agent(after=after)
        for channel, identity in ((1, "kept"), (2, None), (None, None)):
            for response in bench.observer.responses("psu1", channel):
                assert (response["error"]["code"], response["id"]) == ("retained", identity)
        assert [bench.simulator.instrument.channels[n].output for n in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("away", ["agent", "link"])
def test_what_was_sent_while_the_agent_was_away_is_never_carried_out(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy, away: str
) -> None:
    bench = make_bench(port=way.port, observer_port=broker.port)
    observer = bench.observer
    if away == "agent":
        bench.stop()
    else:
        way.stop()
        wait_until(lambda: inside.broker_is_gone(bench.daemon), "the loss")
    for number in range(3):
        observer.send(f"psu/psu1/{number + 1}/set", {"id": f"while away {number}", "state": True})
    after = observer.mark()
    if away == "agent":
        bench.start()
    else:
        way.start()
        observer.wait_agent(after=after)
    assert observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
    assert [m for m in bench.simulator.instrument.log if m.startswith("OUTP ")] == []
    assert not any(r["ok"] for n in (1, 2, 3) for r in observer.responses("psu1", n))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_came_in_while_the_process_was_stopped_is_refused_and_told(
    make_broker: Callable[..., LocalBroker], tmp_path: Path, protocol: str
) -> None:
    """As a laptop that sleeps, or a virtual machine that is moved. Fifty: more than a broker sends without being answered."""
    broker = make_broker(kind="mosquitto")
    with Simulator() as simulator:
        mqtt = {"keepalive": 60, "protocol": protocol}
        data = settings(broker.port, [unit("psu1", simulator)], tmp_path / "state", mqtt=mqtt)
        observer = Observer(broker.port)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            agent.signal(signal.SIGSTOP)
            stopped = time.monotonic()
            for number in range(50):
                observer.send("psu/psu1/1/set", {"id": f"asleep {number}", "state": True})
            wait_until(lambda: time.monotonic() > stopped + 5.6, "the time that makes it too old")
            simulator.instrument.clear_log()
            after = observer.mark()
            agent.signal(signal.SIGCONT)
            wait_until(lambda: len(observer.responses("psu1", 1)) >= 50, "a response for each")
            assert {r["error"]["code"] for r in observer.responses("psu1", 1)} == {"expired"}
            assert sorted(r["id"] for r in observer.responses("psu1", 1)) == sorted(f"asleep {n}" for n in range(50))
            observer.wait_agent(after=after)
            observer.send("psu/psu1/2/set", {"id": "awake", "voltage_limit": 1})
            assert observer.wait("psu/psu1/2/response")["ok"]
            assert [m for m in simulator.instrument.log if m.startswith("OUTP ")] == []
            assert not simulator.instrument.channels[1].output
        observer.close()


# What happens to outputs.


def test_no_output_changes_when_the_agent_starts_stops_or_reconnects(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_output(1, True)
    simulator.instrument.panel.knob_voltage(1, 3.0)
    bench = make_bench([simulator], port=way.port, observer_port=broker.port)
    way.end_all()
    bench.observer.wait_agent(after=bench.observer.mark())
    simulator.disconnect(reset=True)
    bench.observer.wait_state("psu1", after=bench.observer.mark(), online=False)
    bench.observer.wait_state("psu1", after=bench.observer.mark(), online=True)
    bench.stop()
    assert [m for m in simulator.instrument.log if "?" not in m] == []
    assert simulator.instrument.channels[1].output


LIMIT = {3: {"on_broker_loss": "off", "broker_loss_after": 1.0}, 2: {"broker_loss_after": 0.0}}


@pytest.mark.parametrize("loss", ["gone", "hangs", "was never there"])
def test_on_broker_loss(make_bench: MakeBench, make_broker: Callable[..., LocalBroker], loss: str) -> None:
    broker = make_broker(kind="mosquitto")
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    with Proxy(broker.port) as way:
        if loss == "was never there":
            way.stop()
        # A keep-alive of a minute would notice a broker that hangs far too late.
        bench = make_bench(
            [simulator],
            [unit("psu1", simulator, channels=LIMIT)],
            port=way.port,
            observer_port=broker.port,
            mqtt={"keepalive": 60},
            online=loss != "was never there",
        )
        info = bench.data["units"][0]["channels"]
        assert info is LIMIT
        begun = time.monotonic()
        if loss == "gone":
            way.stop()
        elif loss == "hangs":
            way.up = way.down = ways.swallow
        wait_polls(simulator, 3)
        assert simulator.instrument.channels[3].output or time.monotonic() - begun > 0.9
        wait_until(lambda: not simulator.instrument.channels[3].output, "off")
        assert time.monotonic() - begun > 0.9
        wait_polls(simulator, 5)
        assert [simulator.instrument.channels[n].output for n in (1, 2, 3)] == [True, True, False]
        assert simulator.instrument.log.count("OUTP 0,(@3)") == 1
        after = bench.observer.mark()
        way.heal()
        way.end_all()
        bench.observer.wait_agent(after=after)
        event = bench.observer.wait("psu/psu1/3/event", lambda e: e["field"] == "state")
        assert (event["from"], event["to"], event["by"], event["id"]) == (True, False, "agent", None)
        # What a person turns on again stays on while the broker is there.
        assert bench.observer.ask("psu/psu1/3/set", {"state": True})["ok"]


def test_a_broker_that_comes_back_in_time_changes_nothing(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 30}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port)
    for _ in range(3):
        after = bench.observer.mark()
        way.end_all()
        bench.observer.wait_agent(after=after)
    assert [m for m in simulator.instrument.log if "?" not in m] == []


def test_a_unit_that_is_away_when_the_broker_is_lost_is_turned_off_when_it_is_back(
    make_bench: MakeBench, broker: LocalBroker, way: Proxy
) -> None:
    simulator = Simulator().start()
    simulator.instrument.panel.press_all(True)
    units = [unit("psu1", simulator, channels={1: {"on_broker_loss": "off", "broker_loss_after": 0.3}})]
    bench = make_bench([simulator], units, port=way.port, observer_port=broker.port)
    simulator.stop()
    bench.observer.wait_state("psu1", online=False)
    way.stop()
    gone = time.monotonic()
    wait_until(lambda: time.monotonic() > gone + 0.6, "the time")
    assert simulator.instrument.channels[1].output
    simulator.start()
    wait_until(lambda: not simulator.instrument.channels[1].output, "off")
    assert simulator.instrument.channels[2].output


# The end.


def test_a_command_that_a_hung_unit_holds_is_answered_when_the_agent_stops(
    make_bench: MakeBench, broker: LocalBroker
) -> None:
    simulator = Simulator().start()
    bench = make_bench([simulator], [unit("psu1", simulator, pyvisa_args={"timeout": 60_000})])
    simulator.freeze()
    wait_polls_begun = polls(simulator)
    assert wait_polls_begun
    for number in range(3):
        bench.observer.send("psu/psu1/1/set", {"id": f"held {number}", "voltage_limit": 1})
    wait_until(lambda: inside.commands(bench.daemon, "psu1") == 3, "the commands")
    bench.stop()
    wait_until(lambda: len(bench.observer.responses("psu1", 1)) == 3, "a response for each")
    assert {r["error"]["code"] for r in bench.observer.responses("psu1", 1)} <= {"superseded", "uncertain", "offline"}
    assert bench.observer.states("psu1")[-1]["online"] is False
    simulator.thaw()


@pytest.mark.parametrize("broken", ["nothing", "unit", "broker", "both"])
def test_sigterm_ends_it_whatever_hangs(broker: LocalBroker, tmp_path: Path, broken: str) -> None:
    with Simulator() as simulator, Proxy(broker.port) as way:
        entry = unit("psu1", simulator, pyvisa_args={"timeout": 60_000})
        data = settings(way.port, [entry], tmp_path / "state")
        observer = Observer(broker.port)
        with AgentProcess(data, tmp_path) as agent:
            observer.wait_state("psu1", online=True)
            if broken in ("unit", "both"):
                simulator.freeze()
            if broken in ("broker", "both"):
                way.up = way.down = ways.swallow
            begun = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - begun < 10  # it promises 5 s
        if broken in ("nothing", "unit"):
            observer.wait_agent(status="offline")
            wait_until(lambda: observer.states("psu1")[-1]["online"] is False, "the last state")
            wait_until(lambda: observer.on("psu/psu1/status")[-1].payload == b"offline", "the unit's status")
        observer.close()
        log = agent.log.read_text()
        assert "Traceback" not in log, log
        # What found no broker is kept.
        if broken in ("broker", "both"):
            db = sqlite3.connect(tmp_path / "state" / "bench.sqlite3")
            assert db.execute("SELECT count(*) FROM samples").fetchone()[0] > 0
            db.close()

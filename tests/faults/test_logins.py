"""Brokers that deny or refuse: passwords, TLS, access control lists, and a second agent of the same name."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.local.broker import LocalBroker
from agent.local.ports import free_port, is_free
from agent.simulator import Simulator
from tests import certificates
from tests.certificates import Certificates
from tests.faults.proxy import Proxy
from tests.faults.samples import MakeBench, wait_polls
from tests.lab import AgentProcess, Observer, needs, settings, unit, wait_until

pytestmark = pytest.mark.usefixtures("quick")


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
        # The denied messages stay in the backlog; all else goes on.
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
            # It connects by itself when the broker knows the password.
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
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("host", "require", "tls", "complaint"),
    [
        ("localhost", False, {"ca": "ca.crt"}, None),
        ("localhost", False, {"ca": "other.crt"}, "certificate"),
        ("127.0.0.1", False, {"ca": "ca.crt"}, "not valid for '127.0.0.1'"),
        ("127.0.0.1", False, {"ca": "ca.crt", "insecure": True}, None),
        ("127.0.0.1", False, {"ca": "other.crt", "insecure": True}, "certificate"),
        ("localhost", True, {"ca": "ca.crt", "cert": "client.crt", "key": "client.key"}, None),
        ("localhost", True, {"ca": "ca.crt"}, ""),
        ("localhost", False, True, "certificate"),
    ],
)
def test_tls(
    make_broker: Callable[..., LocalBroker],
    make_bench: MakeBench,
    certs: Certificates,
    caplog: pytest.LogCaptureFixture,
    host: str,
    require: bool,
    tls: dict[str, Any] | bool,
    complaint: str | None,
) -> None:
    """The broker's certificate is for localhost. ``require``: the broker wants a certificate of the agent."""
    plain = free_port()
    conf = f"cafile {certs['ca.crt']}\ncertfile {certs['server.crt']}\nkeyfile {certs['server.key']}\n"
    conf += f"require_certificate {str(require).lower()}\nlistener {plain} 127.0.0.1\nallow_anonymous true\n"
    broker = make_broker(conf=conf, kind="mosquitto")
    wait_until(lambda: not is_free(plain), "the other listener")
    if isinstance(tls, dict):
        tls = {key: str(certs[value]) if isinstance(value, str) else value for key, value in tls.items()}
    mqtt = {"host": host, "tls": tls}
    bench = make_bench(port=broker.port, observer_port=plain, mqtt=mqtt, online=complaint is None)
    if complaint is None:
        assert bench.observer.ask("psu/psu1/1/set/voltage_limit", "1")["ok"]
        return
    wait_until(lambda: "trying again" in caplog.text, "the complaint")
    wait_polls(bench.simulator, 5)
    assert complaint in next(r.getMessage() for r in caplog.records if "trying again" in r.getMessage())
    assert bench.observer.on("psu/agents/bench/status") == []


def test_two_agents_of_one_name(
    make_bench: MakeBench, broker: LocalBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The later one says so and ends, before it has published anything; the first one is not disturbed."""
    bench = make_bench(port=broker.port)
    after = bench.observer.mark()
    with Simulator() as other:
        data = settings(broker.port, [unit("psu2", other)], tmp_path / "elsewhere")
        with AgentProcess(data, tmp_path / "second") as second:
            assert second.process.wait(25) == 2
            assert "another agent called bench" in second.text()
            assert "Traceback" not in second.text()
    assert "is a second agent called 'bench' running?" in caplog.text
    assert bench.observer.ask("psu/psu1/1/set", {"voltage_limit": 1})["ok"]
    assert bench.daemon.session.reconnects == 0
    seen = [message for message in bench.observer.received[after:] if "psu2" in message.topic]
    assert not seen
    assert not [m for m in bench.observer.received[after:] if m.topic == "psu/agents/bench/status"]


def test_the_state_of_another_running_agent_is_refused(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench()
    agent = AgentProcess(bench.data, tmp_path / "second")
    with agent:
        assert agent.process.wait(25) == 2
    log = agent.log.read_text()
    assert "another agent of this name uses it" in log
    assert "Traceback" not in log

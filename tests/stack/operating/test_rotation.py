"""`make rotate NAME=…` for each secret: the new one is in use, the old one refused; interrupted, it says what remains."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.make_secrets import steps_after
from tests.stack.services import Broker, generate_secrets
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .influxd import Influxd, SetupService

#: In the place of docker compose: it notes what it is asked, sends the broker its signal, and runs influxdb/setup.py.
COMPOSE = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
  "ps --services --status running --status restarting") printf '%s\\n' $RUNNING ;;
  "kill -s HUP mosquitto"|"restart mosquitto") kill -s HUP "$BROKER" ;;
  "run --rm --no-deps influxdb-setup"*) shift 4; exec "$PYTHON" -S -B "$SETUP" "$@" ;;
  "restart "*) [ "$2" != "$BROKEN" ] || { echo "no such container" >&2; exit 1; } ;;
  exec*) cat >"$CALLS.stdin" ;;
  *) exit 64 ;;
esac
"""


class Bench:
    """Secrets, the broker that reads them, and a stand-in for compose."""

    def __init__(self, folder: Path, secrets: Path, broker: Broker) -> None:
        self.secrets, self.broker, self.calls = secrets, broker, folder / "calls"
        self.compose = folder / "compose"
        self.compose.write_text(COMPOSE)
        self.compose.chmod(0o755)
        self.environment = {
            "PATH": os.environ["PATH"], "COMPOSE": str(self.compose), "CALLS": str(self.calls), "BROKER": str(broker.pid),
            "RUNNING": "agent mosquitto telegraf influxdb grafana", "PYTHON": sys.executable, "BROKEN": "",
            "SETUP": str(ROOT / "influxdb" / "setup.py"),
        }  # fmt: skip

    def rotate(self, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        command = [
            sys.executable,
            str(ROOT / "scripts" / "rotate.py"),
            *([name] if name else []),
            "--out",
            str(self.secrets),
        ]
        return subprocess.run(command, env=self.environment | environment, capture_output=True, text=True, timeout=60)

    def asked(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if not line.startswith(("ps ", "config "))]

    def may_connect(self, user: str, password: str) -> bool:
        """True if the broker takes this password; the topic may be any."""
        command = [
            "mosquitto_pub",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.broker.port),
            "-u",
            user,
            "-P",
            password,
            "-t",
            "x",
            "-n",
        ]
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("rotation")
    secrets = generate_secrets(folder / "secrets")
    with Broker(folder / "broker", secrets) as broker:
        yield Bench(folder, secrets, broker)


@pytest.mark.parametrize(
    ("user", "restarted"),
    [("agent", ["agent"]), ("telegraf", ["telegraf"]), ("commands", []), ("reader", []), ("health", [])],
)
def test_an_mqtt_password(bench: Bench, user: str, restarted: list[str]) -> None:
    old, others = bench.broker.password(user), bench.broker.password("reader" if user != "reader" else "commands")
    done = bench.rotate(user)
    assert done.returncode == 0, done.stderr
    new = bench.broker.password(user)
    assert new not in (old, "")
    assert new not in done.stdout + done.stderr
    how = "restart mosquitto" if user == "telegraf" else "kill -s HUP mosquitto"
    assert bench.asked() == [how, *(f"restart {service}" for service in restarted)]
    wait_until(lambda: bench.may_connect(user, new), "the broker knows it")
    assert not bench.may_connect(user, old)
    assert bench.may_connect("reader" if user != "reader" else "commands", others)
    if user == "health":
        assert new in (bench.secrets / "mosquitto" / "mosquitto_sub").read_text()


def test_what_waits_for_telegraf_survives_its_new_password(tmp_path: Path) -> None:
    """The steps of `make rotate NAME=telegraf` with the real broker; reading its passwords again would lose all five."""
    secrets = generate_secrets(tmp_path / "secrets")
    session = ["-q", "1", "-c", "-i", "away", "-t", "psu/+/+/state"]
    with Broker(tmp_path / "broker", secrets) as broker:

        def listen(*options: str) -> list[str]:
            command = ["mosquitto_sub", *broker.client("telegraf")[:-1], "mqttv311", *session, *options]
            return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.split()

        listen("-E")
        broker.publish("agent", "psu/u/1/state", "0")
        (secrets / "telegraf" / "mqtt_password").unlink()
        generate_secrets(secrets)
        assert steps_after("telegraf", secrets) == ["restart mosquitto", "restart telegraf"]
        broker.stop()
        broker.start()
        for number in range(1, 6):
            assert broker.publish("agent", "psu/u/1/state", str(number)).returncode == 0
        assert listen("-C", "6", "-W", "40") == ["0", "1", "2", "3", "4", "5"]


def test_the_broker_is_started_anew_where_telegraf_is_away(bench: Bench) -> None:
    assert bench.rotate("reader", RUNNING="mosquitto").returncode == 0
    assert bench.asked() == ["restart mosquitto"]


@pytest.mark.parametrize(
    ("name", "running", "told"),
    [
        ("telegraf", "mosquitto telegraf agent", "Channels of every agent with on_broker_loss"),
        ("reader", "mosquitto agent", "Channels of every agent with on_broker_loss"),
        ("agent", "mosquitto telegraf agent", "Its channels with on_broker_loss"),
        ("agent", "mosquitto telegraf", "The agent that connects as agent is refused"),
        ("commands", "mosquitto telegraf agent", "its commands, offs included"),
        ("reader", "mosquitto telegraf agent", ""),
        ("telegraf", "agent", ""),
    ],
)
def test_what_may_become_of_outputs_is_told_before_anything_is_changed(
    bench: Bench, name: str, running: str, told: str
) -> None:
    done = bench.rotate(name, RUNNING=running)
    assert done.returncode == 0, done.stderr
    if told:
        assert told in done.stdout.partition(": new")[0].partition("$ ")[0]
    else:
        assert "off included" not in done.stdout
        assert "offs included" not in done.stdout


@pytest.mark.parametrize("answer", [b"\n", b"\x04", b"y\n"])
def test_in_a_terminal_it_asks(bench: Bench, answer: bytes) -> None:
    bench.calls.write_text("")
    before = bench.broker.password("telegraf")
    ours, its = pty.openpty()
    try:
        os.write(ours, answer)
        command = [sys.executable, str(ROOT / "scripts" / "rotate.py"), "telegraf", "--out", str(bench.secrets)]
        done = subprocess.run(command, env=bench.environment, stdin=its, capture_output=True, text=True, timeout=60)
    finally:
        os.close(ours)
        os.close(its)
    if answer == b"y\n":
        assert done.returncode == 0, done.stderr
        assert bench.asked() == ["restart mosquitto", "restart telegraf"]
        assert bench.broker.password("telegraf") != before
    else:
        assert (done.returncode, done.stderr) == (2, "Nothing was changed\n")
        assert bench.asked() == []
        assert bench.broker.password("telegraf") == before


def test_the_password_of_a_further_agent(bench: Bench) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "make_secrets.py"), "--out", str(bench.secrets)]
    made = subprocess.run([*script, "--agents", "bench7:psu7"], capture_output=True, text=True)
    assert (
        "New for bench7. Services that run go on with the old one until: docker compose kill -s HUP mosquitto\n"
        in made.stdout
    )
    old = bench.broker.password("bench7")
    done = bench.rotate("bench7")
    assert "The agent that connects as bench7 is refused until it has the new password" in done.stdout
    assert f"Give it to those who connect as bench7: {bench.secrets / 'users' / 'bench7'}" in done.stdout
    wait_until(lambda: bench.may_connect("bench7", bench.broker.password("bench7")), "the broker knows it")
    assert not bench.may_connect("bench7", old)


def test_the_certificate(bench: Bench) -> None:
    certificate = bench.secrets / "mosquitto" / "tls" / "server.crt"
    old = certificate.read_text()
    assert bench.rotate("certificate").returncode == 0
    assert certificate.read_text() != old
    assert bench.asked() == ["kill -s HUP mosquitto"]


def test_grafanas_password_goes_where_grafana_keeps_it(bench: Bench) -> None:
    """It takes the one of its environment at its first start only. Its server is not run here."""
    old = (bench.secrets / "grafana" / "admin_password").read_text()
    assert bench.rotate("grafana").returncode == 0
    (step,) = bench.asked()
    assert (
        step
        == "exec -T grafana grafana cli --homepath /usr/share/grafana admin reset-admin-password --password-from-stdin"
    )
    given = Path(f"{bench.calls}.stdin").read_text()
    assert given == (bench.secrets / "grafana" / "admin_password").read_text() != old


# -- done halfway ----------------------------------------------------------------------------------------------------------


def test_what_could_not_be_done_is_named_and_can_be_done_then(bench: Bench) -> None:
    done = bench.rotate("telegraf", BROKEN="telegraf")
    assert done.returncode == 1
    assert f"It remains to run:\n  {bench.compose} restart telegraf\n" in done.stderr
    assert bench.rotate("telegraf").returncode == 0


def test_services_that_do_not_run_need_not_be_told(bench: Bench) -> None:
    done = bench.rotate("agent", RUNNING="influxdb")
    assert done.returncode == 0
    assert bench.asked() == []
    assert "mosquitto does not run: it reads what is new when it starts\nagent does not run" in done.stdout


def test_a_file_that_was_deleted_by_hand(bench: Bench) -> None:
    """As the former instruction had it: `make secrets` tells what else there is to do; a second time there is nothing new."""
    script = [sys.executable, str(ROOT / "scripts" / "make_secrets.py"), "--out", str(bench.secrets)]
    (bench.secrets / "telegraf" / "mqtt_password").unlink()
    (bench.secrets / "influxdb" / "admin_password").unlink()
    first = subprocess.run(script, capture_output=True, text=True)
    steps = ("docker compose restart mosquitto", "docker compose restart telegraf")
    told = [line.strip() for line in first.stdout.splitlines() if "New for" in line]
    setup = "run --rm --no-deps influxdb-setup"
    assert told == [
        f"New for influxdb. Services that run go on with the old one until: docker compose {setup} --renew admin",
        f"New for telegraf. Services that run go on with the old one until: {' && '.join(steps)}",
    ]
    password = bench.broker.password("telegraf")
    assert "New for" not in subprocess.run(script, capture_output=True, text=True).stdout
    assert bench.broker.password("telegraf") == password


@pytest.mark.parametrize("name", ["", "nobody", "../agent"])
def test_a_name_that_is_none(bench: Bench, name: str) -> None:
    done = bench.rotate(name)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "name one of agent, telegraf, commands, reader, health, " in done.stderr
    assert "influxdb, grafana, telegraf-token, grafana-token, certificate" in done.stderr


def test_without_compose_nothing_is_changed(bench: Bench) -> None:
    before = bench.broker.password("agent")
    done = bench.rotate("agent", COMPOSE="/nowhere/docker compose")
    assert (done.returncode, bench.broker.password("agent")) == (2, before)
    assert done.stderr == '/nowhere/docker: No such file or directory; COMPOSE="podman compose" names another one\n'


# -- the store's ----------------------------------------------------------------------------------------------------------


def test_what_the_store_accepts(bench: Bench, tmp_path: Path) -> None:
    with Influxd(tmp_path / "influxd") as store:
        service = SetupService(tmp_path / "setup", store.url)
        service.secrets = bench.secrets / "influxdb"
        _, environment = service.command()
        assert service.setup().returncode == 0
        for name in ("telegraf", "grafana"):
            old = service.token(name)
            assert bench.rotate(f"{name}-token", **environment).returncode == 0
            assert bench.asked() == [f"run --rm --no-deps influxdb-setup --renew {name}", f"restart {name}"]
            assert store.write(old, "x v=1") == 401
            assert service.token(name) != old
        assert store.write(service.token("telegraf"), "x v=1") == 204
        assert store.values(service.token("grafana"), "x") == [1]

        password = service.password
        done = bench.rotate("influxdb", **environment)
        assert done.returncode == 0, done.stderr
        assert service.password != password
        (service.state / "admin").unlink()  # only the password is left, and has to be right
        assert service.setup().returncode == 0

        # The store is not well: nothing is taken away.
        password = service.password
        done = bench.rotate("influxdb", **environment | {"INFLUX_HOST": "http://127.0.0.1:9", "STARTING": "0.1"})
        assert done.returncode == 2
        assert "Nothing was changed: InfluxDB has to be well first" in done.stderr
        assert service.password == password

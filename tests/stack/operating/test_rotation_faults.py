"""`make secrets` and `make rotate` where something is in the way: settings, files, names, other runs, an impatient user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.services import generate_secrets
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

COMPOSE = """#!/bin/bash
case "$*" in
  ps*) printf '%s\\n' ${RUNNING:-agent mosquitto telegraf} ;;
  "config --services") echo "$SERVICES" ;;
  "$SLOW") : >"$MARK"; exec sleep 60 ;;
esac
"""


class Bench:
    """Secrets that were made, users.toml, and a stand-in for compose that does nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.users, self.secrets = folder, folder / "users.toml", folder / "secrets"
        shutil.copy(ROOT / "mosquitto" / "users.toml", self.users)
        (folder / "compose").write_text(COMPOSE)
        (folder / "compose").chmod(0o755)
        self.environment = {"PATH": os.environ["PATH"], "COMPOSE": str(folder / "compose")}

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "scripts" / script), *words]
        command += ["--users", str(self.users), "--out", str(self.secrets)]
        return subprocess.Popen(
            command,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(script, *words, **environment)
        text, told = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, text, told)

    def kept(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.secrets.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_secrets(tmp_path_factory.mktemp("made") / "secrets")


@pytest.fixture
def bench(tmp_path: Path, made: Path) -> Bench:
    shutil.copytree(made, tmp_path / "secrets")
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("[users.x]\nrole = 'nobody'\n", "users.x.role: must be one of"),
        ("[users.x]\nrole = []\n", "users.x.role: must be one of"),
        ("[users]\nx = 3\n", "users.x: must be a table, [users.x]; is 3"),
        ("[users.'..']\nrole = 'readers'\n", "users...: a user name is made of letters"),
        ("[users.'-v']\nrole = 'readers'\n", "users.-v: a user name is made of letters"),
        ("[bridge]\naddress = 5\nusername = 'u'\nsite = 's'\n", "bridge.address: must be one line of text; is 5"),
        ("[bridge]\naddress = \"a\\nuser root\"\nusername = 'u'\nsite = 's'\n", "bridge.address: must be one line"),
        ("[bridge]\naddress = 'a'\nusername = 'u'\nsite = 's'\ntls = 'no'\n", "bridge.tls: must be true or false"),
        ("[bridge]\naddress = 'a'\nusername = 'u'\nsite = 's'\n", "central_password is missing: put the password"),
    ],
)
def test_what_is_wrong_in_users_toml_changes_nothing(bench: Bench, more: str, told: str) -> None:
    text = bench.users.read_text()
    bench.users.write_text(text.replace("[users.agent]", f"{more}\n[users.agent]", 1))
    before = bench.kept()
    for words in (("make_secrets.py",), ("rotate.py", "reader"), ("rotate.py", "agent")):
        done = bench.run(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert told in done.stderr
        assert bench.kept() == before


def test_a_table_that_is_none(bench: Bench) -> None:
    for text, told in (("users = 3\n", "users: must have a [users.NAME]"), ("bridge = 3\n", "bridge: must be a table")):
        users = 'base_topic = "psu"\ndiscovery_prefix = "homeassistant"\n' + text
        bench.users.write_text(users + ("[users.x]\nrole = 'readers'\n" if "bridge" in text else ""))
        done = bench.run("make_secrets.py", "--agents", "b1:u1")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert told in done.stderr


def test_a_password_of_ones_own_is_the_same_for_everybody(bench: Bench) -> None:
    """A mark of the encoding and an end of line, as an editor leaves them, would be a part of it for Telegraf and Grafana."""
    file = bench.secrets / "telegraf" / "mqtt_password"
    file.unlink()
    file.write_bytes(b"\xef\xbb\xbfmy \"$HOME\" 'p\xc3\xa4ss'\r\n")
    assert bench.run("make_secrets.py").returncode == 0
    assert file.read_text() == "my \"$HOME\" 'päss'"
    for wrong, told in ((b"two\nlines", "has several lines"), (b"p\xe4ss", "is not in UTF-8"), (b"\r\n", "is empty")):
        file.unlink()
        file.write_bytes(wrong)
        before = bench.kept()
        for words in (("make_secrets.py",), ("rotate.py", "reader")):
            done = bench.run(*words)
            assert done.returncode == 2
            assert done.stderr.startswith(f"{file} {told}")
            assert bench.kept() == before
        # It is put right by a new one.
        done = bench.run("rotate.py", "telegraf")
        assert done.returncode == 0, done.stderr


def test_a_file_that_cannot_be_written(bench: Bench) -> None:
    for path in [bench.secrets / "mosquitto" / ".passwd.new", bench.secrets / "users" / ".reader.new"]:
        path.mkdir()
        before = bench.kept()
        for words in (("make_secrets.py",), ("rotate.py", "reader")):
            if words[0] == "make_secrets.py" and path.parent.name == "users":
                continue
            done = bench.run(*words)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False)
            assert f"{path}: Is a directory" in done.stderr
            assert bench.kept() == before
        path.rmdir()


def test_a_certificate_that_cannot_be_made(bench: Bench) -> None:
    before = bench.kept()
    tools = bench.folder / "tools"
    tools.mkdir()
    (tools / "openssl").write_text("#!/bin/sh\nexit 1\n")
    (tools / "openssl").chmod(0o755)
    done = bench.run("rotate.py", "certificate", PATH=f"{tools}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (2, "The certificate is as it was: see above\n")
    assert {path: text for path, text in bench.kept().items() if path in before} == before


def test_users_that_are_called_like_other_secrets(bench: Bench) -> None:
    with bench.users.open("a") as file:
        file.write('\n[users.grafana]\nrole = "readers"\n')
    done = bench.run("make_secrets.py")
    assert (
        "New for users/grafana. Services that run go on with the old one until: docker compose kill -s HUP"
        in done.stdout
    )
    user, admin = (bench.secrets / name for name in ("users/grafana", "grafana/admin_password"))
    before = user.read_text(), admin.read_text()
    done = bench.run("rotate.py", "users/grafana")
    assert f"Give it to those who connect as grafana: {user}" in done.stdout
    assert (user.read_text() != before[0], admin.read_text() != before[1]) == (True, False)
    assert bench.run("rotate.py", "grafana").returncode == 0
    assert admin.read_text() != before[1]
    assert "users/grafana, influxdb, grafana" in bench.run("rotate.py").stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("telegraf", "Write it into {0}/telegraf/mqtt_password, then docker compose restart telegraf"),
        ("commands", "Write it into {0}/users/commands"),
        ("certificate", "Clients need the certificate of its authority, where that is another one"),
    ],
)
def test_a_broker_that_is_elsewhere_gets_no_new_password_from_here(bench: Bench, name: str, told: str) -> None:
    """As with the override of docs/stack.md: Telegraf would have been refused from then on."""
    before = bench.kept()
    done = bench.run("rotate.py", name, RUNNING="agent telegraf", SERVICES="agent\ntelegraf\ninfluxdb")
    assert done.returncode == 2
    beginning = "The broker is none of this stack's services: what is new comes from there. "
    assert done.stderr == f"{beginning}{told.format(bench.secrets)}\n"
    assert bench.kept() == before
    assert (
        bench.run("rotate.py", "grafana", RUNNING="agent telegraf", SERVICES="agent\ntelegraf\ninfluxdb").returncode
        == 0
    )


def test_who_stops_it_is_told_what_remains(bench: Bench) -> None:
    mark = bench.folder / "mark"
    process = bench.start("rotate.py", "agent", SLOW="restart agent", MARK=str(mark))
    wait_until(mark.exists, "the agent is to be restarted")
    # Another one does not come in between.
    other = bench.run("rotate.py", "agent")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert other.stderr.startswith("Another make secrets, rotate, backup or restore is at work here")
    # The first Ctrl-C lets what is under way end: half a restart is a service that stands still.
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "Interrupted. This step is ended first; Ctrl-C again leaves it halfway\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told == f"Interrupted. It remains to run:\n  {bench.folder / 'compose'} restart agent\n"
    assert bench.run("rotate.py", "agent").returncode == 0


def certs(bench: Bench, names: str = "") -> subprocess.CompletedProcess[str]:
    """`make certs`."""
    environment = {"PATH": os.environ["PATH"], "OUT": str(bench.secrets), "NAMES": names}
    return subprocess.run([ROOT / "scripts" / "make_certs.sh"], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (("ca/ca.key",), "/ca/ca.key is missing or empty: put it there while this runs. For a new authority"),
        (("ca/ca.crt",), "/ca/ca.crt is missing or empty"),
        (("ca/ca.key", "ca/ca.crt"), "/mosquitto/tls/ca.crt is of another authority than "),
    ],
)
def test_no_new_authority_is_made_unasked(bench: Bench, lost: tuple[str, ...], told: str) -> None:
    """Its key may have been moved elsewhere, as docs/stack.md allows; and the certificate may be of the company's authority."""
    for name in lost:
        (bench.secrets / name).unlink()
    before = bench.kept()
    done = certs(bench)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr
    done = bench.run("rotate.py", "certificate")
    assert (done.returncode, "The certificate is as it was" in done.stderr) == (2, True)
    assert bench.kept() == before
    shutil.rmtree(bench.secrets / "ca")
    (bench.secrets / "mosquitto" / "tls" / "ca.crt").unlink()
    assert certs(bench).returncode == 0


@pytest.mark.parametrize("left", ["ca/ca.srl", "ca/ca.key.new", "ca/ca.crt.new", "mosquitto/tls/server.key.new"])
def test_a_run_that_was_killed_is_in_no_ones_way(bench: Bench, left: str) -> None:
    (bench.secrets / left).write_text("")
    done = certs(bench)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("names", "code", "told"),
    [
        ("broker.lab,10.0.0.5", 2, "broker.lab,10.0.0.5 is no name and no address of a host. Write them with blanks"),
        ("broker.lab:8883", 2, "broker.lab:8883 is no name"),
        ("good.lab 300.1.1.1", 1, "openssl makes no certificate for DNS:mosquitto,"),
    ],
)
def test_a_name_that_a_certificate_cannot_have_is_told_and_not_kept(
    bench: Bench, names: str, code: int, told: str
) -> None:
    before = (bench.secrets / "mosquitto" / "tls" / "server.crt").read_bytes()
    done = certs(bench, names)
    assert done.returncode == code
    assert done.stderr.startswith(told)
    assert (bench.secrets / "mosquitto" / "tls" / "server.crt").read_bytes() == before
    done = certs(bench, "broker.lab fe80::1 *.lab")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("DNS:broker.lab,IP:fe80::1,DNS:*.lab, for 825 days")
    assert "DNS:broker.lab,IP:fe80::1,DNS:*.lab, for" in certs(bench, "broker.lab").stdout

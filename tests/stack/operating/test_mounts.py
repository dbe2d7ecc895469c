"""`make secrets` in a checkout that was made under umask 077, and with settings of former releases."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.mounts import SECRETS, SHIPPED
from tests.support.compose import checkout
from tests.support.processes import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "psu-agent", ("compose.yaml", *SHIPPED))


def mounts(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "mounts.py"), "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True)


def test_what_containers_read_is_made_readable(root: Path) -> None:
    for path in [*root.rglob("*")]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    done = mounts(root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "may be read by the containers' users now" in done.stdout
    for name in SHIPPED:
        for path in [root / name, *(root / name).rglob("*")]:
            if path.exists():
                assert path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) == stat.S_IRGRP | stat.S_IROTH, path
                assert not path.is_dir() or path.stat().st_mode & stat.S_IXOTH, path
                assert not path.stat().st_mode & stat.S_IWOTH, path
    assert mounts(root).stdout == ""


def test_a_secret_that_was_written_by_hand_is_made_readable(root: Path) -> None:
    """A password that came from elsewhere, a certificate of another authority: the folder around them stays closed."""
    closed = root / "secrets"
    for name in SECRETS:
        (root / name / "more").mkdir(parents=True, mode=0o700)
        for path in (root / name / "x", root / name / "more" / "y"):
            path.write_text("secret")
            path.chmod(0o600)
    (closed / "users").mkdir()
    (closed / "users" / "commands").write_text("secret")
    (closed / "users" / "commands").chmod(0o600)
    closed.chmod(0o700)
    assert mounts(root).returncode == 0
    for name in SECRETS:
        assert stat.S_IMODE((root / name / "more").stat().st_mode) == 0o755
        assert stat.S_IMODE((root / name / "more" / "y").stat().st_mode) == 0o644
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert stat.S_IMODE((closed / "users" / "commands").stat().st_mode) == 0o600


def test_every_folder_that_compose_mounts_is_among_them() -> None:
    for name, service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].items():
        for volume in service.get("volumes", []):
            if isinstance(volume, dict) and volume["type"] == "bind":
                source = volume["source"].removeprefix("./")
                known = source in SECRETS or source.startswith("${PSU_AGENT_FOLDER:-./examples/stack")
                assert known or source.split("/")[0] in SHIPPED, (name, source)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ("PSU_AGENT_CONF=./psu-agent.yaml\n", "PSU_AGENT_CONF is gone, so ./psu-agent.yaml is not read. Make a folder"),
        ("PSU_AGENT_FOLDER=./config\n", "config/psu-agent.yaml is missing, and PSU_AGENT_FOLDER names its folder"),
        ("PSU_AGENT_FOLDER=./config # of bench 3\r\n", "/config/psu-agent.yaml is missing"),
        ("\ufeffexport PSU_AGENT_FOLDER = './open' # of bench 3\r\n", ""),
        # All of the project, and what is kept in secrets/ with it: it is not opened up, and not the agent's to read.
        ("PSU_AGENT_FOLDER=.\n", "PSU_AGENT_FOLDER=. has secrets/ in it"),
        ("PSU_AGENT_FOLDER=..\n", "PSU_AGENT_FOLDER=.. has secrets/ in it"),
        ("PSU_AGENT_FOLDER=./secrets\n", "PSU_AGENT_FOLDER=./secrets has secrets/ in it"),
        ("PSU_AGENT_FOLDER=./closed\n", "may not read "),
        ("PSU_AGENT_FOLDER=./open\nPSU_AGENT_CONF=./psu-agent.yaml\n", ""),
        ("# PSU_AGENT_CONF=./psu-agent.yaml\n", ""),
        ("", ""),
    ],
)
def test_the_folder_of_the_agents_configuration(root: Path, env: str, told: str) -> None:
    for name, mode in (("closed", 0o600), ("open", 0o644)):
        (root / name).mkdir()
        (root / name / "psu-agent.yaml").write_text("units: []\n")
        (root / name / "psu-agent.yaml").chmod(mode)
    (root / ".env").write_text(env)
    done = mounts(root)
    assert done.returncode == (2 if told else 0)
    assert told in done.stderr
    assert done.stderr.count("\n") == bool(told)
    # It may hold a password, so nobody opens it but its owner.
    assert stat.S_IMODE(os.stat(root / "closed" / "psu-agent.yaml").st_mode) == 0o600


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (
            "PSU_RETENTIN=90d\n",
            "PSU_RETENTIN is unknown; known are PSU_AGENT_FOLDER, PSU_AGENT_VERSION, PSU_BASE_TOPIC, ",
        ),
        ("PSU_RETENTION=90d\nPSU_BIND=0.0.0.0\nHTTP_PORT=80\n", ""),
        ("PSU_RACK=7\nCOMPOSE_FILE=compose.yaml:more.yaml\n", ""),
        ("PSU_BASE_TOPIC=lab3/psu\n", "PSU_BASE_TOPIC is 'lab3/psu', and base_topic in mosquitto/users.toml 'psu': "),
        ("PSU_BASE_TOPIC=psu\n", ""),
        # Compose replaces `$share` outside of single quotes, and Telegraf would listen to /telegraf/psu/...
        ("PSU_SHARE=$share/telegraf/\n", "PSU_SHARE is '/telegraf/' for Telegraf"),
        ("PSU_SHARE='$share/telegraf'\n", "PSU_SHARE is '$share/telegraf' for Telegraf"),
        ("PSU_SHARE='$share/telegraf/'\n", ""),
        ("LAB=open\nPSU_AGENT_FOLDER=./${LAB}\n", ""),
        ("LAB=open\nPSU_AGENT_FOLDER='./${LAB}'\n", "${LAB}/psu-agent.yaml is missing"),
    ],
)
def test_settings_by_which_the_stack_would_do_something_else(root: Path, env: str, told: str) -> None:
    (root / "open").mkdir()
    (root / "open" / "psu-agent.yaml").write_text("units: []\n")
    (root / ".env").write_text(env)
    done = mounts(root)
    assert (done.returncode, told in done.stderr, done.stderr.count("\n")) == (2 if told else 0, True, bool(told)), done


def test_a_base_topic_of_several_sites(root: Path) -> None:
    users = root / "mosquitto" / "users.toml"
    users.write_text("\ufeff" + users.read_text().replace('base_topic = "psu"', 'base_topic = "+/psu"', 1), "utf-8")
    for topic, code in (("site1/psu", 0), ("+/psu", 0), ("psu", 2), ("a/b/psu", 2)):
        (root / ".env").write_text(f"PSU_BASE_TOPIC={topic}\n")
        assert mounts(root).returncode == code, topic

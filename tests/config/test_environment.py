"""Hosts and users that lack what most have: a home directory, a name, a host name of plain letters."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent import config
from agent.config import settings
from tests.config.samples import read, unit
from tests.support.processes import ROOT

#: A user's number that no system gives away.
NOBODY_YET = 54321


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "getuid", lambda: NOBODY_YET)


@pytest.fixture
def system_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)


@pytest.mark.usefixtures("homeless", "system_is_closed")
@pytest.mark.parametrize("home", [None, "/", "", "relative"])
def test_a_user_without_a_home_directory_gets_a_place_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    if home is not None:
        monkeypatch.setenv("HOME", home)
    found = read(unit())
    assert found.settings.state_dir == Path(tempfile.gettempdir()) / f"psu-agent-{NOBODY_YET}"
    (warning,) = [str(warning) for warning in found.warnings]
    assert "state_dir is missing, and this user has no home directory" in warning
    assert str(found.settings.state_dir) in warning


@pytest.mark.usefixtures("homeless", "system_is_closed")
def test_a_folder_of_somebody_else_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"psu-agent-{NOBODY_YET}").mkdir()  # this process's own, whose number is another one
    assert read(unit()).settings.state_dir == Path("/var/lib/psu-agent")


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("name", ["STATE_DIRECTORY", "XDG_STATE_HOME"])
def test_a_place_that_is_given_needs_no_home(monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
    monkeypatch.setenv(name, str(tmp_path))
    found = read(unit())
    assert tmp_path in (found.settings.state_dir, found.settings.state_dir.parent)
    assert found.warnings == ()
    assert read(unit() + f"settings: {{state_dir: {tmp_path}}}").warnings == ()


def test_the_home_directory_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    found = read(unit())
    assert found.settings.state_dir == Path("/home/somebody/.local/state/psu-agent")
    assert found.warnings == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user that does not exist")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed (Debian, Ubuntu: util-linux)")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_program_as_a_user_that_does_not_exist(encoding: str) -> None:
    """As `docker run --user 54321` starts it: no entry in passwd, and no HOME."""
    # It may read what root may, as the interpreter may lie in root's own home.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    become = ["setpriv", f"--reuid={NOBODY_YET}", f"--regid={NOBODY_YET}", "--clear-groups", *reading]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "psu-agent.yaml"
        file.write_text(unit())
        result = subprocess.run(
            [*become, sys.executable, "-m", "agent.cli", "check", str(file)],
            capture_output=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
            stdin=subprocess.DEVNULL,
        )
    assert result.returncode == 0, result.stderr
    assert b"state_dir is missing" in result.stderr
    assert b"no fault" in result.stdout


@pytest.mark.parametrize(
    ("host", "agent"),
    [
        ("bench3.lab.example", "bench3"),
        ("", "agent"),
        ("...", "agent"),
        ("\udcff\udcfe", "agent"),
        ("größe", "gr-e"),
        ("a b/c+#", "a-b-c"),
        ("x" * 300, "x" * 64),
    ],
)
def test_host_names_of_any_shape(monkeypatch: pytest.MonkeyPatch, host: str, agent: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert read(unit()).settings.agent == agent
    assert settings.Settings().agent == agent


def test_timeouts_of_minutes_get_a_warning() -> None:
    text = unit(pyvisa_args="{timeout: 120000, open_timeout: 30001}")
    warnings = [str(warning) for warning in read(text).warnings]
    assert len(warnings) == 2
    assert "units[0].pyvisa_args.timeout: commands to this unit, off included, wait for up to 120 s" in warnings[0]
    assert read(unit(pyvisa_args="{timeout: 30000, open_timeout: 30000}")).warnings == ()
    external = "units: [{name: a, model: external, commands: {get_channels: [x], timeout: %s}}]"
    assert "wait for up to 45 s" in str(read(external % 45).warnings[0])
    assert read(external % 30).warnings == ()
    assert config.from_data({"units": [{"name": "a", "model": "E36313A", "uri": "TCPIP::a::INSTR"}]}).warnings == ()

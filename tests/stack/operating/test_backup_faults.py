"""`make backup` and `make restore` where something is in the way: names, folders, settings, other runs, an impatient user."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from scripts.archive import content, versions
from scripts.common import locked
from tests.support.compose import checkout
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .host import PARTS, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A project that `make` can be run in, with secrets and volumes, and nothing that runs."""
    host = Host(tmp_path / "host")
    checkout(host.root, PARTS)
    (host.root / "secrets" / "influxdb").mkdir(parents=True)
    (host.root / "secrets" / "influxdb" / "admin_password").write_text("mine")
    for name in ("agent", "influxdb", "grafana"):
        (host.volumes / name / "file").write_text(name)
    host.configure()
    (host.folder / "running").unlink()
    return host


def test_names_with_blanks_and_folders(host: Host) -> None:
    (host.folder / "my nas").mkdir()
    assert host.shell("make backup TO='../my nas/the $$1 backup.tar'").returncode == 0
    done = host.shell("make backup TO='../my nas'")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (host.folder / "my nas").iterdir())
    assert (names[0][:4], names[1]) == ("psu-", "the $1 backup.tar")
    done = host.shell("make restore FROM='../my nas/the $$1 backup.tar' OVERWRITE=yes")
    assert done.returncode == 0, done.stderr
    # A folder is no backup.
    done = host.shell("make restore FROM='../my nas' OVERWRITE=yes")
    assert "../my nas: Is a directory\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_given_to_make_is_no_command(host: Host) -> None:
    """A semicolon in the place of a comma: half of the agents would be made, and the shell complain of the others."""
    for command in ("secrets AGENTS='a:psu1;touch there'", "certs NAMES='a.lab;touch there'", "certs NAMES='a\" b'"):
        done = host.shell(f"make {command}")
        assert done.returncode == 2, done.stdout
        assert "sh:" not in done.stderr
    assert not (host.root / "there").exists()


def test_a_place_that_cannot_be_written(host: Host) -> None:
    (host.folder / "file").write_text("")
    for to in ("/proc/nowhere/psu.tar", host.folder / "file" / "psu.tar"):
        done = host.backup("save", to)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_a_full_disk(host: Host) -> None:
    """The shell's limit on the size of files stands for it."""
    done = host.shell("ulimit -f 8; trap '' XFSZ; python3 scripts/backup.py save ../psu.tar")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(host.folder.glob("psu.tar*")) == []


def test_one_at_a_time(host: Host) -> None:
    with locked(host.root):
        for command in ("make backup", "make restore FROM=x.tar", "make secrets", "make rotate NAME=agent"):
            done = host.shell(command)
            assert done.returncode != 0
            assert done.stderr.startswith("Another make secrets, rotate, backup or restore is at work here"), command
    assert host.shell("make backup").returncode == 0


@pytest.mark.timeout(20)
def test_the_projects_folder_is_not_the_agents(host: Host) -> None:
    """All of it would go into the backup, and the backup into itself."""
    (host.root / ".env").write_text("PSU_AGENT_FOLDER=.\n")
    done = host.backup("save")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("PSU_AGENT_FOLDER=. has secrets/ in it")


def archive(path: Path, end: object) -> Path:
    with tarfile.open(path, "w") as tar:
        text = json.dumps(end).encode()
        member = tarfile.TarInfo("backup.json")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return path


@pytest.mark.parametrize("end", [[1], {}, {"volumes": []}, {"files": [], "volumes": ["influxdb"]}])
def test_a_file_of_another_kind(host: Host, end: object) -> None:
    done = host.backup("restore", archive(host.folder / "x.tar", end), "--overwrite")
    assert (done.returncode, done.stderr.count("\n"), host.calls()) == (2, 1, [])
    assert "is not whole" in done.stderr


def test_a_backup_of_a_newer_version_is_refused_and_of_an_older_one_taken(host: Host) -> None:
    shutil.copy(ROOT / "compose.yaml", host.root)
    here = versions(ROOT)
    assert set(here) == {"influxdb", "grafana"}
    major, minor = (int(number) for number in here["influxdb"].split(".")[:2])
    for version, is_newer in (
        (f"{major}.{minor + 1}.0", True),
        (f"{major}.{minor}.99", False),
        (f"{major}.0.0", False),
    ):
        end = {"files": [], "volumes": [], "images": here | {"influxdb": version}}
        done = host.backup("restore", archive(host.folder / "x.tar", end), "--overwrite")
        assert (f"The backup is of influxdb {version}, and this version of" in done.stderr) == is_newer
        assert (host.calls() == []) == is_newer
    assert host.backup("save", host.folder / "psu.tar").returncode == 0
    assert content(host.folder / "psu.tar")["images"] == here


def test_volumes_that_cannot_be_looked_at_are_not_called_full(host: Host) -> None:
    new = Host(host.folder / "new")
    done = new.backup("restore", archive(host.folder / "x.tar", {"files": [], "volumes": []}), failing="empty")
    assert (done.returncode, done.stderr) == (2, "The volumes could not be looked at: see above\n")


def test_a_restore_that_is_stopped_says_what_to_do(host: Host) -> None:
    assert host.backup("save", host.folder / "psu.tar").returncode == 0
    (host.root / "backups").write_text("in the way of what is put aside")
    done = host.backup("restore", host.folder / "psu.tar", "--overwrite")
    again = "Services stand still, and it is not all back: run this again, with OVERWRITE=yes\n"
    assert done.returncode == 1
    assert done.stderr.endswith(again)
    assert done.stderr.count("\n") == 1
    (host.root / "backups").unlink()

    compose = host.compose.read_text()
    slow = f'case "$*" in *"backup restore "*) : >"{host.folder}/there"; exec sleep 60 ;; esac\n'
    host.compose.write_text(compose.replace("ask()", slow + "ask()", 1))
    process = host.start("restore", host.folder / "psu.tar", "--overwrite")
    wait_until((host.folder / "there").exists, "the volumes are to be restored")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert (process.returncode, told) == (1, f"Interrupted. {again}")
    host.compose.write_text(compose)
    done = host.backup("restore", host.folder / "psu.tar", "--overwrite")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("save", "up -d --no-deps --no-recreate grafana"),
        ("restore --overwrite", "stop"),
        ("restore --overwrite", "up -d"),
    ],
)
def test_ctrl_c_leaves_no_service_that_stands_still(host: Host, words: str, step: str) -> None:
    """Pressed while services are stopped, or started again: all that belongs to the terminal gets the signal."""
    assert host.backup("save", host.folder / "psu.tar").returncode == 0
    (host.folder / "running").write_text("agent\ngrafana\n")
    compose = host.compose.read_text()
    wait = 'while [ ! -e "$HOST/go" ]; do sleep 0.02; done'
    slow = f'if [ "$*" = "{step}" ]; then : >"$HOST/there"; {wait}; : >"$HOST/done"; fi\n'
    host.compose.write_text(compose.replace("case", slow + "case", 1))
    file = host.folder / ("psu.tar" if "restore" in words else "new.tar")
    process = host.start(words.split()[0], file, *words.split()[1:])

    def is_there() -> bool:
        host.serve()
        return (host.folder / "there").exists()

    wait_until(is_there, "the step is under way")
    os.killpg(process.pid, signal.SIGINT)
    (host.folder / "go").touch()
    done = host.wait(process)
    if host.store.runs:
        host.store.stop()
    assert done.returncode != 0 or step == "up -d"
    assert "Interrupted" in done.stderr
    assert (host.folder / "done").exists(), "it was left halfway"
    (go_on,) = [call for call in host.calls() if call.startswith("up -d")]
    expected = {"stop": "up -d --no-deps --no-recreate agent grafana", "up -d": step}
    assert go_on == expected.get(step, "up -d --no-deps --no-recreate grafana")
    assert "stand still" not in done.stderr
    # What was not begun is not begun now.
    assert not [call for call in host.calls() if "agent" in call and step != "stop"]
    assert not (host.folder / "new.tar").exists()


@pytest.mark.parametrize("words", ["save", "restore --overwrite"])
def test_services_are_started_again_where_nobody_reads_any_more(host: Host, words: str) -> None:
    """The line to the terminal broke, or what it was piped into has ended, while the services stand still."""
    assert host.backup("save", host.folder / "psu.tar").returncode == 0
    (host.folder / "running").write_text("agent\ngrafana\n")
    compose = host.compose.read_text()
    slow = 'case "$1" in stop) : >"$HOST/there"; while [ ! -e "$HOST/go" ]; do sleep 0.02; done ;; esac\n'
    host.compose.write_text(compose.replace("case", slow + "case", 1))
    file = host.folder / ("psu.tar" if "restore" in words else "new.tar")
    process = host.start(words.split()[0], file, *words.split()[1:])
    wait_until((host.folder / "there").exists, "services are stopped")
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    (host.folder / "go").touch()
    while process.poll() is None:
        host.serve()
    if host.store.runs:
        host.store.stop()
    ups = [call for call in host.calls() if call.startswith("up -d")]
    still = "up -d --no-deps --no-recreate"
    assert ups == (["up -d"] if "restore" in words else [f"{still} grafana", f"{still} agent"])
    assert (host.folder / "new.tar").exists() == (words == "save")


def test_a_command_that_cannot_be_read(host: Host) -> None:
    environment = {"PATH": os.environ["PATH"], "COMPOSE": "podman 'compose"}
    script = ROOT / "scripts" / "backup.py"
    done = subprocess.run(
        ["python3", script, "save", "--root", host.root], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "COMPOSE=podman 'compose: No closing quotation\n")

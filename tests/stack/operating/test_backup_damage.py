"""Backups that are damaged on their way, and restores that are killed: found before anything of the installation is touched."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from scripts.archive import content
from scripts.common import Fault
from tests.support.frozen import FrozenDisk, NoFrozenDiskError
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

from .host import Host

VOLUMES = ("agent", "grafana", "influxdb", "influxdb-setup", "tokens")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Its volumes have files, and its services run, but only by what compose says."""
    host = Host(tmp_path_factory.mktemp("host"))
    (host.root / "secrets").mkdir()
    (host.root / "secrets" / "password").write_text("a-password")
    host.configure()
    for name in VOLUMES:
        (host.volumes / name / "file").write_text(f"{name} of the backup")
        (host.volumes / name / "folder").mkdir()
        (host.volumes / name / "folder" / "file").write_text(name)
    host.compose.write_text(re.sub("ask (stopped|started)", ":", host.compose.read_text()))
    return host


@pytest.fixture(scope="module")
def archive(host: Host) -> Path:
    done = host.backup("save", host.folder / "psu.tar")
    assert done.returncode == 0, done.stderr
    return host.folder / "psu.tar"


def flipped(text: bytes, at: int) -> bytes:
    return text[:at] + bytes([text[at] ^ 0x04]) + text[at + 1 :]


def damaged(text: bytes) -> Iterator[tuple[str, bytes]]:
    """What a disk, a share or a copy that was stopped may make of a file."""
    for what in (
        *(b"a-password", b"agent of the backup", b"influxdb of the backup"),  # what files hold
        *(b"files/secrets/password\0", b"volumes/tokens/file\0"),  # and their names
        *(b'"files"', b'"volumes"', b'"sha256"', b'"images"', b"Z"),  # and what the end says
    ):
        place = text.rindex(what)
        yield f"a bit of {what!r}", flipped(text, place + 1 if len(what) > 1 else place)
    size = len(text)
    for kept in (0, 511, 512, size // 2, size // 2 // 512 * 512, size - 10_240, size - 512, size - 1):
        yield f"{kept} of {size} bytes", text[:kept]
    yield "a block is lost", text[:10_240] + text[20_480:]
    yield "a block is of zeros, as after a loss of power", text[:10_240] + bytes(10_240) + text[20_480:]
    yield "something behind it", text + b"x"


def test_damage_is_found_before_anything_is_touched(host: Host, archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tar"
    for what, text in damaged(archive.read_bytes()):
        copy.write_bytes(text)
        with pytest.raises(Fault, match=r"^\S+ is (not whole|damaged|no backup)[^\n]*$") as caught:
            content(copy)
        assert str(copy) in str(caught.value), what
    copy.write_bytes(flipped(archive.read_bytes(), archive.read_bytes().index(b"influxdb of the backup")))
    for options in ([], ["--overwrite"]):
        done = host.backup("restore", copy, *options)
        assert (done.returncode, host.calls()) == (2, [])
        assert done.stderr == f"{copy} is damaged: what is in it is not what was written. Take another backup\n"


def test_one_of_before_there_were_checksums_is_taken_and_it_is_said(archive: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.tar"
    with tarfile.open(archive, ignore_zeros=True) as tar:
        (end,) = (member for member in tar if member.name == "backup.json")
        file = tar.extractfile(end)
        assert file is not None
        text = json.dumps({key: value for key, value in json.load(file).items() if key != "sha256"}).encode()
    member, tail = tarfile.TarInfo("backup.json"), io.BytesIO()
    member.size = len(text)
    with tarfile.open(fileobj=tail, mode="w") as tar:
        tar.addfile(member, io.BytesIO(text))
    old.write_bytes(archive.read_bytes()[: end.offset] + tail.getvalue())
    other = Host(tmp_path / "other")
    done = other.backup("restore", old)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{old} has no checksum, as it was made before there were any")
    assert (other.volumes / "influxdb" / "file").read_text() == "influxdb of the backup"


# -- while it is written -----------------------------------------------------------------------------------------------


@pytest.fixture
def spoiled(host: Host) -> Iterator[Host]:
    """The host, whose stand-in for compose may be changed."""
    text = host.compose.read_text()
    yield host
    host.compose.write_text(text)


def before(host: Host, pattern: str, what: str) -> None:
    """Have the stand-in for compose do something else first when it is asked for this."""
    text = host.compose.read_text()
    host.compose.write_text(text.replace('case "$*" in', f'case "$*" in {pattern}) {what} ;; esac\ncase "$*" in', 1))


def assert_goes_on(host: Host, files: set[str]) -> None:
    """What ran, runs, and nothing is left of the backup."""
    for service in ("agent", "grafana", "influxdb"):
        calls = [call for call in host.calls() if service in call.split() and call.startswith(("stop", "up"))]
        assert not calls or calls[-1].startswith("up -d --no-deps --no-recreate"), service
    assert {path.name for path in host.folder.glob("*.tar*")} == files


def test_what_was_written_is_read_again(spoiled: Host, archive: Path) -> None:
    """A disk, or a share, that gives something else than what was written."""
    part = spoiled.folder / "new.tar.part"
    before(spoiled, '"stop agent"', f"printf x | dd of={part} bs=1 seek=20000 conv=notrunc status=none")
    done = spoiled.backup("save", spoiled.folder / "new.tar")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{part} is damaged" in done.stderr
    assert_goes_on(spoiled, {"psu.tar"})


@pytest.mark.parametrize("kept", [10_303, 0])
def test_an_engine_that_loses_a_part_of_the_output(spoiled: Host, archive: Path, kept: int) -> None:
    run = f'VOLUMES="$HOST/volumes" "$PYTHON" -S -B "$PROJECT/backup/volumes.py" "${{@:5}}" | head -c {kept}; exit 0'
    before(spoiled, '"run --rm -T backup save agent"', run)
    done = spoiled.backup("save", spoiled.folder / "new.tar")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "The volumes could not be copied: what came from the container is not whole. Try again"
    )
    assert_goes_on(spoiled, {"psu.tar"})


def test_a_share_that_vanishes_halfway(spoiled: Host, archive: Path, tmp_path: Path) -> None:
    """A disk of which the kernel refuses everything from then on."""
    try:
        disk = FrozenDisk(tmp_path)
    except NoFrozenDiskError as why:
        pytest.skip(str(why))
    try:
        # EXT4_IOC_SHUTDOWN, without a last write of the journal.
        vanish = (
            f"import fcntl, os; fcntl.ioctl(os.open({str(disk.path)!r}, os.O_RDONLY), 0x8004587D, bytes([2, 0, 0, 0]))"
        )
        before(spoiled, '"stop agent"', f'"$PYTHON" -c "{vanish}"')
        done = spoiled.backup("save", disk.path / "psu.tar")
    finally:
        disk.close()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Input/output error" in done.stderr
    assert_goes_on(spoiled, {"psu.tar"})


def test_it_may_be_stopped_while_a_volume_is_copied(spoiled: Host, archive: Path) -> None:
    """What copies it is ended, too: it would keep the volumes for itself."""
    before(spoiled, '"run --rm -T backup save agent"', f'echo $$ >"{spoiled.folder}/there"; exec sleep 60')
    process = spoiled.start("save", spoiled.folder / "new.tar")
    there = spoiled.folder / "there"
    wait_until(lambda: there.exists() and there.read_text().endswith("\n"), "a volume is copied")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=50)
    assert (process.returncode, told) == (1, "Interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(there.read_text()), 0)
    there.unlink()
    assert_goes_on(spoiled, {"psu.tar"})


# -- while it is put back ----------------------------------------------------------------------------------------------


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """backup/volumes.py over volumes that hold something else than the archive."""
    folder = tmp_path / "volumes"
    for name in VOLUMES:
        (folder / name / "mine").mkdir(parents=True)
        (folder / name / "file").write_text("present")
    monkeypatch.setenv("VOLUMES", str(folder))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # which takes its time, and changes nothing here
    spec = importlib.util.spec_from_file_location("volumes", ROOT / "backup" / "volumes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_back(volumes: ModuleType, text: bytes, expected: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    code: int = volumes.main(["restore", expected])
    return code


def state(volumes: ModuleType) -> dict[str, str]:
    found = volumes.VOLUMES.rglob("*")
    return {
        str(path.relative_to(volumes.VOLUMES)): path.read_text(errors="replace") if path.is_file() else ""
        for path in found
    }


def test_what_does_not_come_in_whole_leaves_the_volumes_as_they_are(
    archive: Path, volumes: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when the connection to the container ends: GNU tar takes an end between two files for the archive's."""
    before, text = state(volumes), archive.read_bytes()
    expected = hashlib.sha256(text).hexdigest()
    with tarfile.open(archive, ignore_zeros=True) as tar:
        ends = [member.offset for member in tar]
    for end in [0, *ends[1::4], len(text) // 2 + 7, len(text) - 512]:
        assert put_back(volumes, text[:end], expected, monkeypatch) == 1
        assert "The volumes are as they were: " in capsys.readouterr().err
        assert state(volumes) == before


def test_it_may_be_killed_anywhere(
    archive: Path, volumes: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The volumes are as before, or as in the backup, or no store is started and no backup made of them; a second run ends it."""
    text = archive.read_bytes()
    expected = hashlib.sha256(text).hexdigest()
    before = state(volumes)

    class Killed(BaseException):
        """Nobody catches it."""

    def kill_at(number: int, patch: pytest.MonkeyPatch) -> None:
        count = itertools.count()
        for owner, name in ((Path, "rename"), (Path, "mkdir"), (Path, "rmdir"), (shutil, "rmtree")):
            real = getattr(owner, name)

            def counted(*args: object, _real: object = real, **more: object) -> object:
                if next(count) == number:
                    raise Killed
                return _real(*args, **more)  # type: ignore[operator]

            patch.setattr(owner, name, counted)

    begun = halfway = 0
    for number in itertools.count(0, 5):
        shutil.rmtree(volumes.VOLUMES)
        for path, held in before.items():
            target = volumes.VOLUMES / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(held) if held else target.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(number, patch)
            try:
                code = put_back(volumes, text, expected, monkeypatch)
            except Killed:
                code = None
        if code == 0:
            break
        assert code is None
        begun += 1
        kept = {path: held for path, held in state(volumes).items() if "/.restoring" not in path}
        if any(volumes.VOLUMES.glob("*/.replaced")):
            halfway += 1
            assert volumes.main(["empty"]) == 3
            assert volumes.main(["save", "agent"]) == 1
            assert "make restore was stopped halfway" in capfd.readouterr().err
        else:
            assert kept == before or kept["influxdb/file"] == "influxdb of the backup"
        assert put_back(volumes, text, expected, monkeypatch) == 0
        assert state(volumes)["influxdb/file"] == "influxdb of the backup"
        assert not [path for path in state(volumes) if "mine" in path or "/." in path]
    assert begun > 6
    assert halfway > 3


def test_one_at_a_time(
    archive: Path, volumes: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A container goes on when the one who asked for it was killed."""
    text, present = archive.read_bytes(), state(volumes)
    expected = hashlib.sha256(text).hexdigest()
    other = os.open(volumes.VOLUMES / "tokens", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert put_back(volumes, text, expected, monkeypatch) == volumes.main(["save", "agent"]) == 1
    assert capfd.readouterr().err.count("Another backup or restore is at work in the volumes: wait") == 2
    assert state(volumes) == present
    os.close(other)
    assert put_back(volumes, text, expected, monkeypatch) == 0


def test_a_store_is_not_started_from_half_a_restore(tmp_path: Path) -> None:
    (tmp_path / ".replaced").mkdir()
    environment = os.environ | {"INFLUXD_ENGINE_PATH": str(tmp_path / "engine")}
    command: list[str | Path] = ["bash", ROOT / "influxdb" / "start.sh", "echo", "started"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "make restore" in done.stderr
    (tmp_path / ".replaced").rmdir()
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "started\n"


# -- other users -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_with_sudo_the_files_are_those_of_who_owns_the_project(archive: Path, tmp_path: Path) -> None:
    other = Host(tmp_path)
    os.chown(other.root, 4711, 4712)
    assert other.backup("restore", archive).returncode == 0
    for path in (other.root / "secrets", other.root / "secrets" / "password", other.root / "config" / "psu-agent.yaml"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_somebody_elses_files_are_told_before_anything_is_touched(host: Host, archive: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        shutil.copy(archive, folder / "psu.tar")
        (folder / "psu.tar").chmod(0o644)
        root = folder / "project"
        (root / "secrets").mkdir(parents=True)
        os.chown(root, 4711, 4712)
        # Checked as another user by the function alone: that user may not read this checkout.
        program = (
            f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path; from scripts import backup; from scripts.common import Fault\n"
            "os.setgroups([]); os.setegid(4712); os.seteuid(4711)\n"
            "class Compose: pass\n"
            "try: backup.restore(Compose(), Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)\n"
            "except Fault as fault: sys.exit(str(fault))\n"
        )
        command: list[str | Path] = [sys.executable, "-c", program, root, folder / "psu.tar"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert re.fullmatch(
            r"\S+/secrets belongs to user 0, and may not be written by this one: use sudo\n", done.stderr
        )
    finally:
        shutil.rmtree(folder)

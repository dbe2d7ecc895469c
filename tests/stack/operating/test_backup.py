"""`make backup` and `make restore` on the real InfluxDB, where plain folders stand for the volumes."""

from __future__ import annotations

import hashlib
import io
import signal
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from agent.local.ports import accepts
from scripts import backup
from scripts.archive import content
from scripts.common import Fault
from scripts.composing import Compose
from tests.support.waiting import wait_until

from .host import Host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    host.fill()
    yield host
    host.store.stop()


@pytest.fixture(scope="module")
def archive(host: Host) -> Path:
    host.write(1)
    done = host.backup("save")
    assert done.returncode == 0, done.stderr
    (path,) = (host.root / "backups").iterdir()
    assert f"{path}: " in done.stdout
    before, _, after = done.stdout.partition("nothing can be switched, off included\n")
    assert "stop agent" in after
    assert "stop agent" not in before
    # The store first; the agent only for its own, because nothing can be switched meanwhile. Mosquitto and Telegraf go on.
    assert host.calls() == [
        "stop grafana",
        "stop influxdb",
        "run --rm -T backup save influxdb influxdb-setup tokens grafana",
        "up -d --no-deps --no-recreate influxdb grafana",
        "stop agent",
        "run --rm -T backup save agent",
        "up -d --no-deps --no-recreate agent",
    ]
    host.write(2)
    return path


def test_it_is_one_file_for_its_owner_alone(archive: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.parent.stat().st_mode) == 0o700
    with tarfile.open(archive, ignore_zeros=True) as tar:
        names = tar.getnames()
    assert {name.split("/")[1] for name in names if name.startswith("files/")} == {
        "secrets",
        "mosquitto",
        ".env",
        "config",
    }
    assert {"volumes/influxdb/influxd.bolt", "volumes/agent/energy.json", "files/config/psu-agent.yaml"} <= set(names)


def test_onto_a_stack_that_runs(host: Host, archive: Path) -> None:
    """It refuses, unless it is told; then the store is as it was, and what was there is put aside."""
    host.setup_service.password = "changed-since"
    assert host.setup_service.setup().returncode == 0
    refused = host.backup("restore", archive)
    assert refused.returncode == 2
    assert refused.stderr.endswith("there already. OVERWRITE=yes replaces them, and what the services keep\n")
    assert host.calls() == []
    assert host.values() == [1, 2]

    done = host.backup("restore", archive, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "nothing can be switched, off included" in done.stdout.partition(" stop\n")[0]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert host.calls() == ["stop", f"run --rm -T backup restore {digest}", "up -d"]
    assert host.values() == [1]
    assert host.setup_service.setup().returncode == 0
    assert not list(host.volumes.glob("*/.restoring"))
    (aside,) = (host.root / "backups").glob("replaced-*")
    assert (aside / "secrets" / "influxdb" / "admin_password").read_text() == "changed-since"
    host.write(2)


def test_volumes_that_hold_something_are_not_replaced_unasked(archive: Path, tmp_path: Path) -> None:
    other = Host(tmp_path)
    (other.volumes / "grafana" / "grafana.db").write_text("mine")
    done = other.backup("restore", archive)
    assert (done.returncode, done.stderr) == (
        2,
        "The volumes are not empty. OVERWRITE=yes replaces what the services keep\n",
    )
    assert (other.volumes / "grafana" / "grafana.db").read_text() == "mine"
    assert not (other.root / "secrets").exists()


def test_a_file_that_is_not_whole_is_refused_before_anything_is_touched(
    host: Host, archive: Path, tmp_path: Path
) -> None:
    text = archive.read_bytes()
    cut = tmp_path / "cut.tar"
    for kept in (0, 512, len(text) // 3, len(text) - 10_240, len(text) - 10_752):
        cut.write_bytes(text[:kept])
        with pytest.raises(Fault, match=r"not whole|damaged"):
            content(cut)
    done = host.backup("restore", cut, "--overwrite")
    assert (done.returncode, done.stderr.count("\n"), host.calls()) == (2, 1, [])
    assert "No such file" in host.backup("restore", tmp_path / "none.tar").stderr
    assert host.backup("restore").stderr == "Which backup? make restore FROM=backups/psu-….tar\n"


@pytest.mark.parametrize("failing", ["save", "restore"])
def test_what_fails_leaves_everything_as_it_was_and_running(
    host: Host, archive: Path, tmp_path: Path, failing: str
) -> None:
    before = sorted((host.root / "backups").iterdir())
    if failing == "save":
        done = host.backup("save", tmp_path / "new.tar", failing="save")
        assert host.calls()[-1] == "up -d --no-deps --no-recreate influxdb grafana"
        assert list(tmp_path.iterdir()) == []
    else:
        done = host.backup("restore", archive, "--overwrite", failing="restore")
        assert host.calls()[-1] == "up -d --no-deps --no-recreate agent grafana influxdb mosquitto telegraf"
    assert done.returncode != 0
    assert host.values() == [1, 2]
    assert sorted((host.root / "backups").iterdir()) == before


def test_a_backup_that_is_there_is_not_written_over(host: Host, archive: Path) -> None:
    done = host.backup("save", archive)
    assert (done.returncode, done.stderr) == (2, f"{archive} is there already: give another name, TO=FILE\n")


def test_of_a_stack_that_stands_still_and_with_links(tmp_path: Path) -> None:
    other = Host(tmp_path)
    (tmp_path / "live.crt").write_text("certificate")
    (other.root / "secrets").mkdir()
    (other.root / "secrets" / "server.crt").symlink_to(tmp_path / "live.crt")
    for name in ("agent", "influxdb", "grafana"):
        (other.volumes / name / "file").write_text(name)
    done = other.backup("save", tmp_path / "new" / "psu.tar")
    assert done.returncode == 0, done.stderr
    assert [call.split()[0] for call in other.calls()] == ["run", "run"]
    (tmp_path / "live.crt").unlink()
    again = other.backup("restore", tmp_path / "new" / "psu.tar", "--overwrite")
    assert again.returncode == 0, again.stderr
    assert (other.root / "secrets" / "server.crt").read_text() == "certificate"
    # A link that leads nowhere is named, and leaves no file behind.
    (other.root / "secrets" / "lost.crt").symlink_to(tmp_path / "live.crt")
    done = other.backup("save", tmp_path / "new" / "again.tar")
    assert (done.returncode, done.stderr) == (2, f"{other.root}/secrets/lost.crt: No such file or directory\n")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["psu.tar"]


def test_services_go_on_also_when_it_is_ended(host: Host, tmp_path: Path) -> None:
    process = host.start("save", tmp_path / "new.tar")
    wait_until((host.folder / "stopped").exists, "the store is to stand still")
    process.send_signal(signal.SIGTERM)
    while process.poll() is None:
        host.serve()
    process.communicate()
    assert process.returncode == 1
    assert host.calls()[-1] == "up -d --no-deps --no-recreate influxdb grafana"
    assert list(tmp_path.iterdir()) == []
    assert accepts(host.store.port)


def test_the_agent_waits_for_no_share_that_the_archive_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it stands still nothing is written into the archive: there a write can take any time."""
    to = tmp_path / "psu.tar"
    sizes: dict[str, int] = {}

    class Noting(Compose):
        def running(self) -> set[str]:
            return {"agent"}

        def run(self, words: str, stdin: IO[bytes] | None = None) -> int:
            sizes[words] = to.with_name("psu.tar.part").stat().st_size
            return 0

        def read(self, words: str, take: Callable[[IO[bytes]], None]) -> int:
            output = io.BytesIO()
            with tarfile.open(fileobj=output, mode="w") as tar:
                for volume in words.split()[5:]:
                    tar.addfile(tarfile.TarInfo(f"volumes/{volume}/file"))
            output.write(hashlib.sha256(output.getvalue()).hexdigest().encode())
            output.seek(0)
            take(output)
            return 0

        insist = run

    monkeypatch.delenv("PSU_AGENT_FOLDER", raising=False)
    (tmp_path / "secrets").mkdir()
    backup.save(Noting(), tmp_path, to)
    assert sizes["stop agent"] == sizes["up -d --no-deps --no-recreate agent"] > 0
    with tarfile.open(to, ignore_zeros=True) as tar:
        assert "volumes/agent/file" in tar.getnames()
    assert {path.name for path in tmp_path.iterdir()} == {"psu.tar", "secrets"}

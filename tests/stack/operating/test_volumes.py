"""backup/volumes.py with real tar: what a volume may have in it comes back as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT


def volumes(folder: Path, *words: str, given: bytes = b"") -> bytes:
    """A run of the program on the volumes in a folder, and what it wrote to its standard output."""
    command = [sys.executable, str(ROOT / "backup" / "volumes.py"), *words]
    environment = os.environ | {"VOLUMES": str(folder)}
    return subprocess.run(command, input=given, env=environment, stdout=subprocess.PIPE, check=True).stdout


def test_links_and_odd_names_come_back_as_they_were(tmp_path: Path) -> None:
    """A plugin of Grafana's has symbolic links in it. Where they led elsewhere after a restore, nothing told of it."""
    before, after = tmp_path / "before", tmp_path / "after"
    plugin = before / "grafana" / "plugins" / "p"
    (plugin / "volumes" / "x").mkdir(parents=True)
    (plugin / "real").write_text("real")
    odd = plugin / "an odd\\name\n"
    odd.write_text("odd")
    targets = ("./real", "p/real", "../p", "volumes/x", "/etc/hostname")
    for number, target in enumerate(targets):
        (plugin / f"link{number}").symlink_to(target)
    (plugin / "hard").hardlink_to(plugin / "real")
    (after / "grafana").mkdir(parents=True)
    saved = volumes(before, "save", "grafana")
    archive, digest = saved[:-64], saved[-64:].decode()
    volumes(after, "restore", digest, given=archive)
    back = after / "grafana" / "plugins" / "p"
    assert [os.readlink(back / f"link{number}") for number in range(len(targets))] == list(targets)
    assert (back / odd.name).read_text() == "odd"
    assert (back / "hard").samefile(back / "real")


def test_ctrl_c_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "influxdb").mkdir()
    (tmp_path / "influxdb" / "large").write_bytes(bytes(1_000_000))
    command = [sys.executable, str(ROOT / "backup" / "volumes.py"), "save", "influxdb"]
    environment = os.environ | {"VOLUMES": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate()
    assert (process.returncode, told) == (-signal.SIGINT, b"")

"""What runs in a tree changes nothing of this host's /dev."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.trees import missing, mounts

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="mounts take root"),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


def test_a_tree_has_devices_of_its_own(tmp_path: Path) -> None:
    for name in ("dev", "proc"):
        (tmp_path / name).mkdir()
    before = {path.name: path.lstat().st_mode for path in Path("/dev").iterdir()}
    use = (
        'cd "$0/dev"; echo x >null; head -c 2 zero urandom >/dev/null; echo x >shm/kept; ls ptmx pts/ptmx fd tty full; '
        "rm random; chmod 600 null; touch left"
    )
    command = f"{mounts(tmp_path)}; exec sh -ec {shlex.quote(use)} {shlex.quote(str(tmp_path))}"
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = {path.name: path.lstat().st_mode for path in Path("/dev").iterdir()}
    assert after == before
    assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == 0o666
    assert not any((tmp_path / "dev").iterdir())

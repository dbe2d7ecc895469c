"""A frozen disk makes its writers wait, a held pipe fills, and both go on afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.frozen import Drain, FrozenDisk, NoFrozenDiskError
from tests.support.waiting import wait_until


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fsfreeze")
def test_a_frozen_disk_takes_nothing_until_it_is_thawed(tmp_path: Path) -> None:
    try:
        disk = FrozenDisk(tmp_path)
    except NoFrozenDiskError as error:
        pytest.skip(str(error))
    with disk:
        disk.freeze()
        writer = subprocess.Popen(["sh", "-c", 'echo x > "$1"', "sh", disk.path / "file"])
        stat = Path(f"/proc/{writer.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "D", "the writer waits for the disk")
        disk.thaw()
        assert writer.wait(25) == 0
        assert (disk.path / "file").read_text() == "x\n"
    assert not os.path.ismount(disk.path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the size of a pipe is set")
def test_a_pipe_that_is_held_fills_and_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Drain(tmp_path, log) as drain:
        drain.hold()
        with drain.pipe.open("ab") as pipe:
            writer = subprocess.Popen(["seq", "5000"], stdout=pipe)
        wait_until(lambda: drain.unread > drain.size * 3 / 4, "the pipe is full")
        assert writer.poll() is None
        drain.release()
        assert writer.wait(25) == 0
    assert log.read_text().split() == [str(number) for number in range(1, 5001)]

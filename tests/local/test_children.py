from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.local import children

WAIT = [sys.executable, "-c", "import signal; print('there', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('there', flush=True); signal.pause()",
]


def started(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        process = children.start(command, log, pipe=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    return process


def test_end_asks_and_kills_who_does_not_listen(tmp_path: Path) -> None:
    process = started(WAIT, tmp_path)
    children.end(process)
    assert process.returncode == -15
    children.end(process)
    process = started(STUBBORN, tmp_path)
    children.end(process, timeout=0.1)
    assert process.returncode == -9


def test_output_input_folder_and_variables(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd(), os.environ['EXTRA'], sys.stdin.read()); print('e', file=sys.stderr)"
    with (tmp_path / "log").open("wb") as log:
        process = children.start(
            [sys.executable, "-c", program], log, pipe_in=True, folder=tmp_path, environment={"EXTRA": "x"}
        )
    assert process.stdin is not None
    process.stdin.write(b"said")
    process.stdin.close()
    process.wait()
    children.kill(process)
    assert (tmp_path / "log").read_text() in (f"{tmp_path} x said\ne\n", f"e\n{tmp_path} x said\n")


def test_without_a_pipe_there_is_no_input(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = children.start([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"], log)
    process.wait()
    assert (tmp_path / "log").read_text() == "''\n"

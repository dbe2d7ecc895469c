"""A shell at a terminal, in which somebody types and presses Tab."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.commandline import environment
from tests.support.waiting import wait_until

#: What each shell needs before it takes keys: the completion, and Ctrl-G, which writes the line that stands there into a file.
BEGIN = {
    "bash": """PS1=; bind 'set bell-style none'; eval "$(psu-agent completion bash)";"""
    """ bind -x '"\\C-g": printf %s "$READLINE_LINE" >"$LINE.new"; mv "$LINE.new" "$LINE"'""",
    "zsh": """PS1=; unsetopt beep promptsp; autoload -Uz compinit; compinit -u -D; eval "$(psu-agent completion zsh)";"""
    """ tell() { print -rn -- "$BUFFER" >$LINE.new; mv $LINE.new $LINE }; zle -N tell; bindkey '^G' tell;"""
    """ bindkey '^U' kill-whole-line""",
    "fish": """psu-agent completion fish | source; function fish_prompt; end; function fish_greeting; end;"""
    """ function tell; commandline -b >$LINE.new; mv $LINE.new $LINE; end; bind \\cg tell; bind \\cu kill-whole-line""",
}
COMMAND = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


class Shell:
    """One interactive shell with `psu-agent` on its path."""

    def __init__(self, name: str, folder: Path, **variables: str) -> None:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (Debian: apt install {name})")
        self.name = name
        self.folder = folder
        self._line = folder / "line"
        program = folder / "bin" / "psu-agent"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m agent.cli "$@"\n')
        program.chmod(0o755)
        self._variables = environment(
            PATH=f"{program.parent}:{os.environ['PATH']}",
            LINE=str(self._line),
            TERM="xterm",
            HOME=str(folder),
            **variables,
        )
        self._variables.pop("PYTHONUNBUFFERED")
        self.shown = b""

    def __enter__(self) -> Self:
        self._terminal, end = pty.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND[self.name]], stdin=end, stdout=end, stderr=end, env=self._variables,
            cwd=self._line.parent,
        )  # fmt: skip
        os.close(end)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        os.write(self._terminal, (BEGIN[self.name] + "\n").encode())
        assert self.line("") == ""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)
        self._reader.join()

    def line(self, typed: str, tabs: int = 1) -> str:
        """What the line is after somebody has typed something and pressed Tab."""
        self._line.unlink(missing_ok=True)
        os.write(self._terminal, b"\x15" + typed.encode() + (b"\t" * tabs if typed else b""))
        # fish does not wait for a key after another one; the line is asked for until it is there.
        os.write(self._terminal, b"\x07")
        wait_until(self._line.exists, f"the line; shown: {self.shown[-500:]!r}")
        return self._line.read_text().removesuffix("\n")

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while shown := os.read(self._terminal, 65536):
                self.shown += shown

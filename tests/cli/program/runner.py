"""Runs commands of psu-agent, each in a fork of this process: ```python -m tests.cli.program.runner FOLDER CONDITION…``.

A process of its own for each would read the same code again: half a second each. Prints a JSON object: by the conditions and the
commands the exit codes, what was printed, and what was told on stderr.
"""

from __future__ import annotations

import codecs
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from agent.cli import check, main, models, simulate, watch  # noqa: F401  # read once for all
from agent.client import connection, request  # noqa: F401
from agent.instruments import catalogue, factory  # noqa: F401
from agent.service import daemon  # noqa: F401
from tests.cli.program.cases import COMMANDS


def _closed(*numbers: int) -> None:
    for number in numbers:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)  # as Python does when it starts so


def _onto(path: str, *numbers: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    for number in numbers:
        os.dup2(descriptor, number)
    os.close(descriptor)


def _without_reader(*numbers: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for number in numbers:
        os.dup2(writer, number)
    os.close(writer)


def _nobody() -> None:
    os.environ.pop("HOME", None)
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        del os.environ[name]
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)


CONDITIONS: dict[str, Callable[[], object]] = {
    "plain": lambda: None,
    "full": lambda: _onto("/dev/full", 1),
    "all full": lambda: _onto("/dev/full", 1, 2),
    "stderr full": lambda: _onto("/dev/full", 2),
    "reader gone": lambda: _without_reader(1),
    "both readers gone": lambda: _without_reader(1, 2),
    "closed": lambda: _closed(1),
    "all closed": lambda: _closed(0, 1, 2),
    "no home": lambda: os.environ.pop("HOME", None),
    "nobody": _nobody,
    # These need more variables when the process starts: see `cases.ENVIRONMENT`.
    "C": lambda: None,
    "ascii": lambda: None,
}


def _run(name: str, condition: str, folder: Path) -> int:
    """In the child: the command's exit code."""
    for number, stream in ((1, "out"), (2, "err")):
        descriptor = os.open(folder / f"{name}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    CONDITIONS[condition]()
    sys.argv = ["psu-agent", *COMMANDS[name]]
    code = main.main()
    try:  # as Python does at its end, where it fails with 120; to take all of its own code down costs 0.2 s
        sys.stdout.flush()
    except OSError:
        code = 120
    return code


def _main(folder: Path, conditions: list[str]) -> None:
    catalogue.all_models()
    for name in ("utf-8-sig", "idna"):  # before a child becomes a user who may not read where this Python is
        codecs.lookup(name)
    gc.freeze()
    os.chdir(folder)
    os.environ["COLUMNS"] = "80"
    found: dict[str, dict[str, tuple[int, str, str]]] = {}
    for condition in conditions:
        found[condition] = {}
        for name in COMMANDS:
            child = os.fork()
            if not child:
                os._exit(_run(name, condition, folder))
            _, status = os.waitpid(child, 0)
            printed, told = [(folder / f"{name}.{stream}").read_text(errors="replace") for stream in ("out", "err")]
            found[condition][name] = (os.waitstatus_to_exitcode(status), printed, told)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])

"""Each command ends cleanly, whatever its output, its terminal and its user are: one sentence, the right code, no traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.cli.main import cli
from tests.cli.program.cases import BAD, CODES, COMMANDS, ENVIRONMENT, GOOD, PRINTING
from tests.commandline import COMMAND, ROOT, environment

#: Exit codes of commands that print, where the condition is one of the output.
OF_OUTPUT = {"full": 74, "all full": 74, "reader gone": 0, "both readers gone": 0}


#: Those that a process can bring about for its children.
CONDITIONS = [
    *(
        "plain",
        "full",
        "all full",
        "stderr full",
        "reader gone",
        "both readers gone",
        "closed",
        "all closed",
        "no home",
    ),
    *(["nobody"] if os.getuid() == 0 else []),  # only root can become a user without a name
]
Outcomes = dict[str, dict[str, tuple[int, str, str]]]


def outcomes(folder: Path, *conditions: str, **variables: str) -> Outcomes:
    (folder / "good.yaml").write_text(GOOD)
    (folder / "bad.yaml").write_text(BAD)
    for path in (folder, folder.parent):
        path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.program.runner", str(folder), *conditions],
        capture_output=True, text=True, cwd=ROOT, env=environment(**variables), timeout=110, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: Outcomes = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(tmp_path_factory.mktemp("ends"), *CONDITIONS)


def test_every_command_is_here() -> None:
    kinds = {arguments[0] for arguments in COMMANDS.values()}
    assert cli.commands.keys() - kinds == {"scan"}  # it searches the networks of this host: tests/instruments/finding


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_command_ends_with_its_code_and_a_sentence(condition: str, usual: Outcomes) -> None:
    judge(condition, usual[condition])


@pytest.mark.parametrize("condition", ENVIRONMENT)
def test_each_command_ends_so_on_a_terminal_that_knows_few_characters(condition: str, tmp_path: Path) -> None:
    judge(condition, outcomes(tmp_path, condition, **ENVIRONMENT[condition])[condition])


def judge(condition: str, found: dict[str, tuple[int, str, str]]) -> None:
    assert found.keys() == COMMANDS.keys()
    for name, (code, printed, told) in found.items():
        wanted = CODES.get(name, 0)
        if name in PRINTING and condition in OF_OUTPUT:
            wanted = OF_OUTPUT[condition]
        assert code == wanted, (name, printed, told)
        for trace in ("Traceback", "Exception ignored", "an error inside psu-agent"):
            assert trace not in told, name
        if wanted == 74 and condition == "full":
            assert told.count("psu-agent: the output can't be written: No space left on device\n") == 1, name
        if "Usage: " in told:
            continue  # click's four lines
        assert len(told.splitlines()) <= (3 if "bad" in name or name == "run" else 1), (name, told)


@pytest.mark.parametrize("command", ["schema", "models", "get", "check"])
def test_ctrl_c_ends_it_silently_at_any_moment(command: str, tmp_path: Path) -> None:
    """From the moment on when its own code is read; before that it is Python that begins."""
    (tmp_path / "good.yaml").write_text(GOOD)
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        # `sitecustomize` is the last thing that Python reads before the program.
        script = f"import os, signal, sys, threading; threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGINT)).start();"
        script += (
            f"sys.argv = ['psu-agent', *{COMMANDS[command]!r}]; from agent.cli.start import main; sys.exit(main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=60
        )
        if 'File "<string>"' in done.stderr and "agent/cli/start.py" not in done.stderr:
            continue  # the signal came before the program's first line
        assert done.returncode in (130, CODES.get(command, 0), -signal.SIGINT), done
        assert "Traceback" not in done.stderr, done.stderr
        assert "error inside" not in done.stderr


_FINALIZER = """
import signal, sys, time
from agent.cli.main import cli, main

class Held:
    def __del__(self):
        {fault}

@cli.command("hold")
def hold():
    Held()
    time.sleep({seconds})

sys.argv = ["psu-agent", "hold"]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("fault", "seconds", "code", "told"),
    [
        ("signal.raise_signal(signal.SIGINT)", 100, 130, ""),
        ("raise ValueError('its own')", 0, 0, "ValueError: its own"),
    ],
)
def test_ctrl_c_is_not_lost_in_a_finalizer(fault: str, seconds: int, code: int, told: str, tmp_path: Path) -> None:
    """Python drops an exception there, with a traceback. An error that is the finalizer's own is told as ever."""
    script = _FINALIZER.format(fault=fault, seconds=seconds)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=60
    )
    assert done.returncode == code, done
    assert told in done.stderr
    assert "KeyboardInterrupt" not in done.stderr


def test_ctrl_c_does_not_wait_for_a_unit_that_does_not_answer(tmp_path: Path) -> None:
    """`check --connect` waited for all units, each up to its time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        args = "pyvisa_args: {timeout: 30000, open_timeout: 30000}"
        (tmp_path / "c.yaml").write_text(
            f"settings: {{mqtt: {{host: 127.0.0.1, port: 1}}}}\n"
            f"units: [{{name: a, model: E36313A, uri: 'TCPIP::127.0.0.1::{port}::SOCKET', {args}}}]\n"
        )
        with subprocess.Popen(
            [*COMMAND, "check", "--connect", str(tmp_path / "c.yaml")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(), text=True,
        ) as process:  # fmt: skip
            connection, _ = silent.accept()
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=50)
            connection.close()
        assert process.returncode == 130
        assert "Traceback" not in told
        assert time.monotonic() - began < 25

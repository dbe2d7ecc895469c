"""Programs of the user: what they print and how they end, and that nothing of them holds anything up or stays behind."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments.external.programs import ProgramError, Runner
from agent.instruments.external.secrets import Secrets
from tests.lab import wait_until


def make(folder: Path, timeout: float = 20.0, output_limit: int = 65536, **environment: str) -> Runner:
    return Runner(folder, timeout=timeout, output_limit=output_limit, environment=environment)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_program_that_ends_well(tmp_path: Path) -> None:
    outcome = make(tmp_path, COLOUR="red").run(["/bin/sh", "-c", 'echo "$COLOUR $(pwd)"; echo oh >&2; exit 3'])
    assert outcome.status == 3
    assert outcome.stdout.decode() == f"red {tmp_path}\n"
    assert outcome.complaint == "exit status 3: oh"


def test_arguments_reach_no_shell(tmp_path: Path) -> None:
    outcome = make(tmp_path).run(["printf", "%s", "$(touch owned); `touch owned` | *"])
    assert outcome.stdout == b"$(touch owned); `touch owned` | *"
    assert not list(tmp_path.iterdir())


def test_standard_input_is_empty(tmp_path: Path) -> None:
    assert make(tmp_path).run(["cat"]).stdout == b""


def test_a_program_gets_the_configured_environment_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "MQTT_PASSWORD", "PSU_AGENT_MQTT_PASSWORD", "LD_PRELOAD_NOT", "PYTHONPATH"):
        monkeypatch.setenv(name, "/run/nowhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("HOME", "/home/lab")
    outcome = make(tmp_path, TOKEN="t0ps3cret").run([sys.executable, "-SEc", "import os; print(dict(os.environ))"])
    printed = ast.literal_eval(outcome.stdout.decode())
    printed.pop("LC_CTYPE", None)  # Python's own
    assert printed == {"PATH": os.environ["PATH"], "HOME": "/home/lab", "LANG": "C.UTF-8", "TOKEN": "t0ps3cret"}


@pytest.mark.parametrize(
    "script",
    [
        'echo "login as lab with $TOKEN refused" >&2; exit 1',
        'echo "bad password hunter2" >&2; exit 1',
        'tr "\\0" " " </proc/$PPID/environ | grep -o "HASS_KEY=[^ ]*" >&2; exit 1',
        'echo "first line with hunter2" >&2; printf "t0ps\\033[1m3cret t0ps3cret\\n" >&2; exit 1',
    ],
)
def test_a_complaint_shows_no_secret(tmp_path: Path, script: str) -> None:
    # In a process of its own, whose environment is the agent's from its start on.
    code = (
        "import sys; from pathlib import Path; from agent.instruments.external.programs import Runner; "
        "r = Runner(Path('.'), timeout=20, output_limit=9999, environment={'TOKEN': 't0ps3cret'}, secrets=['hunter2']); "
        "print(r.run(['/bin/sh', '-c', sys.argv[1]]).complaint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script],
        capture_output=True,
        text=True,
        env={**os.environ, "HASS_KEY": "k3y-of-the-house"},
        check=True,
    )
    assert "***" in done.stdout
    for secret in ("t0ps3cret", "hunter2", "k3y-of-the-house"):
        assert secret not in done.stdout


def test_a_program_that_can_not_be_started_shows_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"'./\*\*\*-tool' can't be started"):
        make(tmp_path, TOKEN="t0ps3cret").run(["./t0ps3cret-tool"])


@given(st.lists(st.text(min_size=1), max_size=5), st.text())
def test_no_secret_is_left_in_any_text(secrets: list[str], text: str) -> None:
    for secret in secrets:
        text = text[: len(text) // 2] + secret + text[len(text) // 2 :]
    concealed = Secrets(secrets, {}).conceal(text)
    assert not any(secret in concealed for secret in secrets if len(secret) >= 4 and "*" not in secret)


def test_names_and_places_are_no_secrets() -> None:
    secrets = Secrets(
        [], {"HOME": "/home/lab", "STATE_DIRECTORY": "/var/lib/psu-agent", "USER": "laboratory", "SITE": "lab3"}
    )
    text = "/home/lab/x and /var/lib/psu-agent/y of laboratory in lab3"
    assert secrets.conceal(text) == text


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["./no-such-program"], "'./no-such-program' can't be started: No such file or directory"),
        (["/"], "'/' can't be started: Permission denied"),
    ],
)
def test_a_program_that_can_not_be_started(tmp_path: Path, command: list[str], why: str) -> None:
    with pytest.raises(ProgramError, match=r"^" + why.replace(".", r"\.") + "$"):
        make(tmp_path).run(command)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! >child; sleep 600"
    with pytest.raises(ProgramError, match=r"^sh did not end within 2 s and was killed$"):
        make(tmp_path, timeout=2).run(["/bin/sh", "-c", script])
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: is_gone(child), "the child's end")


def test_one_that_ignores_sigterm_is_killed_all_the_same(tmp_path: Path) -> None:
    script = "trap '' TERM; echo $$ >self; while :; do sleep 0.05; done"
    with pytest.raises(ProgramError, match="did not end"):
        make(tmp_path, timeout=2).run(["/bin/sh", "-c", script])
    pid = int((tmp_path / "self").read_text())
    wait_until(lambda: is_gone(pid), "its end")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_megabytes_are_cut_off(tmp_path: Path, stream: str) -> None:
    redirect = "" if stream == "stdout" else ">&2"
    with pytest.raises(ProgramError, match=r"^sh printed more than 1000 bytes and was killed$"):
        make(tmp_path, output_limit=1000).run(["/bin/sh", "-c", f"yes {redirect}"])


def test_the_whole_limit_may_be_used(tmp_path: Path) -> None:
    outcome = make(tmp_path, output_limit=300_000).run([sys.executable, "-c", "print('x' * 299_999)"])
    assert len(outcome.stdout) == 300_000


def test_a_child_left_behind_holds_up_nothing(tmp_path: Path) -> None:
    """It has the pipe open still; a program that waits for its end would wait for ten minutes."""
    outcome = make(tmp_path, timeout=60).run(["/bin/sh", "-c", "echo here; sleep 600 & echo $! >child"])
    assert outcome.stdout == b"here\n"
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: is_gone(child), "the child's end")


def test_a_program_that_a_signal_ends(tmp_path: Path) -> None:
    outcome = make(tmp_path).run(["/bin/sh", "-c", "kill -SEGV $$"])
    assert outcome.complaint == "ended by SIGSEGV, nothing on stderr"


def test_control_characters_in_a_complaint_are_taken_out(tmp_path: Path) -> None:
    outcome = make(tmp_path).run(["/bin/sh", "-c", r"printf 'first\n\033[31mred\377' >&2; exit 1"])
    assert outcome.complaint == "exit status 1: [31mred\ufffd"


def test_what_runs_is_cut_short_when_the_agent_stops(tmp_path: Path) -> None:
    runner = make(tmp_path, timeout=60)
    failures: list[str] = []

    def run() -> None:
        with pytest.raises(ProgramError) as failure:
            runner.run(["sleep", "60"])
        failures.append(str(failure.value))

    thread = threading.Thread(target=run)
    thread.start()
    runner.hurry(0.1)
    thread.join(20)
    assert failures == ["sleep was killed, as the agent stops"]


def test_no_descriptor_and_no_zombie_is_left(tmp_path: Path) -> None:
    runner = make(tmp_path, timeout=0.2, output_limit=100)
    runner.run(["true"])
    before = len(os.listdir("/proc/self/fd"))
    for command in (["true"], ["sleep", "5"], ["yes"], ["./missing"]):
        with contextlib.suppress(ProgramError):
            runner.run(command)
    assert len(os.listdir("/proc/self/fd")) <= before  # threads of other tests may close theirs meanwhile
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert not [child for child in children if is_gone(int(child))]


def test_the_signal_of_the_group_reaches_nobody_else(tmp_path: Path) -> None:
    """The agent's own process group is another."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with pytest.raises(ProgramError):
            make(tmp_path, timeout=0.1).run(["sleep", "60"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == []

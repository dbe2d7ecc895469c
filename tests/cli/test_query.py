"""get and watch against a real broker, the real daemon and a simulated supply."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from tests.cli.lab import Lab
from tests.commandline import COMMAND, Running, environment, invoke
from tests.support.processes import ROOT


def test_get_on_a_pipe_is_json(lab: Lab) -> None:
    states = lab.get("psu1")
    assert [(state["psu"], state["index"]) for state in states] == [("psu1", 1), ("psu1", 2), ("psu1", 3)]
    assert states[0]["name"] == "VDD"
    assert states[0]["online"] is True
    one = lab.get("psu1/VDD")
    assert (one["index"], one["name"]) == (1, "VDD")
    assert lab.get("psu1/1")["index"] == 1


def test_get_all_shows_what_is_offline_as_such(lab: Lab) -> None:
    result = lab.call("get")
    states = json.loads(result.stdout)
    assert {state["psu"] for state in states} == {"psu1", "psu2"}
    for state in states:
        if state["psu"] == "psu2":
            assert state["online"] is False
            assert state["voltage"] is None
            assert state["state"] is None


def test_get_by_the_configuration(lab: Lab) -> None:
    assert invoke("get", "psu1/1", "--config", str(lab.file)).exit_code == 0
    assert invoke("get", "psu1/1", PSU_AGENT_CONF=str(lab.file)).exit_code == 0


@pytest.mark.parametrize(
    ("target", "instead"),
    [
        ("psu9", "There is no unit psu9; known are psu1 and psu2."),
        ("psu1/9", "psu1 has no channel 9; it has 1 (VDD), 2 and 3."),
        ("psu1/nope", "psu1 has no channel nope; it has 1 (VDD), 2 and 3."),
        ("psu1/vdd", "psu1 has no channel vdd; it has 1 (VDD), 2 and 3."),
    ],
)
def test_get_of_what_nobody_knows(lab: Lab, target: str, instead: str) -> None:
    result = lab.call("get", target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"nothing is known of {target}" in result.stderr
    assert instead in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("target", ["psu 1", "psu1/", "psu1/a/b", "agents", "groups/a", "ALL", "#", "psu1/+"])
def test_targets_that_are_none(lab: Lab, target: str) -> None:
    for command in ("get", "watch", "set"):
        result = lab.call(command, target)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "names no" in result.stderr


def test_get_under_another_base_topic_finds_nothing(lab: Lab) -> None:
    result = lab.call("get", "--base-topic", "lab3/psu")
    assert result.exit_code == 1
    assert "no agent has published its state under lab3/psu/" in result.stderr


def test_watch_on_a_pipe_prints_a_line_for_each_change(lab: Lab) -> None:
    with Running("watch", "psu1/2", "--broker", lab.url) as watch:
        watch.wait_for("psu1/2 CH2:")
        assert lab.call("set", "psu1/2", "--voltage-limit", "7.25", "--state", "on").exit_code == 0
        watch.wait_for("(set 7.2500 V")
        assert watch.end(signal.SIGINT) == 0
        assert all("psu1/2 CH2:" in line for line in watch.output)
    assert lab.call("set", "psu1/2", "--state", "off").exit_code == 0


def test_watch_as_json(lab: Lab) -> None:
    with Running("watch", "--json", "--broker", lab.url) as watch:
        line = json.loads(watch.wait_for('"psu":"psu2"'))
        assert (line["online"], line["voltage"]) == (False, None)
        line = json.loads(watch.wait_for('"psu":"psu1"'))
        assert line["online"] is True


def _on_a_terminal(*arguments: str, until: str | None = None) -> tuple[str, int]:
    """The output of a command on a terminal of its own, and its exit code. With `until`, Ctrl-C when that is written."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = environment(TERM="xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        variables.pop(name, None)
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=variables, start_new_session=True
    )
    os.close(slave)
    written = b""
    deadline = time.monotonic() + 60
    interrupted = False
    with contextlib.suppress(OSError):  # its end, on Linux
        while True:
            ready, _, _ = select.select([master], [], [], 0.1)
            if ready:
                block = os.read(master, 65536)
                if not block:
                    break
                written += block
            if until is not None and not interrupted and re.search(until, _plain(written)):
                interrupted = True
                process.send_signal(signal.SIGINT)
            if time.monotonic() > deadline:
                process.kill()
    os.close(master)
    code = process.wait(30)
    assert interrupted or until is None, _plain(written)
    return written.decode(), code


def _plain(written: bytes) -> str:
    """Without colours. Each drawing of a table, which begins in the screen's corner, begins a line."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode(errors="replace").replace("\x1b[H", "\n"))


def test_watch_on_a_terminal_is_a_table(lab: Lab) -> None:
    # Drawn twice at least.
    written, code = _on_a_terminal("watch", "--broker", lab.url, until=r"(?s)psu2 is offline: .*psu2 is offline: ")
    assert code == 0
    plain = _plain(written.encode())
    assert "1 of 2 units online" in plain
    assert re.search(r"psu1/1 +VDD +off +-?[0-9.]+ +-?[0-9.]+", plain)
    assert re.search(r"psu2/3 +CH3 +- +- +- +- +- +- +offline", plain)
    assert "\x1b[" in written
    assert max(len(line.rstrip("\r")) for line in plain.split("\n")) <= 80


def test_get_on_a_terminal_is_a_table(lab: Lab) -> None:
    written, code = _on_a_terminal("get", "--broker", lab.url)
    plain = _plain(written.encode())
    assert code == 0
    assert "psu2 is offline: " in plain
    assert re.search(r"CHANNEL +NAME +OUT +V +A +W +V set +A set +MODE", plain)
    assert re.search(r"psu1/1 +VDD +off", plain)

"""Terminals that can't show what a command prints, disks without room for it, readers that go: it was done all the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.cli.lab import Lab, configuration
from tests.commandline import COMMAND, Running, environment, invoke
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

NAME = "Prüfling Ω→"
#: Variables of terminals that can't show the name.
TERMINALS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
    "windows": {"PYTHONIOENCODING": "cp1252"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with LocalBroker(folder) as broker, Simulator("E36313A") as supply:
        file = configuration(broker, supply, folder)
        data = yaml.safe_load(file.read_text())
        data["units"][0]["channels"][1]["name"] = NAME
        file.write_text(yaml.safe_dump(data))
        with Running("run", str(file)) as agent:
            wait_until(lambda: invoke("get", "psu1/1", PSU_AGENT_BROKER=url(broker)).exit_code == 0, "the state")
            yield Lab(broker, supply, file, agent)


def url(broker: LocalBroker) -> str:
    return f"mqtt://127.0.0.1:{broker.port}"


def run(
    lab: Lab, *arguments: str, stdout: int = subprocess.PIPE, terminal: str = ""
) -> subprocess.CompletedProcess[bytes]:
    variables = TERMINALS.get(terminal, {})
    return subprocess.run(
        [*COMMAND, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(PSU_AGENT_BROKER=lab.url, **variables),
        timeout=60,
    )


def running(lab: Lab, *arguments: str, terminal: str) -> Running:
    return Running(*arguments, cwd=ROOT, PSU_AGENT_BROKER=lab.url, **TERMINALS[terminal])


@pytest.mark.parametrize("terminal", TERMINALS)
def test_a_command_that_was_carried_out_says_so_on_any_terminal(lab: Lab, terminal: str) -> None:
    result = run(lab, "set", "psu1/1", "--current-limit", "0.5", terminal=terminal)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"psu1/1 Pr" in result.stdout
    result = run(lab, "set", "psu1/1", "--voltage-limit", "5.5", terminal=terminal)  # with the name in the refusal
    assert result.returncode == 1
    assert b"limit_exceeded" in result.stderr


@pytest.mark.parametrize("terminal", TERMINALS)
def test_json_holds_the_name_on_any_terminal(lab: Lab, terminal: str) -> None:
    result = run(lab, "set", "psu1/1", "--current-limit", "0.5", "--json", terminal=terminal)
    encoding = "cp1252" if terminal == "windows" else "latin-1"
    assert json.loads(result.stdout.decode(encoding))["result"]["name"] == NAME
    assert json.loads(run(lab, "get", "psu1/1", terminal=terminal).stdout)["name"] == NAME
    with running(lab, "watch", "psu1/1", "--json", terminal=terminal) as watching:
        assert json.loads(watching.wait_for("psu1"))["name"] == NAME


@pytest.mark.parametrize(
    ("command", "terminal"),
    # Texts of our own on the terminal that fails at the first character that it lacks, the user's names on each.
    [
        *((command, "ascii") for command in ("check", "models", "schema", "--help")),
        *(("get", one) for one in TERMINALS),
    ],
)
def test_the_other_commands_on_any_terminal(lab: Lab, terminal: str, command: str) -> None:
    arguments = [command, str(lab.file)] if command == "check" else [command]
    result = run(lab, *arguments, terminal=terminal)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout


def test_watch_and_the_demonstration_on_a_terminal_without_their_signs(lab: Lab) -> None:
    with running(lab, "watch", "psu1/1", terminal="ascii") as watching:
        watching.wait_for("psu1/1 Pr?fling ??")
    with running(lab, "demo", "--embedded-broker", terminal="ascii") as demonstration:
        demonstration.wait_for("psu1/1")
        assert demonstration.end() == 0


@pytest.mark.parametrize(("voltage", "code"), [("1", 0), ("9", 1)])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_exit_code_of_set_tells_of_the_command_whatever_becomes_of_the_output(
    lab: Lab, voltage: str, code: int, options: list[str]
) -> None:
    reader, gone = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for stdout in (gone, full):
        result = run(lab, "set", "psu1/1", "--voltage-limit", voltage, *options, stdout=stdout)
        assert result.returncode == code
        assert b"Traceback" not in result.stderr
        assert b"error inside" not in result.stderr
    os.close(gone)
    os.close(full)
    wait_until(lambda: lab.get("psu1/1")["voltage_limit"] == 1 or code, "the setting")


def test_standard_streams_that_are_closed(lab: Lab) -> None:
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        for voltage, code in (("1", 0), ("9", 1)):
            script = f'exec "$@" {closed}'
            arguments = [*COMMAND, "set", "psu1/1", "--voltage-limit", voltage]
            result = subprocess.run(
                ["/bin/sh", "-c", script, "sh", *arguments],
                cwd=ROOT,
                env=environment(PSU_AGENT_BROKER=lab.url),
                capture_output=True,
                timeout=60,
            )
            assert result.returncode == code, result.stderr


def test_restore_goes_on_where_its_output_can_not_be_written(lab: Lab, tmp_path: Path) -> None:
    """It sent the first channel's settings, failed in printing, and said that all was well."""
    data = yaml.safe_load(lab.file.read_text())
    data["units"][0]["channels"] = {number: {"current_limit": 0.25} for number in (1, 2, 3)}
    file = tmp_path / "psu-agent.yaml"
    file.write_text(yaml.safe_dump(data))
    reader, gone = os.pipe()
    os.close(reader)
    assert run(lab, "restore", "psu1", "--config", str(file), stdout=gone).returncode == 0
    os.close(gone)
    for channel in (1, 2, 3):
        wait_until(lambda c=channel: lab.get(f"psu1/{c}")["current_limit"] == 0.25, "the setting")  # type: ignore[misc]


def test_output_that_a_disk_has_no_room_for_is_one_sentence(lab: Lab) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    for command in ("schema", "models", "get"):
        result = run(lab, command, stdout=full)
        assert result.returncode == 74
        assert result.stderr == b"psu-agent: the output can't be written: No space left on device\n"
    os.close(full)


def test_a_reader_that_goes_is_no_error_and_ends_no_other_way(lab: Lab) -> None:
    reader, gone = os.pipe()
    os.close(reader)
    for command in ("schema", "models", "get", "--version"):
        result = run(lab, command, stdout=gone)
        assert (result.returncode, result.stderr) == (0, b"")
    os.close(gone)


def test_a_folder_that_was_removed_is_no_error_inside(tmp_path: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    for arguments in (
        ["models"],
        ["check", "psu-agent.yaml"],
        ["get", "--broker", "mqtts://127.0.0.1:1", "--ca", "ca.crt"],
    ):
        result = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *COMMAND, *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=60,
        )
        assert result.returncode == (0 if arguments == ["models"] else 2)
        assert b"error inside" not in result.stderr

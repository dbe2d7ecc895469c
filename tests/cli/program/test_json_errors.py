"""A command with ``--json`` prints JSON also when something is wrong, with the exit code and the sentence that it has without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main as cli
from agent.cli import models
from agent.cli.program.errors import Error, is_json_wanted
from agent.local.broker import LocalBroker
from tests.commandline import called

BAD = "settings: {agent: 'a b'}\nunits: [{name: all, model: E36313A, uri: 'TCPIP::a::INSTR'}]\n"
NOWHERE = "mqtt://127.0.0.1:1"
#: The arguments that each command with --json needs.
COMMANDS: dict[str, list[str]] = {
    "get": [],
    "watch": [],
    "set": ["psu1/1", "--state", "off", "--timeout", "0.2"],
    "lease": ["psu1", "--release"],
    "check": [],
    "scan": [],
    "models": [],
}
OF_THE_BROKER = ["get", "watch", "set", "lease"]


def failed(*arguments: str, code: int = 2) -> list[dict[str, Any]]:
    """Run a command that fails, and return the errors that it prints as one JSON document."""
    result = called(*arguments, "--json")
    assert result.returncode == code, result
    found = json.loads(result.stdout)
    assert found["ok"] is False
    for error in found["errors"]:
        assert {"file", "line", "key", "message"} <= error.keys()
        assert error["message"] in result.stderr
    assert found["errors"]
    # The exit code and the sentences are those of the command without --json.
    plain = called(*arguments)
    assert (plain.returncode, plain.stderr) == (code, result.stderr)
    return found["errors"]  # type: ignore[no-any-return]


def test_all_commands_are_here() -> None:
    """A new command with --json belongs into the table."""
    with_json = {name for name, command in cli.cli.commands.items() if any("--json" in p.opts for p in command.params)}
    assert with_json - {"log"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage(command: str) -> None:
    (error,) = failed(command, *COMMANDS[command], "--nope")
    assert error["key"] == "--nope"


@pytest.mark.parametrize("command", [*OF_THE_BROKER, "check"])
def test_a_configuration_with_faults(command: str, tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.yaml"
    file.write_text(BAD)
    place = [str(file)] if command == "check" else ["--config", str(file)]
    agent, unit = failed(command, *COMMANDS[command], *place)
    assert (agent["file"], agent["line"], agent["key"]) == (str(file), 1, "settings.agent")
    assert (unit["line"], unit["key"]) == (2, "units[0].name")


@pytest.mark.parametrize("command", ["check"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_that_can_not_be_read(command: str, is_folder: bool, tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.yaml"
    if is_folder:
        file.mkdir()
    (error,) = failed(command, str(file))
    assert (error["file"], error["line"], error["key"]) == (str(file), None, None)


def test_a_series_file_with_faults(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("identify: 5\n")
    file = tmp_path / "psu-agent.yaml"
    file.write_text("settings: {series: own.yaml}\nunits: [{name: a, model: E36313A, uri: 'TCPIP::a::INSTR'}]\n")
    result = called("check", "--json", str(file))
    assert result.returncode == 2
    for error in json.loads(result.stdout)["errors"]:
        assert error["file"] == str(tmp_path / "own.yaml")
        assert error["message"] in result.stderr


@pytest.mark.parametrize("command", OF_THE_BROKER)
@pytest.mark.parametrize("broker", [NOWHERE, "http://a", "mqtt://a.invalid"])
def test_a_broker_that_is_not_there(command: str, broker: str) -> None:
    failed(command, *COMMANDS[command], "--broker", broker)


@pytest.mark.parametrize("command", OF_THE_BROKER)
def test_an_option_of_the_broker_that_is_wrong(command: str, tmp_path: Path) -> None:
    failed(command, *COMMANDS[command], "--broker", NOWHERE, "--password-file", str(tmp_path / "none"))


@pytest.mark.parametrize("command", ["get", "watch"])
def test_a_target_that_is_none(command: str) -> None:
    failed(command, "a/b/c", "--broker", NOWHERE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with LocalBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield f"mqtt://127.0.0.1:{broker.port}"


@pytest.mark.parametrize("target", [[], ["psu1"], ["psu1/1"]])
def test_nothing_is_known(target: list[str], url: str) -> None:
    failed("get", *target, "--broker", url, code=1)


@pytest.mark.parametrize("command", ["set", "lease"])
def test_nobody_answers(command: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.client.leases.PATIENCE", 0.2)
    failed(command, *COMMANDS[command], "--broker", url)


def test_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr(models, "print_models", broken)
    (error,) = failed("models", code=70)
    assert error["message"] == "an error inside psu-agent: RuntimeError: oh"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a.yaml:3: units[0].name: is reserved", Error("is reserved", "a.yaml", 3, "units[0].name")),
        ("a.yaml:3: is no mapping", Error("is no mapping", "a.yaml", 3)),
        ("/x y/a.yaml: can't be read: No", Error("can't be read: No", "/x y/a.yaml")),
        ("nothing of the kind", Error("nothing of the kind")),
    ],
)
def test_the_line_of_a_fault_as_an_error(text: str, error: Error) -> None:
    assert Error.of_fault(text) == error


def test_the_option_is_found_among_arguments() -> None:
    assert is_json_wanted(["get", "--json"])
    assert not is_json_wanted(["get", "--", "--json"])
    assert not is_json_wanted(["get", "--jso"])

"""Commands that need no broker, most of them as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from agent import __version__, config
from agent.cli import main as cli
from agent.config import jsonschema as file_schema
from agent.instruments import catalogue
from tests.commandline import COMMAND, Running, called, environment, psu_agent
from tests.config.samples import CONTRACT, PSUDAEMON, mqtt, unit
from tests.support.processes import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "psu-agent.yaml"
    path.write_text(unit(channels="{1: {name: VDD, voltage_max: 5}, 3: {on_broker_loss: off}}"))
    return path


def test_version_and_help() -> None:
    assert psu_agent("--version").stdout == f"psu-agent, version {__version__}\n"
    result = psu_agent("--help")
    assert result.returncode == 0
    for command in (
        "run",
        "demo",
        "check",
        "scan",
        "get",
        "set",
        "watch",
        "simulate",
        "models",
        "schema",
        "series",
        "verify",
    ):
        assert f"\n  {command} " in result.stdout
    commands = result.stdout.partition("Commands:")[2]
    assert "..." not in commands  # no description is cut off
    assert "Completion:" in result.stdout


@pytest.mark.parametrize(
    "command",
    ["run", "demo", "check", "scan", "get", "set", "watch", "simulate", "models", "schema", "series", "verify"],
)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(cli.cli, [command, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{command} [OPTIONS]" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["set"], ["set", "psu1/1", "--voltage-limit", "x"], ["get", "--nope"], ["demo", "--port", "0"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.cli, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


# check


def test_check(file: Path) -> None:
    result = called("check", str(file))
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{file}: no fault" in result.stdout
    assert "unit psu1: E36313A at TCPIP::a::INSTR, every 1 s" in result.stdout
    assert "channel 1 (VDD): up to 5 V" in result.stdout
    assert "channel 2: no limit but its rating" in result.stdout
    assert "channel 3: no limit but its rating, off when the broker is gone for 10 s" in result.stdout


def test_check_finds_the_file(file: Path) -> None:
    assert called("check", cwd=file.parent).returncode == 0
    assert called("check", PSU_AGENT_CONF=str(file)).returncode == 0
    result = called("check", PSU_AGENT_CONF=str(file) + "x")
    assert result.returncode == 2
    assert (
        result.stderr == f"{file}x: can't be read: No such file or directory; give the path of a configuration file\n"
    )


@pytest.mark.parametrize("command", ["check", "run"])
def test_every_fault_on_a_line_of_its_own_and_no_connection(command: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("settings: {agent: 'a b', mqttt: {}}\nunits: [{name: all, model: E36313A, uri: x}]\n")
    result = psu_agent(command, str(path))
    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:1", "settings.agent"],
        [f"{path}:1", "settings.mqttt"],
        [f"{path}:2", "units[0].name"],
        [f"{path}:2", "units[0].uri"],
    ]


def test_psudaemon_s_file_is_taken_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "psudaemon.yaml"
    path.write_text(PSUDAEMON)
    result = called("check", str(path))
    assert result.returncode == 0
    assert "settings.uvicorn: not used: this agent serves no HTTP" in result.stderr


def test_a_secret_is_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "psu-agent.yaml"
    path.write_text(mqtt(username="lab", password="hunter2", host="127.0.0.1", port="1"))
    for arguments in (["check", str(path)], ["check", "--connect", "--json", str(path)]):
        result = called(*arguments)
        assert "hunter2" not in result.stdout + result.stderr


# run


def test_a_state_directory_that_can_t_be_used_is_told(tmp_path: Path) -> None:
    path = tmp_path / "psu-agent.yaml"
    (tmp_path / "state").write_text("a file")
    path.write_text(mqtt(port="1") + "  state_dir: state\n")
    result = psu_agent("run", str(path))
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(tmp_path / "state") in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_logs_json_and_ends_cleanly_without_broker_and_unit(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "psu-agent.yaml"
    path.write_text(
        "settings: {uvicorn: {}, state_dir: state, mqtt: {host: 127.0.0.1, port: 1}}\n"
        "units: [{name: psu1, model: E36313A, uri: 'TCPIP::127.0.0.1::1::SOCKET'}]\n"
    )
    with Running("run", "--log-format", "json", str(path)) as agent:
        warning = json.loads(agent.wait_for("uvicorn"))
        assert warning["level"] == "warning"
        assert set(warning) == {"time", "level", "logger", "message"}
        agent.wait_for("psu1")
        assert agent.end(number) == 0


# models, schema


def test_models() -> None:
    result = psu_agent("models")
    for model in catalogue.all_models():
        assert model.name in result.stdout
    assert "not yet" in result.stdout
    listed = json.loads(called("models", "--json").stdout)
    assert [entry["model"] for entry in listed] == [model.name for model in catalogue.all_models()]
    assert [channel["index"] for channel in listed[0]["channels"]] == [1, 2, 3]


def test_schema() -> None:
    schema = json.loads(called("schema").stdout)
    assert schema == file_schema.json_schema()
    jsonschema.Draft202012Validator(schema).validate(
        json.loads(json.dumps(yaml.safe_load(CONTRACT)))  # keys become text, as in an editor
    )


# simulate


def test_simulate_prints_an_entry_that_works_and_ends_with_a_signal(tmp_path: Path) -> None:
    with Running(
        "simulate", "--model", "E36312A", "--port", "0", "--outputs-on", "--serial-number", "MY1"
    ) as simulator:
        simulator.wait_for("serial: MY1")
        printed = "\n".join(simulator.output)
        (entry,) = config.parse(printed.encode(), tmp_path / "x.yaml").units
        assert (entry.model, entry.serial) == ("Keysight Technologies,E36312A", "MY1")
        file = tmp_path / "psu-agent.yaml"
        file.write_text(printed + "\nsettings: {mqtt: {host: 127.0.0.1, port: 1}}\n")
        result = called("check", "--connect", "--json", str(file))
        found = {finding["place"]: finding for finding in json.loads(result.stdout)}
        assert found["sim1"]["ok"]
        assert found["sim1"]["serial"] == "MY1"
        assert not found["broker"]["ok"]
        assert result.returncode == 1
        assert simulator.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "E36399A"], "'E36399A' is not a supported model"),
        (["--host", "192.0.2.1", "--port", "0"], "can't listen on 192.0.2.1"),
    ],
)
def test_a_simulator_that_can_t_be_is_told(arguments: list[str], message: str) -> None:
    result = psu_agent("simulate", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


# The end of a command


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    with subprocess.Popen(
        [*COMMAND, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_an_error_of_ours_is_one_sentence_and_a_traceback_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("oh\nno")

    monkeypatch.setattr(file_schema, "json_schema", broken)
    monkeypatch.setattr("sys.argv", ["psu-agent", "schema"])
    monkeypatch.delenv("PSU_AGENT_DEBUG", raising=False)
    assert cli.main() == 70
    captured = capsys.readouterr().err
    assert captured.startswith("psu-agent: an error inside psu-agent: RuntimeError: oh no; ")
    assert len(captured.splitlines()) == 1
    monkeypatch.setattr("sys.argv", ["psu-agent", "--debug", "schema"])
    assert cli.main() == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("read", "others"),
    [
        (
            "agent.cli.main, agent.service.daemon, agent.config.loading, agent.service.logs",
            ["rich", "agent.instruments.scan", "agent.client", "agent.simulator", "agent.config.editing"],
        ),
        (
            "agent.cli.main, agent.cli.printing, agent.client",
            ["yaml", "pyvisa", "agent.config.schema", "agent.instruments", "agent.service"],
        ),
    ],
    ids=["run", "a client of a broker"],
)
def test_it_does_not_carry_what_only_other_commands_need(read: str, others: list[str]) -> None:
    script = f"import sys, {read}; print([name for name in {others} if name in sys.modules])"
    result = subprocess.run(
        [COMMAND[0], "-c", script], capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")

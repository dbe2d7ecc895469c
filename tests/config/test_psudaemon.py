"""The promises of the page for PSUDaemon's users: its configuration works as it is, and so do the commands on the page."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import config
from agent.cli.main import cli
from agent.local.broker import LocalBroker
from agent.simulator import Simulator
from tests.commandline import psu_agent
from tests.lab import Bench, unit

PAGE = Path(__file__).parent.parent.parent / "docs" / "psudaemon.md"

#: A file as PSUDaemon's own documentation shows it, with what it saves into it, a simulated unit and an external one.
CONFIGURATION = """
settings:
  uvicorn:
    port: 5000
    log_level: info

units:
  - name: psu1
    model: 'Keysight Technologies,E36313A'
    uri: 'TCPIP::192.168.50.51::inst0::INSTR'
    pyvisa_args:
      open_timeout: 5000
    channel_data:
      1: {name: VDD, current_limit: 1, voltage_limit: 3.3}
  - name: psu2
    model: 'Keysight Technologies,E36312A'
    uri: 'TCPIP::localhost:3333::INSTR'
    visabackend: './psudaemon/psumodels/e36300.yaml@sim'
    channel_indices: [1, 2]
    pyvisa_args:
      write_termination: "\\n"
      read_termination: "\\n"
  - name: plug
    model: external
    commands:
      ping: ping -c1 -W1 192.168.50.60
      get_channels: curl -s http://192.168.50.60/channels?all=1
"""


def test_its_configuration_works_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "psudaemon.yaml"
    file.write_text(CONFIGURATION)
    read = config.load(file)
    assert [unit.name for unit in read.units] == ["psu1", "psu2", "plug"]
    channel = read.units[0].channel(1)
    assert (channel.name, channel.voltage_limit, channel.current_limit) == ("VDD", 3.3, 1)
    assert read.units[2].commands is not None
    assert read.units[2].commands.get_channels == ("curl", "-s", "http://192.168.50.60/channels?all=1")
    assert [warning.key for warning in read.warnings] == ["units[1].channel_indices", "settings.uvicorn"]


@pytest.fixture
def bench(broker: LocalBroker, tmp_path: Path) -> Iterator[Bench]:
    simulator = Simulator().start()
    simulator.instrument.execute("CURR 0.5,(@1:3)")
    made = Bench(broker.port, tmp_path, [simulator], [unit("psu1", simulator)]).start()
    yield made
    made.close()


def commands() -> list[str]:
    """Every command of psu-agent on the page that ends by itself, once."""
    text = PAGE.read_text()
    found = re.findall(r"`(psu-agent [^`]+)`", text) + re.findall(
        r"^\$ (psu-agent [^#\n]+?) *(?:#.*)?$", text, re.MULTILINE
    )
    return [
        command
        for command in dict.fromkeys(found)
        if command.split()[1:] not in (["watch"], ["check"], ["set"]) and " run " not in command
    ]


def test_its_commands_do_what_it_says(bench: Bench, broker: LocalBroker, tmp_path: Path) -> None:
    file = tmp_path / "psu-agent.yaml"
    file.write_text(
        f"settings:\n  mqtt: {{host: 127.0.0.1, port: {broker.port}}}\n"
        f"units:\n- {{name: psu1, model: E36313A, uri: 'TCPIP::127.0.0.1::{bench.simulator.socket_port}::SOCKET'}}\n"
    )
    found = commands()
    assert len(found) > 12
    for command in found:
        done = CliRunner().invoke(cli, shlex.split(command)[1:], env={"PSU_AGENT_CONF": str(file)})
        assert done.exit_code == 0, (command, done.output)
    observer = bench.observer
    observer.wait_state("psu1", 2, after=observer.mark(), voltage_limit=3.3)
    assert config.load(file).units[0].channel(2).name == "CORE"
    assert config.load(file).units[0].channel(2).voltage_limit == 3.3


def test_every_field_of_its_channels_is_there(bench: Bench, broker: LocalBroker) -> None:
    done = psu_agent("get", "psu1/2", "--json", "--broker", f"mqtt://127.0.0.1:{broker.port}")
    state = json.loads(done.stdout)
    theirs = "index name state voltage current voltage_limit current_limit online psu model"
    assert set(theirs.split()) <= set(state)
    info = bench.observer.wait("psu/psu1/info", lambda info: info["online"])
    assert {"manufacturer", "model", "serial", "firmware", "uri"} <= set(info)

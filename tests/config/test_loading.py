"""A file as a `Config`: the forms of its values, defaults, and which file is read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent import config
from agent.config import ConfigError
from agent.mqtt.settings import BrokerSettings
from tests.commandline import environment
from tests.config.samples import CONTRACT, PSUDAEMON, UNIT, mqtt, read


def test_the_contract_s_example(folder: Path) -> None:
    read_config = read(CONTRACT, folder)
    mqtt_settings = read_config.settings.mqtt
    assert read_config.settings.agent == "bench3"
    assert read_config.settings.state_dir == Path("/var/lib/psu-agent")
    assert (mqtt_settings.host, mqtt_settings.port, mqtt_settings.protocol) == ("localhost", 1883, "5")
    assert mqtt_settings.password is not None
    assert mqtt_settings.password.get_secret_value() == "s3cret"
    assert mqtt_settings.tls is not None
    assert mqtt_settings.tls.ca == folder / "ca.crt"
    assert read_config.settings.homeassistant is not None
    (psu1,) = read_config.units
    assert [model.name for model in psu1.candidates] == ["E36313A"]
    assert read_config.poll_interval(psu1) == 0.5
    assert psu1.channel(1).voltage_max == 5.5
    assert psu1.channel(2).on_broker_loss == "keep"
    assert psu1.channel(3).on_broker_loss == "off"
    assert read_config.warnings == ()
    assert "s3cret" not in repr(read_config)
    assert "s3cret" not in str(read_config)


def test_psudaemon_s_file_works_as_it_is() -> None:
    read_config = read(PSUDAEMON)
    assert [str(warning) for warning in read_config.warnings] == [
        "/nowhere/psu-agent.yaml:2: settings.uvicorn: not used: this agent serves no HTTP; take it out"
    ]
    assert read_config.units[0].pyvisa_args == {"open_timeout": 5000}
    assert read_config.units[1].pyvisa_args == {"write_termination": "\n", "read_termination": "\n"}
    assert read_config.units[1].visabackend == "./psudaemon/psumodels/e36300.yaml@sim"


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "böse host!.example.org")
    monkeypatch.setenv("HOME", "/home/lab")
    read_config = read(f"units: [{UNIT}]")
    assert read_config.settings.agent == "b-se-host"
    assert read_config.settings.state_dir == Path("/home/lab/.local/state/psu-agent")
    assert read_config.settings.mqtt.port == 1883
    assert read_config.settings.mqtt.tls is None
    assert read_config.settings.homeassistant is None
    assert read_config.poll_interval(read_config.units[0]) == 1.0
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert read(f"units: [{UNIT}]").settings.state_dir == Path("/state/psu-agent")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/psu-agent:/other")
    assert read(f"units: [{UNIT}]").settings.state_dir == Path("/var/lib/psu-agent")


@pytest.mark.parametrize(
    ("text", "port", "on"),
    [("true", 8883, True), ("false", 1883, False), ("{}", 8883, True), ("{insecure: true}", 8883, True)],
)
def test_tls_forms(text: str, port: int, on: bool) -> None:
    settings_mqtt = read(mqtt(tls=text)).settings.mqtt
    assert (settings_mqtt.port, settings_mqtt.tls is not None) == (port, on)
    assert read(mqtt(tls=text, port="1234")).settings.mqtt.port == 1234


@pytest.mark.parametrize(("text", "on"), [("true", True), ("{}", True), ("false", False)])
def test_home_assistant_forms(text: str, on: bool) -> None:
    read_settings = read(f"units: [{UNIT}]\nsettings: {{homeassistant: {text}}}").settings
    assert (read_settings.homeassistant is not None) is on


@pytest.mark.parametrize(
    ("text", "version"),
    [("5", "5"), ("'5'", "5"), ("5.0", "5"), ("3.1.1", "3.1.1"), ("'3.1.1'", "3.1.1"), ("auto", "auto")],
)
def test_protocol_forms(text: str, version: str) -> None:
    assert read(mqtt(protocol=text)).settings.mqtt.protocol == version


def test_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "etc.yaml"
    monkeypatch.setattr("agent.config.loading.SYSTEM_FILE", system)
    with pytest.raises(ConfigError, match=r"there is neither \./psu-agent\.yaml nor .*etc\.yaml"):
        config.find(None)
    system.touch()
    assert config.find(None) == system
    (tmp_path / "psu-agent.yaml").touch()
    assert config.find(None) == Path("psu-agent.yaml")
    monkeypatch.setenv("PSU_AGENT_CONF", "/elsewhere.yaml")
    assert config.find(None) == Path("/elsewhere.yaml")
    assert config.find("given.yaml") == Path("given.yaml")


@pytest.mark.parametrize("path", ["nope.yaml", ".", "a\0b", "x" * 5000])
def test_a_file_that_can_t_be_read(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read: .*; give the path of a configuration file") as raised:
        config.load(str(tmp_path / path))
    assert len(str(raised.value).splitlines()) == 1


CLOSED = """
import os, sys
from pathlib import Path
from agent import config
from agent.config import loading
folder = Path(sys.argv[1])
loading.SYSTEM_FILE = folder / "etc" / "psu-agent.yaml"
os.chdir(folder / sys.argv[2])
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
try:
    config.load(config.find())
except config.ConfigError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder needs root")
@pytest.mark.parametrize("place", ["open", "closed"])
def test_a_folder_that_is_closed_to_this_user(place: str) -> None:
    """As the Debian package makes it. The present folder may be closed, too, and is passed over then."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # another user comes to no folder below pytest's own
        os.chmod(folder, 0o755)
        for name, mode in (("etc", 0o750), ("open", 0o755), ("closed", 0o700)):
            Path(folder, name).mkdir(mode)
        command = [sys.executable, "-c", CLOSED, folder, place]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.stdout == (
        f"{folder}/etc/psu-agent.yaml: can't be read: Permission denied; give the path of a configuration file\n"
    ), done.stderr


def test_publish() -> None:
    other = "{name: b, model: E36313A, uri: 'TCPIP::b::INSTR', publish: %s}"
    other %= "{changes_only: true, deadband: {voltage: 0.01}, heartbeat: 5}"
    given = read(f"units: [{UNIT}, {other}]\nsettings: {{publish: {{changes_only: true, deadband: 0.5}}}}")
    first, second = (given.publish(unit) for unit in given.units)
    assert (first.changes_only, first.deadband.voltage, first.deadband.current, first.heartbeat) == (True, 0.5, 0.5, 60)
    assert (second.deadband.voltage, second.deadband.current, second.heartbeat) == (0.01, None, 5)
    default = read(f"units: [{UNIT}, {other}]")
    assert not default.publish(default.units[0]).changes_only
    assert default.restart_needed(given) == []
    assert given.with_settings_of(default).publish(given.units[0]).changes_only


def test_takeover() -> None:
    given = read(f"units: [{UNIT[:-1]}, takeover: manual}}]\nsettings: {{takeover_after: 60}}")
    assert (given.settings.takeover_after, given.settings.settings_for) == (60, 50)
    assert given.units[0].takeover == "manual"
    default = read(f"units: [{UNIT}]")
    assert (default.settings.takeover_after, default.settings.settings_for) == (30, 20)
    assert default.units[0].takeover == "auto"
    assert default.units[0].longest_exchange == 2.0
    assert read(f"units: [{UNIT[:-1]}, pyvisa_args: {{timeout: 30000}}}}]").units[0].longest_exchange == 30.0


def test_backlog_capacity() -> None:
    def capacity(backlog: str, interval: str = "1") -> int:
        return read(f"units: [{UNIT}]\nsettings: {{poll_interval: {interval}, backlog: {backlog}}}").backlog_capacity()

    assert read(f"units: [{UNIT}]").backlog_capacity() == 3 * 3600
    assert capacity("{age: 2h}") == 3 * 7200
    assert capacity("{age: 90}", "0.5") == 3 * 180
    assert capacity("{samples: 1000000}") == 1_000_000
    assert capacity("{samples: 10, age: 1d}") == 10
    assert capacity("{samples: 0}") == 0
    assert capacity("{age: 0}") == 0
    # "As fast as it answers" has no rate of its own, and must not take the whole disk.
    assert capacity("{age: 60}", "0") == 3 * 60 * 20


def test_only_the_broker_s_settings() -> None:
    text = b"settings: {mqtt: {host: broker}}"
    assert config.parse(text, Path("f.yaml"), units_required=False).settings.mqtt.host == "broker"
    with pytest.raises(ConfigError, match=r"units: is missing"):
        config.parse(text, Path("f.yaml"))


def test_from_data() -> None:
    data = {"units": [{"name": "a", "model": "E36313A", "uri": "TCPIP::a::INSTR"}]}
    assert config.from_data(data).units[0].name == "a"
    with pytest.raises(ConfigError, match=r"^configuration: units\[0\]\.nam: unknown key; did you mean name\?$"):
        config.from_data({"units": [data["units"][0] | {"nam": 1}]})


def test_the_broker_s_section_has_what_a_connection_needs() -> None:
    """The type checker holds the section against mqtt's own interface, which knows no configuration."""
    section: BrokerSettings = read(mqtt(username="a", password="b", tls="{insecure: true}")).settings.mqtt
    assert section.tls is not None
    assert (section.client_id, section.keepalive, section.tls.insecure) == (None, 15, True)

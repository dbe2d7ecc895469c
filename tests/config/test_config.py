from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import string
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import config
from agent.config import ConfigError, source
from agent.config import jsonschema as file_schema

CONTRACT = """\
settings:
  agent: bench3                  # this agent's name; default: the host name
  poll_interval: 1.0             # seconds between polls of a unit, 0 = as fast as it answers
  state_dir: /var/lib/psu-agent  # backlog, energy; default: the user's state directory
  mqtt:
    host: localhost
    port: 1883
    username: bench3
    password_file: mqtt-password     # or password; ${NAME} takes a value from the environment
    tls: {ca: ca.crt, cert: agent.crt, key: agent.key}   # `tls: true` for the system's CAs
    base_topic: psu
    protocol: 5                  # or 3.1.1
  homeassistant: {discovery_prefix: homeassistant}       # absent: no discovery

units:
  - name: psu1                   # [A-Za-z0-9_-]+, unique; `all` and `agents` are reserved
    model: 'Keysight Technologies,E36313A'
    uri: 'TCPIP::192.168.50.51::inst0::INSTR'
    pyvisa_args: {open_timeout: 5000}    # handed to pyvisa's open_resource()
    visabackend: '@py'
    poll_interval: 0.5           # overrides the setting
    serial: MY61004803           # optional: refuse any other unit at this address
    channels:
      1: {name: VDD, voltage_max: 5.5, current_max: 1.0}
      3: {name: MOTOR, on_broker_loss: "off", broker_loss_after: 10}
"""

PSUDAEMON = """\
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
  - name: psu2
    model: 'Keysight Technologies,E36313A'
    uri: 'TCPIP::localhost:3333::INSTR'
    visabackend: './psudaemon/psumodels/e36300.yaml@sim'
    pyvisa_args:
      write_termination: "\\n"
      read_termination: "\\n"
"""

UNIT = "{name: a, model: E36313A, uri: 'TCPIP::a::INSTR'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ca.crt", "agent.crt", "agent.key"):
        (tmp_path / name).write_text("PEM")
    (tmp_path / "mqtt-password").write_text("s3cret\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PSU_AGENT_CONF", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def read(text: str, folder: Path = Path("/nowhere")) -> config.Config:
    return config.parse(text.encode(), folder / "psu-agent.yaml")


def faults(text: str, folder: Path = Path("/nowhere")) -> list[str]:
    """Every fault as ``LINE: KEY: message``."""
    with pytest.raises(ConfigError) as raised:
        read(text, folder)
    prefix = f"{folder}/psu-agent.yaml:"
    lines = str(raised.value).splitlines()
    assert len(lines) == len(raised.value.faults)
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def one_fault(text: str, folder: Path = Path("/nowhere")) -> str:
    found = faults(text, folder)
    assert len(found) == 1, found
    return found[0]


def unit(**keys: str) -> str:
    """A file of one unit, its first key on line 2."""
    given = {"name": "psu1", "model": "E36313A", "uri": "'TCPIP::a::INSTR'"} | keys
    return "units:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in given.items() if value) + "\n"


def mqtt(**keys: str) -> str:
    """A file whose settings.mqtt begins on line 4."""
    return f"units: [{UNIT}]\nsettings:\n  mqtt:\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items())


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
    [("5", "5"), ("'5'", "5"), ("5.0", "5"), ("3.1.1", "3.1.1"), ("'3.1.1'", "3.1.1")],
)
def test_protocol_forms(text: str, version: str) -> None:
    assert read(mqtt(protocol=text)).settings.mqtt.protocol == version


def test_yaml_1_1_traps() -> None:
    """What YAML 1.1 reads as something else is what it looks like."""
    text = unit(
        serial="0123", channels="{1: {name: no, on_broker_loss: off, broker_loss_after: 1e1}, '2': {name: 12:30}}"
    )
    psu = read(text).units[0]
    assert psu.serial == "0123"
    assert psu.channels[1].name == "no"
    assert psu.channels[1].on_broker_loss == "off"
    assert psu.channels[1].broker_loss_after == 10.0
    assert psu.channels[2].name == "12:30"
    assert read(unit(serial="61004803")).units[0].serial == "61004803"
    assert read(unit(serial="1e5")).units[0].serial == "1e5"


def test_anchors_and_merge_keys() -> None:
    text = """\
x-limits: &limits {voltage_max: 5, current_max: 1}
units:
  - &first
    name: a
    model: E36313A
    uri: TCPIP::a::INSTR
    channels:
      1: {<<: *limits, voltage_max: 3}
      2: *limits
  - <<: *first
    name: b
    uri: TCPIP::b::INSTR
"""
    first, second = read(text).units
    assert (first.channels[1].voltage_max, first.channels[1].current_max) == (3, 1)
    assert first.channels[2].voltage_max == 5
    assert second.model == "E36313A"
    assert second.channels[1].voltage_max == 3


def test_values_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PORT", "1884")
    monkeypatch.setenv("MQTT_PASSWORD", "0123")
    monkeypatch.setenv("HOST_PART", "lab")
    settings_mqtt = read(
        mqtt(port="${MQTT_PORT}", username="a$$b", password="${MQTT_PASSWORD}", host="'mqtt.${HOST_PART}.example'")
    ).settings.mqtt
    assert settings_mqtt.port == 1884
    assert settings_mqtt.username == "a$b"
    assert settings_mqtt.password is not None
    assert settings_mqtt.password.get_secret_value() == "0123"
    assert settings_mqtt.host == "mqtt.lab.example"
    monkeypatch.setenv("MQTT_PASSWORD", "true")
    settings_mqtt = read(mqtt(username="a", password="${MQTT_PASSWORD}")).settings.mqtt
    assert settings_mqtt.password is not None
    assert settings_mqtt.password.get_secret_value() == "true"


def test_an_unset_variable_is_one_fault() -> None:
    assert one_fault(mqtt(port="${NOT_SET_ANYWHERE}")) == (
        "4: settings.mqtt.port: environment variable NOT_SET_ANYWHERE is not set: set it, or write $$ for a dollar sign"
    )
    assert "write ${NAME}" in one_fault(mqtt(host="${oh no}"))


def test_secrets_stay_out_of_faults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = mqtt(
        host="mqtt://me:hunter2@broker",
        username="'hunter2 '",
        password="[hunter2]",
        passwrd="hunter2",
        base_topic="${SECRET}/#",
        client_id="'${SECRET}\t'",
    )
    found = faults(text, folder)
    assert len(found) == 6, found
    # The username is none; it stands in the file as it is.
    assert [line.split(": ")[1] for line in found if "hunter2" in line] == ["settings.mqtt.username"]


def test_every_fault_at_once() -> None:
    text = """\
settings:
  agent: bench 3
  poll_intervall: 1
  mqtt: {port: "1883", base_topic: /psu}
units:
  - name: psu1
    model: E36399A
    uri: TCPIP::a::INSTR
  - name: psu1
    uri: tcpip0::A::inst0
    channels: {1: {voltage_max: -1}}
"""
    assert (
        faults(text)
        == """\
2: settings.agent: 'bench 3' is no agent name; give up to 64 letters, digits, `_`, `.` or `-`
3: settings.poll_intervall: unknown key; did you mean poll_interval?
4: settings.mqtt.port: '1883' is in quotes, which makes it text; give the broker's TCP port, 1 to 65535; \
left out: 1883, with TLS 8883
4: settings.mqtt.base_topic: '/psu' has an empty level; give levels with one `/` between them and none at either end, \
such as lab3/psu
7: units[0].model: 'E36399A' is not a supported model; nearest: E36313A, E36312A, E36311A \
(`psu-agent models` lists them)
9: units[1].model: is missing; give the model (`psu-agent models` lists them), its series, or either behind \
the manufacturer's name
9: units[1].name: 'psu1' is units[0]'s name too; give each unit its own
10: units[1].uri: 'tcpip0::A::inst0' is the address of units[0] too; give each unit its own
11: units[1].channels.1.voltage_max: '-1' is out of range; give the most volts (V) that may be set, above 0; \
on a negative output its magnitude
""".splitlines()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file is empty; give `units:`"),
        ("# nothing\n", "1: the file is empty; give `units:`"),
        ("- a\n", "1: is no mapping; give `settings:` and `units:`"),
        ("units: []\n", "1: units: is empty; give at least one supply"),
        ("units:\n", "1: units: has no value; take the key out or give a list of supplies"),
        ("settings: {}\n", "1: units: is missing; give a list of supplies"),
        ("units: 5\n", "1: units: '5' is not a list; give a list of supplies"),
        ("units: [5]\n", "1: units[0]: '5' is not a mapping; give a mapping of name, model, uri"),
        ("units:\n\t- a\n", "2: not valid YAML: a tab in the indentation; indent with spaces"),
        ("units: [\n", "1: not valid YAML: "),
        ("a: 1\n---\nb: 1\n", "2: a second YAML document begins here"),
        (f"units: [{UNIT}]\nunits: [{UNIT}]\n", "2: units: stands here twice, first on line 1"),
        (f"units: [{UNIT}]\nmqtt: {{}}\n", "2: mqtt: unknown key here; it belongs in settings"),
        (f"units: [{UNIT}]\nunitz: []\n", "2: unitz: unknown key; did you mean units?"),
        (f"units: [{UNIT}]\nfoo: []\n", "2: foo: unknown key; known here: settings, units"),
        (f"units: [{UNIT}]\nsettings: !python/name:os.system {{}}\n", "2: settings: tag !python/name:os.system is not"),
        (f"units: [{UNIT}]\nx-a: &a\n  - *a\n", "2: x-a[0]: contains itself"),
        (unit(name="all"), "2: units[0].name: 'all' is reserved"),
        (unit(name="a b"), "2: units[0].name: 'a b' is no unit name"),
        (unit(name='"a\\u0007"'), "2: units[0].name: 'a\\x07' holds control characters"),
        (unit(name="true"), "2: units[0].name: 'true' is not text"),
        (unit(name="x" * 65), "2: units[0].name: "),
        (unit(name=""), "2: units[0].name: is missing; give a unique name"),
        (unit(uri="'TCPIP::a::5025'"), "ends in a port, which wants ::SOCKET behind it: TCPIP::a::5025::SOCKET"),
        (unit(uri="192.168.0.5"), "4: units[0].uri: '192.168.0.5' is no VISA resource name; it begins with TCPIP"),
        (unit(uri="'TCPIP::a::5025::socket'"), "the resource class stands in capitals: TCPIP::a::5025::SOCKET"),
        (unit(uri="'TCPIP::a::70000::SOCKET'"), "4: units[0].uri: 'TCPIP::a::70000::SOCKET' '70000' is no port"),
        (unit(uri='"TCPIP::a\\n::INSTR"'), "4: units[0].uri: 'TCPIP::a\\n::INSTR' holds control characters"),
        (unit(poll_interval="-1"), "5: units[0].poll_interval: '-1' is out of range; give the seconds between polls"),
        (unit(poll_interval="86401"), "'86401' is out of range"),
        (unit(poll_interval=".nan"), "'.nan' is not a finite number"),
        (unit(poll_interval="1e999"), "'1e999' is not a finite number"),
        (unit(poll_interval="true"), "'true' is not a number"),
        (unit(poll_interval="~"), "has no value; take the key out or give the seconds"),
        (unit(visabackend="5"), ""),
        (unit(channels="{4: {}}"), "5: units[0].channels.4: E36313A has no channel 4; give one of 1, 2, 3"),
        (unit(channels="{0: {}}"), "has no channel 0"),
        (unit(channels="{one: {}}"), "5: units[0].channels.one: is no channel number"),
        (unit(channels="[{}]"), "5: units[0].channels: a list is not a mapping"),
        (unit(channels="{1: {voltage_max: }}"), "channels.1.voltage_max: has no value"),
        (unit(channels="{1: {voltage_max: 6.5}}"), "6.5 V is more than channel 1 of E36313A can be set to"),
        (unit(channels="{2: {current_max: 10}}"), "10 A is more than channel 2 of E36313A can be set to"),
        (unit(channels="{1: {voltage_max: 0}}"), "'0' is out of range"),
        (unit(channels="{1: {on_broker_loss: false}}"), "'false' is not one of the choices; give keep or off"),
        (unit(channels="{1: {name: a/b}}"), "holds `/`"),
        (unit(channels="{1: {name: '12'}}"), "is a number, which could be taken for another channel"),
        (unit(channels="{1: {name: SET}}"), "'SET' is reserved"),
        (unit(channels="{1: {name: ''}}"), "is empty"),
        (unit(channels="{1: {name: x}, 2: {name: x}}"), "channels.2.name: 'x' is channel 1's name too"),
        (unit(channels="{1: {name: CH2}}"), "'CH2' is channel 2's name unless it has another"),
        (unit(channels="{1: {}, '1': {}}"), "channels.1: stands here twice"),
        (unit(pyvisa_args="{open_timout: 5}"), "unknown argument; did you mean open_timeout?"),
        (unit(pyvisa_args="{open_timeout: 5s}"), "'5s' is not right here; give whole milliseconds"),
        (unit(pyvisa_args="{timeout: 0}"), "'0' is not right here; give milliseconds"),
        (unit(pyvisa_args="{timeout: null}"), "give milliseconds"),
        (unit(pyvisa_args="{read_termination: '\\n'}"), 'in double quotes YAML reads it: read_termination: "\\n"'),
        (unit(pyvisa_args="{resource_pyclass: x}"), "can't be given here"),
        (unit(pyvisa_args="{1: x}"), "5: units[0].pyvisa_args.1: is no argument; give arguments of pyvisa"),
        (mqtt(host="mqtt://x"), "is an address with a scheme; give the host alone"),
        (mqtt(host="x:1883"), "holds a port"),
        (mqtt(host="a b"), "is no host"),
        (mqtt(port="0"), "'0' is out of range; give the broker's TCP port, 1 to 65535"),
        (mqtt(port="1883.5"), "'1883.5' is not a whole number"),
        (mqtt(password="x"), "4: settings.mqtt.password: stands without username"),
        (mqtt(username="a", password="x", password_file="y"), "password_file: stands beside password"),
        (mqtt(username="a", password_file="nope"), "password_file: can't be read (/nowhere/nope: No such file or dir"),
        (mqtt(tls="{ca: nope.crt}"), "tls.ca: 'nope.crt' can't be read (/nowhere/nope.crt: No such file"),
        (mqtt(tls="{key: /dev/null}"), "tls.key: stands without cert"),
        (mqtt(tls="{cert: /dev/null}"), "tls.cert: stands without key"),
        (mqtt(tls="maybe"), "tls: 'maybe' is not a mapping; give true for TLS"),
        (mqtt(tls=""), "tls: has no value"),
        (mqtt(base_topic="a/+"), "holds a wildcard"),
        (mqtt(base_topic="$SYS/x"), "begins with `$`"),
        (mqtt(base_topic="a//b"), "has an empty level"),
        (mqtt(base_topic='"a\\0b"'), "holds control characters"),
        (mqtt(protocol="4"), "'4' is not one of the choices; give the MQTT version, 5 or 3.1.1"),
        (mqtt(keepalive="1"), "'1' is out of range"),
        (f"units: [{UNIT}]\nsettings: {{backlog: {{age: soon}}}}", "settings.backlog.age: 'soon' is no duration"),
        (f"units: [{UNIT}]\nsettings: {{backlog: {{samples: -1}}}}", "'-1' is out of range"),
        (f"units: [{UNIT}]\nsettings: {{state_dir: ~nobody-has-this-name/x}}", "names a home directory that is not"),
        (f"units: [{UNIT}]\nsettings: {{homeassistant: }}", "settings.homeassistant: has no value"),
    ],
)
def test_bad_input_is_told_with_its_place(text: str, expected: str) -> None:
    if expected:
        assert expected in one_fault(text)
    else:
        read(text)


def test_not_utf_8() -> None:
    with pytest.raises(ConfigError, match=r"^/x/f.yaml:2: byte 0xff is not UTF-8: save the file as UTF-8$"):
        config.parse(b"a: 1\nb: \xff\n", Path("/x/f.yaml"))


def test_a_file_with_a_byte_order_mark_and_windows_line_ends() -> None:
    assert config.parse(b"\xef\xbb\xbf" + unit().replace("\n", "\r\n").encode(), Path("/x/f.yaml")).units


@pytest.mark.parametrize(
    "text",
    [
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in range(98, 112)),
        b"a: &a {x: 1}\n"
        + b"".join(b"%c: &%c {<<: [%s]}\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in range(98, 115)),
        b"[" * 500_000,
        b"- " * 500_000,
        b"a: " + b"1" * 1_000_000,
        b"x" * 1_100_000,
        b"units:\n" + b"- 5\n" * 20_000,
    ],
    ids=["aliases", "merges", "brackets", "dashes", "digits", "size", "faults"],
)
@pytest.mark.timeout(60)
def test_bombs_are_bounded(text: bytes) -> None:
    with pytest.raises(ConfigError):
        config.parse(text, Path("f.yaml"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("TCPIP::h::INSTR", "tcpip0::H::inst0"),
        ("TCPIP::h", "TCPIP0::h::inst0::INSTR"),
        ("TCPIP::h::hislip0::INSTR", "TCPIP::h::hislip0,4880::INSTR"),
        ("TCPIP::h::5025::SOCKET", "TCPIP0::H.::05025::SOCKET"),
        ("USB0::0x2A8D::0x1202::MY1::INSTR", "USB::10893::4610::my1::0::INSTR"),
        ("GPIB::5::INSTR", "gpib0::05"),
        ("ASRL/dev/ttyUSB0::INSTR", "ASRL/dev/ttyUSB0"),
    ],
)
def test_addresses_that_are_the_same(first: str, second: str) -> None:
    text = f"units:\n- {{name: a, model: E36313A, uri: '{first}'}}\n- {{name: b, model: E36313A, uri: '{second}'}}\n"
    assert "is the address of units[0] too" in one_fault(text)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("TCPIP::h::inst0::INSTR", "TCPIP::h::inst1::INSTR"),
        ("TCPIP::h,1000::inst0::INSTR", "TCPIP::h,1001::inst0::INSTR"),
        ("TCPIP::h::hislip0,1::INSTR", "TCPIP::h::hislip0,2::INSTR"),
        ("ASRL/dev/ttyUSB0", "ASRL/dev/TTYUSB0"),
        ("GPIB::5", "GPIB1::5"),
    ],
)
def test_addresses_that_differ(first: str, second: str) -> None:
    text = f"units:\n- {{name: a, model: E36313A, uri: '{first}'}}\n- {{name: b, model: E36313A, uri: '{second}'}}\n"
    assert len(read(text).units) == 2


def test_one_simulated_address_in_two_files_is_two_instruments() -> None:
    entry = "{name: %s, model: E36313A, uri: 'TCPIP::a::INSTR', visabackend: '%s.yaml@sim'}"
    assert len(read(f"units: [{entry % ('a', 'a')}, {entry % ('b', 'b')}]").units) == 2
    assert one_fault(f"units: [{entry % ('a', 'a')}, {entry % ('b', 'a')}]")


def test_password_files(folder: Path) -> None:
    secret = folder / "secret"
    text = mqtt(username="a", password_file="secret")
    secret.write_bytes(b" with spaces \r\n")
    password = read(text, folder).settings.mqtt.password
    assert password is not None
    assert password.get_secret_value() == " with spaces "
    for content, message in (
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is no text"),
        (b"x" * 70000, "MQTT"),
    ):
        secret.write_bytes(content)
        assert message in one_fault(text, folder)
    secret.unlink()
    secret.mkdir()
    assert "Is a directory" in one_fault(text, folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_password_file_of_somebody_else_is_told(folder: Path) -> None:
    (folder / "secret").touch(mode=0)
    assert "Permission denied" in one_fault(mqtt(username="a", password_file="secret"), folder)


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


# The JSON Schema


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = file_schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _as_json(text: str) -> Any:
    """As an editor sees it: keys are text."""
    return _text_keys(yaml.safe_load(text))


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "text",
    [
        CONTRACT,
        PSUDAEMON,
        mqtt(tls="true", port="${PORT}", protocol="3.1.1", password="5"),
        unit(serial="123", poll_interval="0"),
        f"x-a: &a {UNIT}\nunits: [*a]\nsettings: {{homeassistant: true, backlog: {{age: 1h}}}}",
    ],
)
def test_the_schema_takes_what_the_reader_takes(text: str, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(_as_json(text))


@pytest.mark.parametrize(
    "text",
    [
        "settings: {}",
        "units: []",
        unit(name=""),
        unit(poll_interval="-1"),
        unit(nam="x"),
        unit(channels="{1: {voltage_max: 0}}"),
        unit(channels="{1: {on_broker_loss: maybe}}"),
        mqtt(port="0"),
        mqtt(protocol="4"),
        mqtt(tls="maybe"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(_as_json(text))


def test_every_key_is_described() -> None:
    schema = file_schema.json_schema()
    for section in (schema, *schema["$defs"].values()):
        for name, key in section.get("properties", {}).items():
            assert key.get("description"), name


# Properties

_words = st.sampled_from(
    [
        name
        for section in (config.Settings, config.Mqtt, config.UnitSettings, config.ChannelSettings)
        for name in section.model_fields
    ]
    + ["settings", "units", "E36313A", "TCPIP::a::INSTR", "age", "off", "samples", "timeout", "<<", "x-a"]
)
_scalars = st.one_of(
    _words,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([1, 2, 3, "1h", "~", "~x", "${HOME}", "${NOPE}", "$$", "${", "\0", "a/b", "/dev/null", "1e999"]),
)
_trees = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words | _scalars, inner, max_size=5),
    max_leaves=25,
)
_units = st.fixed_dictionaries({}, optional=dict.fromkeys(config.UnitSettings.model_fields, _trees))
_files = st.fixed_dictionaries(
    {},
    optional={
        "settings": st.fixed_dictionaries({}, optional=dict.fromkeys(config.Settings.model_fields, _trees)),
        "units": st.lists(_units, max_size=3),
    },
)


def _faults_of(content: bytes) -> list[config.Fault]:
    try:
        config.parse(content, Path("f.yaml"))
    except ConfigError as error:
        return error.faults or pytest.fail("a ConfigError without a fault")
    return []


def _parse_or_faults(content: bytes) -> None:
    lines = len(re.split(rb"\r\n|[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]", content))
    for fault in _faults_of(content):
        assert 1 <= fault.line <= lines
        assert fault.message
        assert str(fault).isprintable()
        assert str(fault).startswith(f"f.yaml:{fault.line}: ")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_configuration_or_faults(content: bytes) -> None:
    _parse_or_faults(content)


@settings(deadline=None)
@given(st.text(alphabet=string.ascii_letters + "{}[]:,-&*!|>'\"%@` \n\t#?~.$0123456789", max_size=300))
@example("units: [{name: &a x, uri: *a}]")
def test_any_text_is_a_configuration_or_faults(text: str) -> None:
    _parse_or_faults(text.encode())


@settings(deadline=None)
@given(_files | _trees)
def test_any_tree_is_a_configuration_or_faults(tree: object) -> None:
    _parse_or_faults(yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass"))


@settings(deadline=None)
@given(_files)
def test_any_data_is_a_configuration_or_faults(data: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        assert config.from_data(data).units


def test_reading_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own loader, where libyaml is missing, tells the same lines."""
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    slow = importlib.util.module_from_spec(source.__spec__)
    monkeypatch.setitem(sys.modules, "agent.config.source", slow)
    source.__spec__.loader.exec_module(slow)  # type: ignore[union-attr]
    text = (CONTRACT + "a: 1\n").encode()
    fast = source.read(text)
    assert slow.read(text).data == fast.data
    assert {path: place.line for path, place in slow.read(text).places.items()} == {
        path: place.line for path, place in fast.places.items()
    }
    assert [problem.place.line for problem in slow.read(b"a:\n\tb: 1\n").problems] == [2]
    assert [problem.place.line for problem in slow.read(b"a: 1\n---\nb: 1\n").problems] == [2]

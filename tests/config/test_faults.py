"""The parts of a fault: its line, its key, what is wrong and what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.config.samples import UNIT, faults, mqtt, one_fault, read, serial, unit


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
        (unit(name="Groups"), "2: units[0].name: 'Groups' is reserved"),
        (unit(name="response"), "2: units[0].name: 'response' is reserved"),
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
        (
            unit(publish="{heartbeat: 5}"),
            "5: units[0].publish.heartbeat: '5' has no effect where every state is published; give `changes_only: true`",
        ),
        (
            unit(publish="{changes_only: true, deadband: -1}"),
            "5: units[0].publish.deadband: '-1' is out of range; give 0 or more",
        ),
        (unit(takeover="never"), "5: units[0].takeover: 'never' is not one of the choices; give auto or manual"),
        (
            f"units: [{UNIT}]\nsettings: {{takeover_after: 5}}\n",
            "2: settings.takeover_after: '5' is out of range; give the seconds, 15 to 3600",
        ),
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
        (unit(channels="{1: {name: lease}}"), "'lease' is reserved"),
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
        (unit(pyvisa_args="{query: x}"), "unknown argument; give arguments of pyvisa's open_resource()"),
        (unit(pyvisa_args="{stop_bit: 1}"), "unknown argument; did you mean stop_bits?"),
        (unit(pyvisa_args="{stop_bits: 1}"), "is no argument of a link to TCPIP"),
        (serial("{stop_bits: 3}"), "5: units[0].pyvisa_args.stop_bits: '3' is not right here; give 1, 1.5 or 2"),
        (serial("{stop_bits: true}"), "give 1, 1.5 or 2"),
        (serial("{stop_bits: [1]}"), "pyvisa_args.stop_bits: a list is not right here; give 1, 1.5 or 2"),
        (serial("{data_bits: [8]}"), "give 5, 6, 7 or 8"),
        (serial("{encoding: asci}"), "'asci' is not right here; give the name of a text encoding, such as ascii"),
        (serial("{encoding: hex}"), "give the name of a text encoding"),
        (serial("{read_termination: é}"), "'é' is not right here; give text such as"),
        (serial('{read_termination: "\\n\\n"}'), "give text such as"),
        (serial("{write_termination: é}"), "'é' is not right here; give text such as"),
        (serial("{session: 5}"), "unknown argument"),
        (serial("{CR: x}"), "unknown argument"),
        (serial("{parity: maybe}"), "'maybe' is not right here; give none, odd, even, mark or space"),
        (serial("{parity: null}"), "give none, odd, even, mark or space"),
        (serial("{parity: 5}"), "give none, odd, even, mark or space"),
        (serial("{flow_control: hardware}"), "give none, xon_xoff, rts_cts or dtr_dsr"),
        (serial("{flow_control: 8}"), "give none, xon_xoff, rts_cts or dtr_dsr"),
        (serial("{data_bits: 9}"), "give 5, 6, 7 or 8"),
        (serial("{end_input: 7}"), "give none, last_bit, termination_char or termination_break"),
        (serial("{xon_char: long}"), "give one character"),
        (serial("{allow_dma: 1}"), "give true or false"),
        (serial("{break_length: long}"), "give a whole number, -32768 to 32767"),
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
        (mqtt(base_topic="a/" * 100 + "b"), "has more than 100 levels"),
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
        (b"\xff\xfe", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"\xff\xfe\x00", "is no text"),
        (b"\x80", "is no text"),
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

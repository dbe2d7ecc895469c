"""YAML as it is read: plain scalars, aliases, variables, and texts that are none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.config import ConfigError, source
from tests.config.samples import CONTRACT, mqtt, one_fault, read, unit


def test_yaml_1_1_traps() -> None:
    """Scalars that YAML 1.1 reads as something else are read as they look."""
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
        mqtt(port="${MQTT_PORT}", username="a$b", password="${MQTT_PASSWORD}", host="'mqtt.${HOST_PART}.example'")
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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a$$b", "a$$b"),
        ("$$", "$$"),
        ("a$b$", "a$b$"),
        ("$$$$x", "$$$$x"),
        ("$${NAME}", "${NAME}"),
        ("$${", "${"),
        ("${NAME}$$", "lab$$"),
        ("$$$${NAME}", "$${NAME}"),
        ("$$${NAME}", "$lab"),
        ("$${a${NAME}}", "${alab}"),
        ("{$$}", "{$$}"),
        ("{x}", "{x}"),
    ],
)
def test_dollar_signs_arrive_as_they_are_written(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    """Half of the dollar signs of a password were lost, without a word."""
    monkeypatch.setenv("NAME", "lab")
    password = read(mqtt(username="a", password=f"'{written}'")).settings.mqtt.password
    assert password is not None
    assert password.get_secret_value() == meant


@given(st.text("${}aN", max_size=12))
def test_any_text_can_be_written(text: str) -> None:
    document = source.read(f"'{source.escaped(text)}'".encode(), {})
    assert (document.data, document.problems) == (text, [])


def test_an_unset_variable_is_one_fault() -> None:
    assert one_fault(mqtt(port="${NOT_SET_ANYWHERE}")) == (
        "4: settings.mqtt.port: environment variable NOT_SET_ANYWHERE is not set: set it, or write $${ for the text itself"
    )
    assert "write ${NAME}" in one_fault(mqtt(host="${oh no}"))


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

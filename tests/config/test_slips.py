"""Slips that people make in a configuration file, and the sentence on each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.config import Settings
from agent.config.values import Section
from tests.config.samples import UNIT, faults, one_fault, read, unit
from tests.properties import examples

_UNITS = f"units: [{UNIT}]\n"


def _password(text: str) -> str:
    return f"settings:\n  mqtt:\n    username: a\n    password: {text}\n{_UNITS}"


def _channel(text: str) -> str:
    return f"units:\n  - name: psu1\n    model: E36313A\n    uri: TCPIP::a::INSTR\n    channels:\n      1: {text}\n"


def _flags(word: str) -> Settings:
    text = f"settings: {{homeassistant: {word}, mqtt: {{tls: {word}}}, publish: {{changes_only: {word}}}}}\n{_UNITS}"
    return read(text).settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Numbers, as people write them.
        (unit(channels="{1: {voltage_max: 5,5}}"), "units[0].channels.1.voltage_max: 5,5 has a decimal comma: write 5.5"),
        (_channel("{voltage_max: 5,5, name: VDD}"), "channels.1.voltage_max: 5,5 has a decimal comma: write 5.5"),
        (_channel("{current_max: -0,25}"), "current_max: -0,25 has a decimal comma: write -0.25"),
        ("settings: {poll_interval: 0,5}\n" + _UNITS, "settings.poll_interval: 0,5 has a decimal comma: write 0.5"),
        ("settings:\n  poll_interval: 0,5\n" + _UNITS, "settings.poll_interval: '0,5' is not a number; write 0.5"),
        (_channel("{voltage_max: '5,5'}"), "'5,5' is not a number; write 5.5"),
        (_channel("{voltage_max: 5 V}"), "'5 V' is not a number; write 5, the number alone"),
        (_channel("{current_max: 1A}"), "'1A' is not a number; write 1, the number alone"),
        (_channel("{current_max: 500mA}"), "'500mA' is not a number; write 0.5, the number alone"),
        (_channel("{current_max: 50%}"), "'50%' is not a number; give the most amperes (A)"),
        (_channel("{current_max: '1.5'}"), "'1.5' is in quotes, which makes it text"),
        (_channel("{current_max: -1}"), "'-1' is out of range; give the most amperes (A)"),
        (_channel("{current_max: .nan}"), "'.nan' is not a finite number"),
        (_channel("{current_max: nan}"), "'nan' is not a number"),
        (unit(poll_interval="12:30"), "'12:30' is not a number; give the seconds"),
        ("settings: {publish: {changes_only: true, deadband: '0,1'}}\n" + _UNITS, "'0,1' is not a number; write it with a point"),
        ("settings: {backlog: {age: '1,5h'}}\n" + _UNITS, "'1,5h' has a decimal comma; write a point there"),
        # Commas, colons, quotes and braces.
        ("units:\n  - {name: a, model: Keysight Technologies,E36313A, uri: TCPIP::a::INSTR}\n",
         "2: units[0].model: a comma ends a value within braces: put 'Keysight Technologies,E36313A' in quotes"),
        ("settings: {mqtt: {username: a, password: ${X}}}\n" + _UNITS,
         "1: not valid YAML: within braces or brackets a variable has to stand in quotes: write '${X}'"),
        ("settings: {series: [${HOME}/a.yaml]}\n" + _UNITS, "a variable has to stand in quotes: write '${HOME}'"),
        ("settings:\n  mqtt: {port: 1883, host: mqtt.${LAB}.example}\n" + _UNITS, "2: not valid YAML: within braces or brackets"),
        (_password("@hunter2"), "4: not valid YAML: a value can't begin with '@'; put the value in quotes"),
        (_password("%hunter2"), "4: not valid YAML: a value can't begin with '%'; put the value in quotes"),
        (_password("`hunter2"), "4: not valid YAML: a value can't begin with '`'; put the value in quotes"),
        (_password("*hunter2"), "4: not valid YAML: a value that begins with `*` stands for another one in YAML"),
        (_password("!hunter2 x"), "4: settings.mqtt.password: tag !hunter2 is not supported: take it out, or put"),
        (_password("#hunter2"), "4: settings.mqtt.password: has no value, as `#` begins a comment; put the value"),
        (_password("a: hunter2"), "4: not valid YAML: a second `: ` stands in this line; put the value in quotes"),
        (_password("{hunter2"), "4: not valid YAML: `{` begins something here that no `}` ends"),
        ("units: []\nsettings:\n  agent: 'a\n  poll_interval: 1\n", "3: not valid YAML: the quote that begins here is not"),
        (_password("'hunter2"), "put all of it in quotes, or close a quote above"),
        (_password('"hunter\\2"'), "4: not valid YAML: a backslash within double quotes needs a second one"),
        (_password("'hunter2' x"), "4: not valid YAML: text stands behind what was a whole value already"),
        ("settings: {mqtt: {username: a, password: hunter,2}}\n" + _UNITS,
         "1: settings.mqtt.password: a comma ends a value within braces: put the value in quotes"),
        ("settings: {mqtt: {host: a}\n" + _UNITS, "1: not valid YAML: `{` begins something here that no `}` ends"),
        # Indentation, and what only looks like it.
        ("units:\n  - name: a\n\tmodel: E36313A\n", "3: not valid YAML: a tab in the indentation; indent with spaces"),
        ("units:\n  -\tname: a\n    model: E36313A\n", "2: not valid YAML: a tab where YAML takes spaces"),
        ("units:\n  - name: a\n\u00a0\u00a0\u00a0\u00a0model: E36313A\n    uri: TCPIP::a::INSTR\n",
         "3: not valid YAML: a character in the indentation looks like a space and is none"),
        ("units:\n  - name: a\n   model: E36313A\n", "3: not valid YAML: the indentation does not fit"),
        ("settings:\n  agent: a\n units: []\n", "3: not valid YAML: the indentation does not fit"),
        ("units:\n  - name:a\n    model: E36313A\n", "2: not valid YAML: a space is missing behind the `:`; write `name: a`"),
        ("settings:\n  agent: a\n  poll_interval:1\n" + _UNITS,
         "3: not valid YAML: a space is missing behind the `:`; write `poll_interval: 1`"),
        ("settings:\n  mqtt:\n    username: a\n    password:hunter2\n" + _UNITS, "4: not valid YAML: a space is missing behind"),
        ("settings:\n  agent: a\n    poll_interval: 1\n", "3: not valid YAML: this line is indented further than the one"),
        ("units: - name: a\n", "1: not valid YAML: `- ` begins a list, which takes a line of its own"),
        ("<<<<<<< HEAD\n" + _UNITS + "=======\n" + _UNITS + ">>>>>>> b\n", "1: a merge conflict was left here"),
        # Another shape than is wanted.
        ("units:\n  psu1:\n    model: E36313A\n", "1: units: a mapping is not a list; give a list of supplies"),
        (unit(channels="[VDD, VCC]"), "units[0].channels: a list is not a mapping; give a mapping of channel numbers"),
        (unit(channels="{VDD: {voltage_max: 5}}"), "units[0].channels.VDD: is no channel number; give the number"),
        ("settings:\n  homeassistant:\n" + _UNITS, "2: settings.homeassistant: has no value; take the key out or give true"),
        ("settings: {homeassistant: homeassistant}\n" + _UNITS, "'homeassistant' is not a mapping; give true or {discovery"),
        (unit(channels="{1: {on_broker_loss: false}}"), "'false' is not one of the choices; give keep or off"),
    ],
)  # fmt: skip
def test_a_slip_gets_one_sentence_that_says_what_to_write(text: str, said: str) -> None:
    told = one_fault(text)
    assert said in told
    assert "hunter" not in told.replace("!hunter2", "")


@pytest.mark.parametrize("word", ["yes", "on", "true", "Yes", "ON", "True"])
def test_a_flag_that_is_set_in_any_of_yaml_s_words(word: str) -> None:
    settings = _flags(word)
    assert settings.homeassistant is not None
    assert settings.homeassistant.discovery_prefix == "homeassistant"
    assert settings.mqtt.tls is not None
    assert settings.mqtt.port == 8883
    assert settings.publish.changes_only
    told = read(f"settings: {{mqtt: {{tls: {{insecure: {word}}}}}}}\n{_UNITS}").warnings
    assert "the broker's certificate is not checked" in str(told[0])


@pytest.mark.parametrize("word", ["no", "off", "false", "No", "OFF", "False"])
def test_a_flag_that_is_not_set(word: str) -> None:
    settings = _flags(word)
    assert (settings.homeassistant, settings.mqtt.tls, settings.mqtt.port, settings.publish.changes_only) == (
        None, None, 1883, False
    )  # fmt: skip


def _sections(of: type[Section] = Section) -> Iterator[type[Section]]:
    for section in of.__subclasses__():
        yield section
        yield from _sections(section)


def test_every_flag_of_the_file_takes_these_words() -> None:
    """Each is a `Flag`: a plain `bool` takes `true` and `false` alone."""
    kinds = {
        f"{section.__name__}.{name}": str(kind)
        for section in _sections()
        for name, kind in section.__annotations__.items()
        if re.search(r"\b(?:bool|Flag)\b", str(kind))
    }
    assert len(kinds) > 5
    assert {name: kind for name, kind in kinds.items() if "bool" in kind} == {}


def test_what_a_variable_stands_for_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT", "5,5")
    told = one_fault(_channel("{voltage_max: '${LIMIT}'}"))
    assert "'${LIMIT}' is not a number; give the most volts" in told
    assert "5.5" not in told


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    content = f"{_UNITS}# Prüfstand\n".encode(encoding)
    content = b"\xff\xfe" + content if encoding == "utf-16-le" else content
    with pytest.raises(config.ConfigError, match="UTF-8") as error:
        config.parse(content, tmp_path / "psu-agent.yaml")
    assert len(error.value.faults) == 1


@given(st.text(st.sampled_from("ab:1,.-[]{}#&*!|>'\"%@`$\\ \t\n\u00a0<="), max_size=40))
@examples(300)
def test_any_text_gets_sentences(text: str) -> None:
    for fault in faults(text + "\n" + "a: [\n"):
        assert "Traceback" not in fault
        assert len(fault.splitlines()) == 1

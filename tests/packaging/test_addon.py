"""The add-on for Home Assistant: its files are what the Supervisor takes, its options become a configuration without fault."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import hypothesis.strategies as some
import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings

from agent.config import load
from tests.commandline import invoke
from tests.support.processes import ROOT
from tests.support.scripts import load as load_script

HERE = ROOT / "homeassistant-addon"

run = load_script(HERE / "run.py")

#: A type of an option, as the Supervisor reads it (supervisor/addons/options.py).
_RANGE = r"(?:\((?:[\d.]+)?,(?:[\d.]+)?\))?"
ELEMENT = re.compile(
    rf"(?:bool|email|url|port|device(?:\(subsystem=[a-z]+\))?|(?:str|password|int|float){_RANGE}|match\(.*\)|list\(.+\))\??"
)
#: What config.yaml may hold of all that the Supervisor knows (supervisor/addons/validate.py), without what is deprecated.
SCHEMA = {
    "type": "object",
    "required": ["name", "version", "slug", "description", "arch"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "slug": {"pattern": "^[-_.A-Za-z0-9]+$"},
        "description": {"type": "string"},
        "url": {"format": "uri"},
        "arch": {"type": "array", "minItems": 1, "items": {"enum": ["aarch64", "amd64"]}},
        "services": {"type": "array", "items": {"pattern": "^(mqtt|mysql):(provide|want|need)$"}},
        # What is so by default is left out, as the linter of add-ons asks.
        "host_network": {"const": True},
        "usb": {"const": True},
        "uart": {"const": True},
        "udev": {"const": True},
        "map": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["data", "ssl", "share", "media", "homeassistant_config", "addon_config"]},
                    "read_only": {"const": False},
                    "path": {"type": "string"},
                },
            },
        },
        "panel_icon": {"pattern": "^mdi:[a-z0-9-]+$"},
        "options": {"type": "object"},
        "schema": {"type": "object"},
    },
}
ADDON = yaml.safe_load((HERE / "config.yaml").read_text())
SERVICE = {
    "host": "core-mosquitto",
    "port": 1883,
    "ssl": False,
    "username": "addons",
    "password": "${secret}",
    "protocol": "3.1.1",
}
UNIT = {"name": "psu1", "model": "E36313A", "uri": "TCPIP::192.168.50.51::inst0::INSTR"}


def options(**more: Any) -> dict[str, Any]:
    return {**ADDON["options"], **more}


def written(made: dict[str, Any], folder: Path) -> Path:
    """Its file, as the script writes it."""
    file = folder / "psu-agent.yaml"
    file.write_text(run.as_yaml(made))
    return file


def test_the_supervisor_takes_its_configuration() -> None:
    jsonschema.validate(ADDON, SCHEMA)


def elements(schema: Any) -> list[str]:
    if isinstance(schema, str):
        return [schema]
    return [one for part in (schema if isinstance(schema, list) else schema.values()) for one in elements(part)]


def test_every_option_has_a_type_and_what_must_be_given_has_a_default() -> None:
    found = elements(ADDON["schema"])
    assert len(found) > 15
    assert [one for one in found if not ELEMENT.fullmatch(one)] == []
    needed = {name for name, kind in ADDON["schema"].items() if not (isinstance(kind, str) and kind.endswith("?"))}
    assert needed == ADDON["options"].keys()


def test_every_option_has_words_for_people() -> None:
    words = yaml.safe_load((HERE / "translations" / "en.yaml").read_text())["configuration"]
    assert words.keys() == ADDON["schema"].keys()
    assert all(word.get("name") for word in words.values())


def test_options_become_a_configuration_without_fault(tmp_path: Path) -> None:
    made = run.configuration(
        options(
            units=[UNIT | {"poll_interval": 0.5}, UNIT | {"name": "psu2", "uri": "TCPIP::192.168.50.52::inst0::INSTR"}],
            channels=[{"unit": "psu1", "channel": 1, "name": "VDD", "voltage_max": 5.5, "current_max": 1.0}],
        ),
        SERVICE,
    )
    file = written(made, tmp_path)
    result = invoke("check", str(file))
    assert result.exit_code == 0, result.output
    config = load(file)
    assert (config.settings.mqtt.host, config.settings.mqtt.port) == ("core-mosquitto", 1883)
    assert config.settings.homeassistant is not None
    assert config.units[0].channels[1].voltage_max == 5.5


def test_the_page_s_examples_are_options_and_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (HERE / "DOCS.md").read_text(), re.MULTILINE | re.DOTALL)
    given, own = map(yaml.safe_load, blocks)
    assert given.keys() <= ADDON["schema"].keys()
    for name in ("units", "channels"):
        assert all(one.keys() <= ADDON["schema"][name][0].keys() for one in given[name])
    assert invoke("check", str(written(run.configuration(options(**given), SERVICE), tmp_path))).exit_code == 0
    for name, value in run.environment(SERVICE).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own | {"units": [UNIT]}))
    result = invoke("check", str(tmp_path / "own.yaml"))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("more", "service", "told"),
    [
        ({"units": []}, SERVICE, "add your first supply"),
        ({"units": [UNIT, UNIT]}, SERVICE, "'psu1' is there twice"),
        ({"units": [UNIT]}, None, "install the add-on Mosquitto broker"),
        (
            {"units": [UNIT], "channels": [{"unit": "psu9", "channel": 1}]},
            SERVICE,
            "there is no unit 'psu9'; there is psu1",
        ),
        ({"units": [UNIT], "channels": [{"unit": "psu1", "channel": 1}] * 2}, SERVICE, "psu1 1 is there twice"),
    ],
)
def test_what_can_t_be_run_is_told_in_a_sentence(more: dict[str, Any], service: Any, told: str) -> None:
    with pytest.raises(run.OptionError, match=re.escape(told)):
        run.configuration(options(**more), service)


def test_a_broker_of_the_options_goes_before_the_supervisors_whole() -> None:
    """The password of one broker never goes to another."""
    assert run.broker({"mqtt_host": "broker.lab", "mqtt_tls": True}, SERVICE) == {
        "host": "broker.lab",
        "tls": True,
        "port": 8883,
    }
    assert run.broker({"mqtt_username": "me"}, SERVICE)["username"] == "addons"


@settings(max_examples=25, deadline=None)
@given(password=some.text(string.printable, max_size=20), name=some.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True))
@example(password="$${1}$$$${a}$", name="a")  # a text of chance has none
def test_any_password_arrives_as_it_is(tmp_path_factory: pytest.TempPathFactory, password: str, name: str) -> None:
    made = run.configuration(options(units=[UNIT]), SERVICE | {"username": name, "password": password})
    mqtt = load(written(made, tmp_path_factory.getbasetemp())).settings.mqtt
    assert mqtt.username == name
    assert (mqtt.password.get_secret_value() if mqtt.password else "") == password


class Supervisor(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_known = self.path == "/services/mqtt" and self.headers["Authorization"] == "Bearer token"
        body = json.dumps({"result": "ok", "data": SERVICE} if is_known else {"result": "error"}).encode()
        self.send_response(200 if is_known else 400)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_it_becomes_the_agent(tmp_path: Path) -> None:
    """The script as a process, with the Supervisor's interface and a program psu-agent that tells how it was called."""
    program = tmp_path / "bin" / "psu-agent"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"; stat -c %a "$2"; echo "$MQTT_PASSWORD"\n')
    program.chmod(0o755)
    (tmp_path / "options.json").write_text(json.dumps(options(units=[UNIT], log_level="debug")))
    script = (HERE / "run.py").read_text().replace('"/data/', f'"{tmp_path}/').replace('"/config/', f'"{tmp_path}/own/')
    server = HTTPServer(("127.0.0.1", 0), Supervisor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "run.py").write_text(script.replace("http://supervisor", f"http://127.0.0.1:{server.server_port}"))

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, tmp_path / "run.py"],
            env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "SUPERVISOR_TOKEN": "token"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    try:
        done = start()
        assert done.stderr == ""
        made = tmp_path / "psu-agent.yaml"
        assert done.stdout.splitlines() == [f"run {made} --log-level debug", "600", "${secret}"]
        assert load(made).settings.mqtt.username == "addons"
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "psu-agent.yaml").write_text("units: []\n")
        done = start()
        assert done.stdout.startswith(f"run {tmp_path}/own/psu-agent.yaml --log-level debug\n")
        assert "of the options log_level alone counts" in done.stderr
        (tmp_path / "own" / "psu-agent.yaml").unlink()
        (tmp_path / "options.json").write_text(json.dumps(options()))
        done = start()
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("psu-agent add-on: units: there is none")
        assert done.stderr.count("\n") == 1
    finally:
        server.shutdown()
        server.server_close()


def test_the_image_is_built_of_what_the_folder_holds() -> None:
    """`make addon` adds the wheel and the lock."""
    text = (HERE / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()}
    assert copied == {"requirements.lock", "psu_agent-*.whl", "run.py"}
    base = re.search(r"^FROM (\S+)$", text, re.MULTILINE)
    assert base is not None
    assert f"FROM {base[1]} AS build" in (ROOT / "Dockerfile").read_text()
    assert "cp docker/requirements.lock" in (ROOT / "packaging.mk").read_text()

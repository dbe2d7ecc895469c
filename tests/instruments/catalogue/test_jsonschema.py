"""The JSON Schema of series files takes and refuses what the reader does."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.instruments.catalogue import SeriesFileError, read
from agent.instruments.catalogue.jsonschema import json_schema, known_keys
from tests.commandline import invoke
from tests.instruments.catalogue.samples import FILES, changed


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def as_json(value: Any) -> Any:
    """As an editor sees it: keys are texts, and so are days."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date) else value


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_schema_takes_every_file_of_the_agent(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(as_json(yaml.safe_load(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state: {send:", "state: {snd:"),
        ("  voltage_limit: {", "  voltage_limt: {"),
        ("compound: probe", "compound: prob"),
        ("[0, 6.18]", "[0, 6.18, 9]"),
        ("tried: no", "tried: perhaps"),
        ("baud: 9600", "baud: fast"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(
    old: str, new: str, tmp_path: Path, validator: jsonschema.Draft202012Validator
) -> None:
    file = changed(tmp_path, old, new)
    with pytest.raises(SeriesFileError):
        read(file)
    assert not validator.is_valid(as_json(yaml.safe_load(file.read_text())))


def test_every_key_is_described() -> None:
    schema = json_schema()
    for title, section in {"Series": schema, **schema["$defs"]}.items():
        for name, key in section.get("properties", {}).items():
            assert key.get("description"), f"{title}.{name}"


def test_the_keys_of_a_place_are_known() -> None:
    assert "send" in known_keys(("settings", "state"))
    assert "send" in known_keys(("settings", "state", 0))
    assert "voltage_limit" in known_keys(("settings",))
    assert "voltage" in known_keys(("models", "X", "channels", 1))
    assert known_keys(("nowhere", 3)) == []


def test_the_command_line_prints_it() -> None:
    result = invoke("schema", "--series")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(json.dumps(json_schema()))
    assert json.loads(invoke("schema").stdout)["title"] == "psu-agent configuration"

"""The JSON Schema takes and refuses what the reader does."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from agent.config import jsonschema as file_schema
from tests.config.samples import CONTRACT, PSUDAEMON, UNIT, mqtt, unit


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

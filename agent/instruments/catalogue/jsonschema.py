"""The JSON Schema of a series file, for editors that complete and check YAML by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from agent.instruments.catalogue.descriptions import DESCRIPTIONS
from agent.instruments.catalogue.schema import Series

#: A part of a JSON Schema.
_Part = dict[str, Any]


class _Schema(GenerateJsonSchema):
    """Defaults that stand for "not in the file" are left out."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        if result.get("default", ...) in (None, (), [], {}, ""):
            del result["default"]
        return result


@lru_cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a series file."""
    schema = Series.model_json_schema(schema_generator=_Schema)
    for name, section in {"Series": schema, **schema["$defs"]}.items():
        section.pop("description", None)  # of the class, for those who read its code
        for key, value in section.get("properties", {}).items():
            if key in (described := DESCRIPTIONS.get(name, {})):
                value["description"] = described[key]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "psu-agent series file",
        "description": "A series file of psu-agent: the language of a family of power supplies, and its models.",
    }


def known_keys(location: Sequence[int | str]) -> list[str]:
    """The keys that may stand at a place of a series file; none where any may, or where the place is not known."""
    schema = json_schema()
    places = list(_alternatives(schema, schema))
    for part in location:
        places = [found for place in places for below in _below(place, part) for found in _alternatives(below, schema)]
    keys: set[str] = set()
    for place in places:
        keys |= set(place.get("properties", {})) | set(place.get("propertyNames", {}).get("enum", ()))
    return sorted(keys)


def _alternatives(place: _Part, schema: _Part) -> Iterator[_Part]:
    """The parts that a part stands for."""
    if "$ref" in place:
        yield from _alternatives(schema["$defs"][place["$ref"].rpartition("/")[2]], schema)
    elif "anyOf" in place:
        for one in place["anyOf"]:
            yield from _alternatives(one, schema)
    else:
        yield place


def _below(place: _Part, part: int | str) -> Iterator[_Part]:
    if (known := place.get("properties", {}).get(str(part))) is not None:
        yield known
    elif isinstance(further := place.get("additionalProperties"), dict):
        yield further
    yield from place.get("patternProperties", {}).values()
    if isinstance(part, int) and isinstance(items := place.get("items"), dict):
        yield items

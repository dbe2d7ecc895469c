"""The JSON Schema of the configuration file, for editors that complete and check YAML by one."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from agent.config.schema import Config


class _Schema(GenerateJsonSchema):
    """Numbers may come from the environment as well."""

    _VARIABLE: ClassVar[JsonSchemaValue] = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), self._VARIABLE]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), self._VARIABLE]}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # None stands for "not in the file"; a key without a value is a fault.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        if result.get("default", ...) is None:
            del result["default"]
        return result


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file, for editors that complete and check YAML by one."""
    schema = Config.model_json_schema(schema_generator=_Schema)
    schema["patternProperties"] = {"^x-": {"description": "a place for YAML anchors: not read"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "psu-agent configuration",
        "description": "The configuration file of psu-agent.",
    }

"""The messages of faults: pydantic's errors in words for users, each with the schema's text of what would be right."""

from __future__ import annotations

import difflib
import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from agent.config.schema import Config
from agent.config.settings import Mqtt, Settings, Tls
from agent.config.source import KeyPath, Source
from agent.config.units import UnitSettings
from agent.protocol.numbers import instead

#: pydantic's types of errors.
_WRONG_KINDS = {
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "dict_type": "is not a mapping",
    "model_type": "is not a mapping",
    "model_attributes_type": "is not a mapping",
    "list_type": "is not a list",
    "literal_error": "is not one of the choices",
    "enum": "is not one of the choices",
    "string_too_long": "is too long",
    "is_instance_of": "is not text",
    "path_type": "is not text",
} | dict.fromkeys(("greater_than", "greater_than_equal", "less_than", "less_than_equal"), "is out of range")

#: The sections in which a misplaced key could belong, in words, and their classes.
_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("settings", Settings),
    ("settings.mqtt", Mqtt),
    ("settings.mqtt.tls", Tls),
    ("a unit", UnitSettings),
)


def explain(source: Source, path: KeyPath, details: ErrorDetails) -> str:
    """The message of one of pydantic's errors at `path`."""
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return with_right("is missing", path)
    if kind == "wrong_value":
        return f"{shown(source, path, details['input'])} {details['ctx']['message']}"
    if kind == "wrong_value_shown":
        return str(details["ctx"]["message"])
    if "[key]" in details["loc"]:
        if path[-2:-1] == ("pyvisa_args",):
            return "is no argument; give arguments of pyvisa's open_resource() such as open_timeout"
        return "is no channel number; give the number on the front panel, from 1"
    wrong = _WRONG_KINDS.get(kind, "is not right here")
    if kind in ("int_type", "float_type") and _is_written_number(details["input"]):
        wrong = "is in quotes, which makes it text"
    elif (
        kind in ("int_type", "float_type")
        and details["input"] == source.place(path).written  # no variable, whose value nobody is shown
        and (told := instead(details["input"]))
    ):
        return f"{shown(source, path, details['input'])} {wrong}; {told}"
    return with_right(f"{shown(source, path, details['input'])} {wrong}", path)


def shown(source: Source, path: KeyPath, value: object) -> str:
    """The value as the file has it, in quotes, at most 80 characters; never a secret, never what a variable stands for."""
    if path and path[-1] == "password":
        return "the value (not shown)"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    written = source.place(path).written
    if written is None:
        written = str(value)
    written = re.sub(r"(?<=:)[^:@/]+(?=@)", "***", written)
    text = repr(written) if written.isprintable() else ascii(written)
    return text if len(text) <= 80 else text[:76] + "…'"


def with_right(wrong: str, path: KeyPath, give: str = "; give ") -> str:
    """The text that says what is wrong, followed by the schema's text that says what would be right at `path`."""
    kind, description = _schema_at(path)
    if description is None and isinstance(kind, type) and issubclass(kind, BaseModel):
        description = f"a mapping of {', '.join(kind.model_fields)}"
    return f"{wrong}{give}{description}" if description else wrong


def _unknown_key(path: KeyPath) -> str:
    section, _ = _schema_at(path[:-1])
    known = list(section.model_fields) if section is not None else []
    key = str(path[-1])
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.7):
        return f"unknown key; did you mean {near[0]}?"
    for place, other in _SECTIONS:
        if other is not section and key in other.model_fields:
            return f"unknown key here; it belongs in {place}"
    return f"unknown key; known here: {', '.join(known)}"


def _schema_at(path: KeyPath) -> tuple[Any, str | None]:
    """The type that the schema wants at `path`, and its description; None and None where the schema has no such path."""
    kind: Any = Config
    description: str | None = None
    for part in path:
        origin = get_origin(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            known = kind.model_fields.get(str(part))
            if known is None:
                return None, None
            kind, description = _without_none(known.annotation), known.description
        elif origin in (list, dict):
            kind, description = _without_none(get_args(kind)[-1]), None
        else:
            return None, None
    return kind, description


def _without_none(annotation: Any) -> Any:
    """The type itself of an ``Annotated`` or optional one."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
        else:
            return annotation


def _is_written_number(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,20}(\.\d{1,20})?", value) is not None

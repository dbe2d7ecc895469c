"""The types of the configured values: how they are read from YAML, what is allowed, and what the JSON Schema says of them.

A message about a wrong value goes on where the value ends: ``'x y' is no unit name; give …``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from agent.config.scalars import as_text


class Section(BaseModel):
    """A mapping of the file: its fields are the keys that it may have."""

    # Strict: a quoted number, or a 1 for `true`, is more often a slip than meant.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True, validate_default=False
    )


def wrong(message: str) -> PydanticCustomError:
    """The fault of one value. The value is shown before the message."""
    return PydanticCustomError("wrong_value", "{message}", {"message": message})


def wrong_and_shown(message: str) -> PydanticCustomError:
    """The fault of one value, where the message itself shows the value."""
    return PydanticCustomError("wrong_value_shown", "{message}", {"message": message})


def checked_by(check: Callable[[str], str]) -> AfterValidator:
    """A validator from a check of `agent.protocol.names`: its ValueError becomes the fault of the value."""

    def validate(value: str) -> str:
        try:
            return check(value)
        except ValueError as error:
            raise wrong(str(error)) from None

    return AfterValidator(validate)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise wrong("holds control characters; take them out")
    if value != value.strip():
        raise wrong("begins or ends with a space; take it out")
    if not value:
        raise wrong("is empty; give it a value or take the key out")
    return value


def _topic(value: str) -> str:
    if len(value.encode()) > 512:
        raise wrong("is longer than 512 bytes; give a shorter topic")
    if "+" in value or "#" in value:
        raise wrong("holds a wildcard; give a topic without `+` and `#`")
    if value.count("/") >= 100:
        raise wrong(
            "has more than 100 levels, and many brokers end the connection for such a topic; give a shorter one"
        )
    if not all(value.split("/")):
        raise wrong(
            "has an empty level; give levels with one `/` between them and none at either end, such as lab3/psu"
        )
    if value.startswith("$"):
        raise wrong("begins with `$`, which is the broker's own; give another topic")
    return value


def _host(value: str) -> str:
    if "://" in value:
        raise wrong("is an address with a scheme; give the host alone, `port` and `tls` are keys of their own")
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    if not re.fullmatch(r"[\w.:%-]{1,253}", value):
        raise wrong("is no host; give a host name or an IP address, such as localhost or 192.168.50.2")
    if re.fullmatch(r"[^:]*:\d+", value):
        raise wrong("holds a port; give the host alone and the port as `port`")
    return value


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


def _resolved(value: Path, info: ValidationInfo) -> Path:
    """Relative to the folder of the configuration file."""
    if not str(value).isprintable() or not value.name:
        raise wrong("is no path; give the path of a file")
    try:
        value = value.expanduser()
    except RuntimeError:
        raise wrong("names a home directory that is not there; give the whole path") from None
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def _readable(value: Path) -> Path:
    try:
        with value.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise wrong(f"can't be read ({value}: {error.strerror}); give a file that this user may read") from None
    return value


def _seconds(value: object) -> object:
    """Seconds, or a number with s, min, h or d behind it."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|m|h|d)", value)
        if match is None and re.fullmatch(r"\d{1,9},\d{1,9}\s*(s|min|m|h|d)?", value):
            raise wrong("has a decimal comma; write a point there")
        if match is None:
            raise wrong("is no duration; give seconds, or a number with s, min, h or d behind it, such as 1h")
        return float(match[1]) * {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}[match[2]]
    return value


def _protocol(value: object) -> object:
    written = str(as_text(value))
    return {"auto": "auto", "5": "5", "5.0": "5", "3.1.1": "3.1.1"}.get(written, value)


def channel_number(value: object) -> object:
    """A channel's number, which may be written as text; anything else as it is."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value) else value


#: What YAML 1.1 has for true and false, and this file's YAML 1.2 for words. No setting has them for anything else.
_YES, _NO = ("yes", "Yes", "YES", "on", "On", "ON"), ("no", "No", "NO", "off", "Off", "OFF")


def is_true(value: object) -> bool:
    """True for a flag of the file that is set, as it was read."""
    return value is True or (isinstance(value, str) and value in _YES)


def _flag(value: object) -> object:
    """The boolean that a word stands for; anything else as it is."""
    return is_true(value) if isinstance(value, str) and value in (*_YES, *_NO) else value


def _flag_or_section(value: object) -> object:
    """`true` stands for the section with its defaults, `false` for none."""
    value = _flag(value)
    if isinstance(value, bool):
        return {} if value else None
    return value


class _OrFlag:
    """In the JSON Schema, `true` and `false` beside the section."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "boolean"}, handler(schema)]}


class OrNumber:
    """In the JSON Schema, a number of 0 or more beside the section."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "number", "minimum": 0}, handler(schema)]}


#: Text without control characters or spaces at its ends, not empty. An unquoted number is taken as it is written.
Text = Annotated[str, BeforeValidator(as_text), AfterValidator(_printable)]
#: A topic without wildcards, of one or several levels.
Topic = Annotated[Text, AfterValidator(_topic)]
#: A host's name or IP address.
Host = Annotated[Text, AfterValidator(_host)]
#: Relative to the folder of the configuration file.
FilePath = Annotated[
    Path,
    BeforeValidator(_path),
    BeforeValidator(as_text),
    AfterValidator(_resolved),
    WithJsonSchema({"type": "string"}),
]
#: A file that this user may read.
ReadableFile = Annotated[FilePath, AfterValidator(_readable)]
Secret = Annotated[SecretStr, BeforeValidator(as_text), WithJsonSchema({"type": ["string", "number"]})]
#: s between polls, 0 for as fast as the unit answers.
Interval = Annotated[float, Field(ge=0, le=86400)]
#: s, 0 to a year.
Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 31_536_000},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(s|min|m|h|d)$"},
            ],
            "default": "1h",
        }
    ),
]
ProtocolVersion = Annotated[
    Literal["auto", "5", "3.1.1"],
    BeforeValidator(_protocol),
    WithJsonSchema({"enum": ["auto", 5, "5", "3.1.1"], "default": "auto"}),
]
#: True or false; also as YAML 1.1 writes them, such as `yes`.
Flag = Annotated[bool, BeforeValidator(_flag)]
#: For a section that may be given as `true` or `false`: the validator and its part of the JSON Schema.
FLAG_OR_SECTION = BeforeValidator(_flag_or_section)
OR_FLAG = _OrFlag()

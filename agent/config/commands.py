"""`commands:` of a unit: the programs that read and set a unit of model `external`."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from agent.config.scalars import as_text
from agent.config.values import Flag, Section, Text, wrong

#: Characters that have a meaning for a shell: outside of quotes, and within double quotes.
_SHELL_SYNTAX = re.compile(
    r"""(?P<single>'[^']*')|(?P<escape>\\.)|(?P<double>"(?:[^"\\`$]|\\.)*")|(?P<syntax>[|&;<>()*`$\n]|(?<!\S)[~#])""",
    re.DOTALL,
)
_PLACEHOLDERS = ("{channel}", "{field}", "{value}", "{unit}")


def _command(value: object, info: ValidationInfo) -> object:
    """A command as the list of its arguments."""
    with_shell = bool(info.data.get("shell"))
    if isinstance(value, list):
        arguments = _from_list(value, with_shell=with_shell)
    elif isinstance(value, str):
        arguments = _from_text(value, with_shell=with_shell)
    else:
        raise wrong("is no command; give a list of a program and its arguments")
    if any("\0" in argument for argument in arguments):
        raise wrong("holds a NUL character; take it out")
    if info.field_name == "set":
        _check_placeholders(arguments)
    return tuple(arguments)


def _from_list(items: list[object], *, with_shell: bool) -> list[str]:
    if with_shell:
        raise wrong("is a list, which needs no shell; give text, or take `shell: true` out")
    arguments = [argument for item in items if isinstance(argument := as_text(item), str)]
    if len(arguments) < len(items):
        raise wrong("holds something that is no text; put it in quotes")
    if not arguments or not arguments[0]:
        raise wrong("names no program; give a list that begins with one")
    return arguments


def _from_text(text: str, *, with_shell: bool) -> list[str]:
    """Text is split at spaces as a shell would split it. No shell is started, unless the file asks for one."""
    if not text.strip():
        raise wrong("is empty; give a list of a program and its arguments")
    if with_shell:
        return ["/bin/sh", "-c", text]
    if found := _shell_syntax(text):
        raise wrong(
            f"holds `{found}`, which a shell would have to read, and none is started unless it is asked for; "
            "write `shell: true` beside it, or give a list"
        )
    try:
        return shlex.split(text)
    except ValueError:
        raise wrong("holds a quote that is not closed; close it") from None


def _shell_syntax(text: str) -> str | None:
    """The first thing in a command that only a shell understands."""
    for match in _SHELL_SYNTAX.finditer(text):
        if match["syntax"]:
            return "a line break" if match["syntax"] == "\n" else match["syntax"]
    first = text.split(maxsplit=1)[0]
    if re.match(r"[A-Za-z_][A-Za-z0-9_]*=", first):
        return first[:40]
    return None


def _check_placeholders(arguments: list[str]) -> None:
    text = " ".join(arguments)
    if missing := [name for name in _PLACEHOLDERS[:3] if name not in text]:
        raise wrong(f"has no {missing[0]}; give {', '.join(_PLACEHOLDERS[:3])} a place among the arguments")
    for found in re.findall(r"\{[a-z_]+\}", text):
        if found not in _PLACEHOLDERS:
            raise wrong(f"holds {found}, which stands for nothing; known are {', '.join(_PLACEHOLDERS)}")


CommandLine = Annotated[
    tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]


class Commands(Section):
    """The programs that read and set a unit of model `external`. They run in the folder of the configuration file."""

    shell: Flag = Field(
        default=False, description="true to have /bin/sh read the commands, which are text then, or false"
    )
    ping: CommandLine | None = Field(
        default=None,
        description="a command that exits with 0 if the unit is there; left out: get_channels has to do",
        examples=[["ping", "-c1", "-W1", "192.168.50.60"]],
    )
    get_channels: CommandLine = Field(
        description="a command that prints the channels as JSON, as a list of the program and its arguments",
        examples=[["./read-relays", "192.168.50.60"]],
    )
    set: CommandLine | None = Field(
        default=None,
        description="a command that sets something, with {channel}, {field} and {value} among its arguments",
        examples=[["./set-relay", "192.168.50.60", "{channel}", "{field}", "{value}"]],
    )
    timeout: float = Field(
        default=5.0, gt=0, le=60, description="the seconds that a command may take, above 0, up to 60"
    )
    output_limit: int = Field(
        default=65536, ge=256, le=16_777_216, description="the most bytes that a command may print, 256 to 16777216"
    )
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Text] = Field(
        default_factory=dict,
        description="a mapping of environment variables, all that the commands get beside PATH, HOME, LANG",
    )

"""Errors as JSON: the output of a command that was given ``--json`` and failed."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

#: ``FILE:LINE: KEY.PATH: what is wrong``, as faults of series files are told; the line and the key may be missing.
_FAULT = re.compile(r"(?P<file>.+?)(?::(?P<line>\d+))?: (?:(?P<key>[\w.\[\]-]+): )?(?P<message>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Error:
    """One thing that is wrong: a sentence, and its place in a file, if it has one.

    ``key``: the key path there, or an option of the command. ``unit``, ``code``: of a command that was refused or not answered.
    """

    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    unit: str | None = None
    code: str | None = None

    @classmethod
    def of_fault(cls, text: str) -> Error:
        """The error that the line of a fault tells of."""
        found = _FAULT.fullmatch(text)
        if found is None:
            return cls(text)
        line = found["line"]
        return cls(found["message"], found["file"], None if line is None else int(line), found["key"])

    def as_dict(self) -> dict[str, Any]:
        """The error for JSON: file, line, key and message, and the others if they are known."""
        told = dict.fromkeys(("file", "line", "key")) | asdict(self)
        return {name: value for name, value in told.items() if value is not None or name not in ("unit", "code")}


def document(errors: Iterable[Error], **more: Any) -> str:
    """One JSON document: ``ok`` false and the errors. In ASCII, for any terminal."""
    return json.dumps({"ok": False, **more, "errors": [error.as_dict() for error in errors]})


def is_json_wanted(arguments: Sequence[str]) -> bool:
    """True if ``--json`` is among the arguments of a command, which may be wrong otherwise."""
    return "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)


def errors_of(error: BaseException) -> list[Error]:
    """The errors that an exception tells the user of, which ends a command."""
    if hasattr(error, "as_errors"):
        found: list[Error] = error.as_errors()
        return found
    if isinstance(error, click.ClickException):
        parameter = getattr(error, "param", None)
        name = None if parameter is None else (parameter.opts or [parameter.name])[0]
        return [Error(error.format_message(), key=getattr(error, "option_name", None) or name)]
    return [Error(" ".join(str(error).split()))]


def tell(errors: Iterable[Error]) -> None:
    """Print them as one JSON document, if the command was given ``--json``."""
    if is_json_wanted(sys.argv[1:]):
        with contextlib.suppress(OSError):  # the exit code says that something is wrong in any case
            click.echo(document(errors))

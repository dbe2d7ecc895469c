"""The check of `pyvisa_args:`, which are handed to pyvisa's open_resource() as they are."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

from agent.config.explanations import shown
from agent.config.faults import FaultList
from agent.config.scalars import plain
from agent.config.source import KeyPath
from agent.instruments import options

#: ms. A longer timeout gets a warning.
_LONG_TIMEOUT = 30_000


def _is_number(value: object, least: float, whole: bool = False) -> bool:
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and value >= least  # type: ignore[operator,arg-type]


def _milliseconds(value: object) -> bool:
    return _is_number(value, 1) and value <= 3_600_000  # type: ignore[operator]


def _is_ascii(value: object) -> bool:
    return isinstance(value, str) and value.isascii()


def _is_read_termination(value: object) -> bool:
    # pyvisa reads up to the last character, and refuses one that stands before, too.
    return value is None or (isinstance(value, str) and value.isascii() and not (value and value[-1] in value[:-1]))


def _is_encoding(value: object) -> bool:
    try:
        return isinstance(value, str) and "*IDN?".encode(value).decode(value) == "*IDN?"
    except (LookupError, ValueError):
        return False


#: The arguments of pyvisa's open_resource() that are used most: what they take, and the check of a value.
_KNOWN: dict[str, tuple[str, Callable[[object], bool]]] = {
    "open_timeout": ("whole milliseconds, 1 to 3600000", lambda value: _milliseconds(value) and isinstance(value, int)),
    "timeout": ("milliseconds, 1 to 3600000", _milliseconds),
    "read_termination": ('text such as "\\n", or null', _is_read_termination),
    "write_termination": ('text such as "\\n", or null', lambda value: value is None or _is_ascii(value)),
    "chunk_size": ("whole bytes, from 1", lambda value: _is_number(value, 1, whole=True)),
    "query_delay": ("seconds, from 0", lambda value: _is_number(value, 0)),
    "send_end": ("true or false", lambda value: isinstance(value, bool)),
    "encoding": ("the name of a text encoding, such as ascii", _is_encoding),
    "access_mode": ("a whole number, 0 for no lock", lambda value: _is_number(value, 0, whole=True)),
    "baud_rate": ("bits per second, from 1", lambda value: _is_number(value, 1, whole=True)),
    "data_bits": ("5, 6, 7 or 8", lambda value: isinstance(value, int) and value in (5, 6, 7, 8)),
}
#: Those that are checked by `agent.instruments.options`, and that a slip of the pen may mean.
_OTHERS = ("stop_bits", "parity", "flow_control")


def check_pyvisa_args(path: KeyPath, args: object, faults: FaultList, uri: str | None = None) -> None:
    """Note the faults of a unit's `pyvisa_args`.

    :param uri: the unit's resource name; None where it has a fault itself
    """
    for name, value in args.items() if isinstance(args, dict) else ():
        here = (*path, name)
        if not isinstance(name, str) or not faults.is_sound(here):
            continue
        if message := _fault(here, name, value, faults, uri):
            faults.add(here, message)
        elif name in ("timeout", "open_timeout") and plain(value) > _LONG_TIMEOUT:
            faults.warn(
                here,
                f"commands to this unit, off included, wait for up to {plain(value) / 1000:g} s while it does not answer; "
                f"give up to {_LONG_TIMEOUT} ms",
            )


def _fault(path: KeyPath, name: str, value: Any, faults: FaultList, uri: str | None) -> str | None:
    if name in ("resource_name", "resource_pyclass"):
        return "can't be given here; give arguments of pyvisa's open_resource() such as open_timeout"
    if not options.is_known(name):
        near = difflib.get_close_matches(name, [*_KNOWN, *_OTHERS], n=1, cutoff=0.8)
        mean = (
            f"; did you mean {near[0]}?"
            if near
            else "; give arguments of pyvisa's open_resource() such as open_timeout"
        )
        return f"unknown argument{mean}"
    if not options.is_known(name, uri):
        return f"is no argument of a link to {str(uri)[:60]}; take it out"
    right = _wrong(name, plain(value))
    if right is not None:
        return f"{shown(faults.source, path, value)} is not right here; give {right}"
    if name.endswith("_termination") and isinstance(value, str) and "\\" in value:
        fixed = value.replace("\\n", "\n").replace("\\r", "\r")
        return (
            f"{shown(faults.source, path, value)} holds a backslash, not a control character; "
            f"in double quotes YAML reads it: {name}: {_double_quoted(fixed)}"
        )
    return None


def _wrong(name: str, value: Any) -> str | None:
    """What would be right, if the value is not."""
    if name in _KNOWN:
        right, is_right = _KNOWN[name]
        return None if is_right(value) else right
    try:
        options.converted(name, value)
    except ValueError:
        return options.right_values(name)
    return None


def _double_quoted(text: str) -> str:
    return '"' + text.replace("\r", "\\r").replace("\n", "\\n") + '"'

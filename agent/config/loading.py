"""Reading the configuration file.

`load` reads a file into a `Config` or raises `ConfigError` with every fault of the file at once. Nothing here opens a
connection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config import checks, psudaemon, source
from agent.config.explanations import explain, with_right
from agent.config.faults import ConfigError, Fault, FaultList
from agent.config.ownseries import take_series
from agent.config.schema import Config
from agent.config.source import KeyPath, Source
from agent.config.units import UNIT_EXAMPLE

ENVIRONMENT_VARIABLE = "PSU_AGENT_CONF"
FILE_NAME = "psu-agent.yaml"
SYSTEM_FILE = Path("/etc/psu-agent") / FILE_NAME


def find(path: str | os.PathLike[str] | None = None) -> Path:
    """The file to use: `path`, ``$PSU_AGENT_CONF``, ``./psu-agent.yaml`` or ``/etc/psu-agent/psu-agent.yaml``.

    The last one also where its folder is closed to this user, who is told so when it is read.

    :raises ConfigError: nothing was named and neither of the two files is there
    """
    named = path or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    if os.path.exists(FILE_NAME):
        return Path(FILE_NAME)
    try:
        if SYSTEM_FILE.exists():
            return SYSTEM_FILE
    except PermissionError:
        return SYSTEM_FILE
    places = f"./{FILE_NAME} nor {SYSTEM_FILE}"
    message = f"no configuration file: there is neither {places}; name one, or set ${ENVIRONMENT_VARIABLE}"
    raise ConfigError([Fault("psu-agent", 0, "", message)])


def load(path: str | os.PathLike[str], *, units_required: bool = True) -> Config:
    """Read a configuration file.

    :param units_required: False for callers that need the broker's settings alone
    :raises ConfigError: with every fault of the file
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(source.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        message = f"can't be read: {reason}; give the path of a configuration file"
        raise ConfigError([Fault(str(path), 0, "", message)]) from None
    return parse(content, path, units_required=units_required)


def parse(content: bytes, path: Path, *, units_required: bool = True) -> Config:
    """Read a configuration's text as if it stood in the file `path`.

    :raises ConfigError: with every fault in it
    """
    return _checked(source.read(content), str(path), path.parent, path, units_required=units_required)


def from_data(data: Mapping[str, Any], folder: Path = Path()) -> Config:
    """A configuration from plain data instead of a file; relative paths in it are relative to `folder`.

    :raises ConfigError: with every fault in it
    """
    return _checked(source.from_data(dict(data)), "configuration", folder, None, units_required=True)


def _checked(document: Source, name: str, folder: Path, path: Path | None, *, units_required: bool) -> Config:
    """Check one document. Faults of the schema and faults between fields are told together.

    :param name: the file's name, as faults tell it
    :param path: the file, None where the data came from no file
    """
    faults = FaultList(document, name)
    psudaemon.adopt_keys(document, faults)
    data = document.data
    config = password = None
    series_faults: list[str] = []
    if data is None and not faults:
        faults.add((), f"the file is empty; give `units:` with at least one supply, such as {UNIT_EXAMPLE}")
    elif not isinstance(data, dict | None):
        faults.add((), "is no mapping; give `settings:` and `units:`")
    elif data is not None:
        series_faults = take_series(data, folder)
        config = _validate(_trimmed(data, units_required), faults, folder)
        if isinstance(data.get("settings", {}) or {}, dict):
            password = checks.check_settings(data.get("settings") or {}, faults, folder)
        if isinstance(data.get("units"), list):
            if not data["units"] and units_required:
                faults.add(("units",), f"is empty; give at least one supply, such as {UNIT_EXAMPLE}")
            checks.check_units(data["units"], faults)
    if faults:
        raise ConfigError(faults.in_order())
    assert config is not None
    if password is not None:
        config = config.with_password(password)
    config.set_origin(path, faults.warnings, series_faults)
    return config


def _validate(data: dict[str, Any], faults: FaultList, folder: Path) -> Config | None:
    """The configuration as far as the schema has no fault to find; None where it has."""
    nulls = dict.fromkeys(_nulls(data, ()))  # in the order of the file, so that faults are too
    config = None
    try:
        config = Config.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        for details in error.errors(include_url=False):
            path = tuple(part for part in details["loc"] if part != "[key]")
            if details["type"] == "extra_forbidden":
                nulls.pop(path, None)
            if details["type"] != "default_factory_not_called" and path not in nulls and faults.is_readable(path):
                faults.add(path, explain(faults.source, path, details))
    for path in nulls:
        if faults.is_readable(path):
            why = "has no value; take the key out"
            if faults.source.is_commented_out(path):
                why = "has no value, as `#` begins a comment; put the value in quotes, take the key out,"
            faults.add(path, with_right(why, path, " or give "))
    return config


def _trimmed(data: dict[str, Any], units_required: bool) -> dict[str, Any]:
    """The data without the places for anchors (``x-…``), and with empty mappings for sections that have no value."""
    trimmed = {key: value for key, value in data.items() if not str(key).startswith("x-")}
    if not units_required:
        trimmed.setdefault("units", [])
    if "settings" in trimmed and trimmed["settings"] is None:
        trimmed["settings"] = {}
    settings = trimmed.get("settings")
    if isinstance(settings, dict):
        trimmed["settings"] = {
            key: {} if value is None and key in ("mqtt", "uvicorn") else value for key, value in settings.items()
        }
    units = trimmed.get("units")
    if isinstance(units, list):
        trimmed["units"] = [_unit_with_sections(unit) if isinstance(unit, dict) else unit for unit in units]
    return trimmed


def _unit_with_sections(unit: dict[str, Any]) -> dict[str, Any]:
    unit = {key: {} if value is None and key in ("pyvisa_args", "channels") else value for key, value in unit.items()}
    channels = unit.get("channels")
    if isinstance(channels, dict):
        unit["channels"] = {key: {} if value is None else value for key, value in channels.items()}
    return unit


def _nulls(value: object, path: KeyPath) -> list[KeyPath]:
    """The paths of keys without a value. Arguments of pyvisa may be null, so those are left out."""
    if value is None:
        return [path]
    if path and path[-1] in ("pyvisa_args", "uvicorn"):
        return []
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [null for key, item in items for null in _nulls(item, (*path, key))]

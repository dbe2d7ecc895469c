"""Reading the configuration file, and its faults told by line.

`load` reads a file into a `Config` or raises `ConfigError` with every fault of the file at once. Nothing here opens a
connection.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from agent.config import yamlsource
from agent.config.schema import (
    UNIT_EXAMPLE,
    Backlog,
    Channel,
    Config,
    HomeAssistant,
    Mqtt,
    Settings,
    Tls,
    Unit,
    as_text,
    channel_number,
    json_schema,
)
from agent.instruments import catalogue as models
from agent.instruments import resource

__all__ = [
    "Backlog",
    "Channel",
    "Config",
    "ConfigError",
    "Fault",
    "HomeAssistant",
    "Mqtt",
    "Settings",
    "Tls",
    "Unit",
    "find",
    "from_data",
    "json_schema",
    "load",
    "parse",
]

ENVIRONMENT_VARIABLE = "PSU_AGENT_CONF"
FILE_NAME = "psu-agent.yaml"
SYSTEM_FILE = Path("/etc/psu-agent") / FILE_NAME


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file. Prints as ``FILE:LINE: KEY.PATH: what is wrong and what would be right``."""

    file: str
    line: int  #: from 1; 0 where no line is meant: a file that is not there, data that came from no file
    key: str  #: key path, ``units[1].channels.2.voltage_max``; empty for the file as a whole
    message: str

    def __str__(self) -> str:
        file = self.file if self.file.isprintable() else ascii(self.file)
        return f"{file}{f':{self.line}' if self.line else ''}: {f'{self.key}: ' if self.key else ''}{self.message}"


class ConfigError(Exception):
    """The configuration can't be used. `faults` holds everything that is wrong with it, in the order of its lines."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


def find(path: str | os.PathLike[str] | None = None) -> Path:
    """The file to use: `path`, ``$PSU_AGENT_CONF``, ``./psu-agent.yaml`` or ``/etc/psu-agent/psu-agent.yaml``.

    :raises ConfigError: nothing was named and neither of the two files is there
    """
    named = path or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    for place in (Path(FILE_NAME), SYSTEM_FILE):
        if place.exists():
            return place
    places = f"./{FILE_NAME} nor {SYSTEM_FILE}"
    message = f"no configuration file: there is neither {places}; name one, or set ${ENVIRONMENT_VARIABLE}"
    raise ConfigError([Fault("psu-agent", 0, "", message)])


def load(path: str | os.PathLike[str], *, units_required: bool = True) -> Config:
    """Read a configuration file.

    :param units_required: False for those who only want the broker's settings
    :raises ConfigError: with every fault of the file
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(yamlsource.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        message = f"can't be read: {reason}; give the path of a configuration file"
        raise ConfigError([Fault(str(path), 0, "", message)]) from None
    return parse(content, path, units_required=units_required)


def parse(content: bytes, path: Path, *, units_required: bool = True) -> Config:
    """Read a configuration's text as if it stood in the file `path`.

    :raises ConfigError: with every fault in it
    """
    return _Check(yamlsource.read(content), str(path), path.parent, units_required).config(path)


def from_data(data: Mapping[str, Any], folder: Path = Path()) -> Config:
    """A configuration from plain data instead of a file; relative paths in it are relative to `folder`.

    :raises ConfigError: with every fault in it
    """
    return _Check(yamlsource.from_data(dict(data)), "configuration", folder, True).config(None)


class _Check:
    """One pass over one document. Schema faults and faults between fields are told together."""

    def __init__(self, source: yamlsource.Source, file: str, folder: Path, units_required: bool) -> None:
        self._source = source
        self._file = file
        self._folder = folder
        self._units_required = units_required
        self._faults: dict[tuple[str, str], Fault] = {}
        self._faulty: set[yamlsource.Path] = set()  # every path with a fault at it or in it
        self._unreadable = {problem.place.key for problem in source.problems}
        self._password: SecretStr | None = None
        self._warnings: list[Fault] = []

    def config(self, path: Path | None) -> Config:
        self._adopt_psudaemons_keys()
        for problem in self._source.problems:
            fault = Fault(self._file, problem.place.line, problem.place.key, problem.message)
            self._faults[f"{problem.place.line} {problem.place.key}", problem.message] = fault
        data = self._source.data
        config: Config | None = None
        if data is None and not self._faults:
            self._fault((), f"the file is empty; give `units:` with at least one supply, such as {UNIT_EXAMPLE}")
        elif not isinstance(data, dict | None):
            self._fault((), "is no mapping; give `settings:` and `units:`")
        elif data is not None:
            config = self._validate(self._trimmed(data))
            self._between_fields(data)
        if self._faults:
            raise ConfigError(sorted(self._faults.values(), key=lambda fault: fault.line))
        assert config is not None
        if self._password is not None:
            mqtt = config.settings.mqtt.model_copy(update={"password": self._password})
            config = config.model_copy(update={"settings": config.settings.model_copy(update={"mqtt": mqtt})})
        config._path = path
        config._warnings = tuple(self._warnings)
        return config

    def _adopt_psudaemons_keys(self) -> None:
        """A unit written for PSUDaemon may hold ``channel_data``, which is what it saves, and ``channel_indices``."""
        units = self._source.data.get("units") if isinstance(self._source.data, dict) else None
        for i, unit in enumerate(units if isinstance(units, list) else []):
            if not isinstance(unit, dict):
                continue
            path: yamlsource.Path = ("units", i)
            if "channel_indices" in unit:
                self._warn((*path, "channel_indices"), "is not used: which channels there are is known of the model")
                del unit["channel_indices"]
            if "channel_data" not in unit:
                continue
            if "channels" in unit:
                self._fault((*path, "channel_data"), "stands beside channels; move what it holds there")
                del unit["channel_data"]
                continue
            channels = unit["channels"] = unit.pop("channel_data")
            for place in [place for place in self._source.places if place[:3] == (*path, "channel_data")]:
                self._source.places[*path, "channels", *place[3:]] = self._source.places[place]
            for settings in channels.values() if isinstance(channels, dict) else []:
                if isinstance(settings, dict):
                    for key in [key for key, value in settings.items() if value is None]:
                        del settings[key]

    def _trimmed(self, data: dict[str, Any]) -> dict[str, Any]:
        """Without the places for anchors (``x-…``) and with empty sections as such."""
        trimmed = {key: value for key, value in data.items() if not str(key).startswith("x-")}
        if not self._units_required:
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

    def _validate(self, data: dict[str, Any]) -> Config | None:
        nulls = set(_nulls(data, ()))
        config = None
        try:
            config = Config.model_validate(data, context={"folder": self._folder})
        except ValidationError as error:
            for details in error.errors(include_url=False):
                path = tuple(part for part in details["loc"] if part != "[key]")
                if details["type"] == "extra_forbidden":
                    nulls.discard(path)
                if details["type"] != "default_factory_not_called" and path not in nulls:
                    self._schema_fault(path, details)
        for path in nulls:
            if self._source.place(path).key not in self._unreadable:
                self._fault(path, _with_right("has no value; take the key out", path, " or give "))
        return config

    def _schema_fault(self, path: yamlsource.Path, details: ErrorDetails) -> None:
        if self._source.place(path).key in self._unreadable - {""}:
            return
        kind = details["type"]
        if kind == "extra_forbidden":
            self._fault(path, _unknown_key(path))
        elif kind == "missing":
            self._fault(path, _with_right("is missing", path))
        elif kind == "wrong_value":
            self._fault(path, f"{self._shown(path, details['input'])} {details['ctx']['message']}")
        elif kind == "wrong_value_shown":
            self._fault(path, str(details["ctx"]["message"]))
        elif "[key]" in details["loc"] and path[-2:-1] == ("pyvisa_args",):
            self._fault(path, "is no argument; give arguments of pyvisa's open_resource() such as open_timeout")
        elif "[key]" in details["loc"]:
            self._fault(path, "is no channel number; give the number on the front panel, from 1")
        else:
            wrong = _WRONG_KINDS.get(kind, "is not right here")
            if kind in ("int_type", "float_type") and _is_written_number(details["input"]):
                wrong = "is in quotes, which makes it text"
            self._fault(path, _with_right(f"{self._shown(path, details['input'])} {wrong}", path))

    def _shown(self, path: yamlsource.Path, value: object) -> str:
        """The value as the file has it, in quotes; never a secret, never what a variable stands for."""
        if path and path[-1] == "password":
            return "the value (not shown)"
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list | tuple):
            return "a list"
        written = self._source.place(path).written
        if written is None:
            written = str(value)
        written = re.sub(r"(?<=:)[^:@/]+(?=@)", "***", written)
        shown = repr(written) if written.isprintable() else ascii(written)
        return shown if len(shown) <= 80 else shown[:76] + "…'"

    def _between_fields(self, data: dict[str, Any]) -> None:
        settings = data.get("settings")
        if isinstance(settings, dict):
            if "uvicorn" in settings:
                self._warn(("settings", "uvicorn"), "not used: this agent serves no HTTP; take it out")
            mqtt = settings.get("mqtt")
            if isinstance(mqtt, dict):
                self._broker(mqtt)
        units = data.get("units")
        if units is None and "units" not in data and not self._units_required:
            return
        if isinstance(units, list):
            if not units and self._units_required:
                self._fault(("units",), f"is empty; give at least one supply, such as {UNIT_EXAMPLE}")
            self._units(units)

    def _broker(self, mqtt: dict[str, Any]) -> None:
        path: yamlsource.Path = ("settings", "mqtt")
        secrets = [key for key in ("password", "password_file") if mqtt.get(key) is not None]
        if len(secrets) == 2:
            self._fault((*path, "password_file"), "stands beside password; give one of the two")
        elif secrets and mqtt.get("username") is None:
            self._fault((*path, secrets[0]), "stands without username; give both, MQTT has no password alone")
        if secrets == ["password_file"] and self._sound((*path, "password_file")):
            self._password_file((*path, "password_file"), mqtt)
        tls = mqtt.get("tls")
        if isinstance(tls, dict):
            if "key" in tls and "cert" not in tls:
                self._fault((*path, "tls", "key"), "stands without cert; give both or neither")
            if "cert" in tls and "key" not in tls:
                self._fault((*path, "tls", "cert"), "stands without key; give both or neither")
            if tls.get("insecure") is True:
                self._warn((*path, "tls", "insecure"), "the broker's certificate is not checked against its name")

    def _password_file(self, path: yamlsource.Path, mqtt: dict[str, Any]) -> None:
        file = self._folder / Path(str(as_text(mqtt["password_file"]))).expanduser()
        give = "give a file that holds the password"
        try:
            with file.open("rb") as stream:
                content = stream.read(65537)
            password = content.decode().rstrip("\r\n")
        except OSError as error:
            self._fault(path, f"can't be read ({file}: {error.strerror}); {give} and that this user may read")
            return
        except UnicodeDecodeError:
            self._fault(path, f"{file} is no text; {give}")
            return
        if not password:
            self._fault(path, f"{file} is empty; {give}")
        elif len(content) > 65535:
            self._fault(path, f"{file} is longer than the 65535 bytes that MQTT allows; {give}")
        else:
            self._password = SecretStr(password)

    def _units(self, units: list[Any]) -> None:
        names: dict[str, str] = {}
        addresses: dict[tuple[str, ...], str] = {}
        for i, unit in enumerate(units):
            if not isinstance(unit, dict):
                continue
            path: yamlsource.Path = ("units", i)
            place = self._source.place(path).key
            if self._sound((*path, "name")) and "name" in unit:
                name = str(as_text(unit["name"]))
                if name in names:
                    self._fault((*path, "name"), f"{name!r} is {names[name]}'s name too; give each unit its own")
                names.setdefault(name, place)
            external = unit.get("model") == models.EXTERNAL
            self._kind(path, unit, external)
            if self._sound((*path, "uri")) and "uri" in unit and not external:
                uri = str(as_text(unit["uri"]))
                backend = str(unit.get("visabackend", "@py"))
                # Simulated instruments of different files are different ones.
                key = (backend if backend.endswith("@sim") else "", *resource.same_instrument_key(uri))
                if key in addresses:
                    message = f"{uri!r} is the address of {addresses[key]} too; give each unit its own"
                    self._fault((*path, "uri"), message)
                addresses.setdefault(key, place)
            self._pyvisa_args((*path, "pyvisa_args"), unit)
            self._channels((*path, "channels"), unit)

    def _kind(self, path: yamlsource.Path, unit: dict[str, Any], external: bool) -> None:
        """What a unit on VISA needs, and what one of model `external` does."""
        if external:
            if "commands" not in unit:
                self._fault((*path, "commands"), _with_right("is missing", (*path, "commands")))
            for key in ("pyvisa_args", "visabackend"):
                if key in unit:
                    self._fault((*path, key), "has no meaning with model external; take it out")
            self._needs_set(path, unit)
            return
        if "uri" not in unit:
            self._fault((*path, "uri"), _with_right("is missing", (*path, "uri")))
        if "commands" in unit:
            self._fault((*path, "commands"), "has no meaning with this model; take it out, or give `model: external`")

    def _needs_set(self, path: yamlsource.Path, unit: dict[str, Any]) -> None:
        commands, channels = unit.get("commands"), unit.get("channels")
        if not isinstance(channels, dict) or (isinstance(commands, dict) and "set" in commands):
            return
        for key, channel in channels.items():
            if isinstance(channel, dict) and channel.get("on_broker_loss") == "off":
                self._fault((*path, "channels", key, "on_broker_loss"), "needs the unit's commands.set; give that too")

    def _pyvisa_args(self, path: yamlsource.Path, unit: dict[str, Any]) -> None:
        args = unit.get("pyvisa_args")
        if not isinstance(args, dict):
            return
        for name, value in args.items():
            here = (*path, name)
            if not self._sound(here):
                continue
            if not isinstance(name, str):
                continue
            if name in ("resource_name", "resource_pyclass"):
                self._fault(
                    here, "can't be given here; give arguments of pyvisa's open_resource() such as open_timeout"
                )
                continue
            expected = _PYVISA_ARGS.get(name)
            if expected is not None:
                right, accepts = expected
                if not accepts(yamlsource.plain(value)):
                    self._fault(here, f"{self._shown(here, value)} is not right here; give {right}")
                elif name.endswith("_termination") and isinstance(value, str) and "\\" in value:
                    fixed = value.replace("\\n", "\n").replace("\\r", "\r")
                    self._fault(
                        here,
                        f"{self._shown(here, value)} holds a backslash, not a control character; "
                        f"in double quotes YAML reads it: {name}: {_double_quoted(fixed)}",
                    )
            elif near := difflib.get_close_matches(name, _PYVISA_ARGS, n=1, cutoff=0.8):
                self._fault(here, f"unknown argument; did you mean {near[0]}?")

    def _channels(self, path: yamlsource.Path, unit: dict[str, Any]) -> None:
        channels = unit.get("channels")
        if not isinstance(channels, dict):
            return
        candidates: tuple[models.Model, ...] = ()
        if "model" in unit and self._sound((*path[:-1], "model")):
            candidates = models.candidates(str(as_text(unit["model"])))
        given: dict[int, tuple[yamlsource.Path, dict[str, Any]]] = {}
        for key, channel in channels.items():
            number = channel_number(key)
            if not isinstance(number, int):
                continue
            given[number] = ((*path, key), channel if isinstance(channel, dict) else {})
        external = unit.get("model") == models.EXTERNAL  # which channels it has only its programs tell
        indices = sorted({channel.index for model in candidates for channel in model.channels})
        model_name = "/".join(model.name for model in candidates)
        names: dict[str, str] = {}
        for number, (here, channel) in given.items():
            if indices and number not in indices:
                known = ", ".join(str(index) for index in indices)
                self._fault(here, f"{model_name} has no channel {number}; give one of {known}")
            elif number < (0 if external else 1):
                self._fault(here, f"{number} is no channel number; give the number on the front panel, from 1")
            name = channel.get("name")
            if name is not None and self._sound((*here, "name")):
                text = str(as_text(name))
                if text in names:
                    self._fault((*here, "name"), f"{text!r} is {names[text]}'s name too; give each channel its own")
                names.setdefault(text, f"channel {number}")
        for number, (here, channel) in given.items():
            name = str(as_text(channel.get("name")))
            for index in indices:
                if index != number and name == f"CH{index}" and "name" not in given.get(index, ((), {}))[1]:
                    self._fault(
                        (*here, "name"), f"{name!r} is channel {index}'s name unless it has another; give another"
                    )
            self._limits(here, channel, number, candidates, model_name)
            for setting, limit in (("voltage_limit", "voltage_max"), ("current_limit", "current_max")):
                value, most = channel.get(setting), channel.get(limit)
                if not (isinstance(value, int | float) and isinstance(most, int | float)):
                    continue
                if self._sound((*here, setting)) and self._sound((*here, limit)) and abs(value) > most:
                    self._fault((*here, setting), f"{value:g} is more than the {limit} of {most:g}; give less")

    def _limits(
        self,
        path: yamlsource.Path,
        channel: dict[str, Any],
        number: int,
        candidates: tuple[models.Model, ...],
        model_name: str,
    ) -> None:
        outputs = [output for model in candidates for output in model.channels if output.index == number]
        if not outputs:
            return
        for key, unit, ranges in (
            ("voltage_max", "V", [output.voltage for output in outputs]),
            ("current_max", "A", [output.current for output in outputs]),
        ):
            value = channel.get(key)
            most = max((max(abs(limits.min), abs(limits.max)) for limits in ranges if limits), default=math.inf)
            if isinstance(value, int | float) and self._sound((*path, key)) and value > most:
                self._fault(
                    (*path, key),
                    f"{value:g} {unit} is more than channel {number} of {model_name} can be set to; "
                    f"give a number above 0, up to {most:g} {unit}",
                )

    def _sound(self, path: yamlsource.Path) -> bool:
        """No fault has been found at `path` or in it."""
        return path not in self._faulty and self._source.place(path).key not in self._unreadable

    def _fault(self, path: yamlsource.Path, message: str) -> None:
        place = self._source.place(path)
        self._faults.setdefault((place.key, message), Fault(self._file, place.line, place.key, message))
        self._faulty.update(path[:length] for length in range(len(path) + 1))

    def _warn(self, path: yamlsource.Path, message: str) -> None:
        place = self._source.place(path)
        self._warnings.append(Fault(self._file, place.line, place.key, message))


def _unit_with_sections(unit: dict[str, Any]) -> dict[str, Any]:
    unit = {key: {} if value is None and key in ("pyvisa_args", "channels") else value for key, value in unit.items()}
    channels = unit.get("channels")
    if isinstance(channels, dict):
        unit["channels"] = {key: {} if value is None else value for key, value in channels.items()}
    return unit


def _nulls(value: object, path: yamlsource.Path) -> list[yamlsource.Path]:
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


def _without_none(annotation: Any) -> Any:
    """The type itself of an ``Annotated`` or optional one."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
        else:
            return annotation


def _schema_at(path: yamlsource.Path) -> tuple[Any, str | None]:
    """The type that the schema wants at `path`, and its description."""
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


def _with_right(wrong: str, path: yamlsource.Path, give: str = "; give ") -> str:
    """What is wrong, and from the schema what would be right."""
    kind, description = _schema_at(path)
    if description is None and isinstance(kind, type) and issubclass(kind, BaseModel):
        description = f"a mapping of {', '.join(kind.model_fields)}"
    return f"{wrong}{give}{description}" if description else wrong


def _unknown_key(path: yamlsource.Path) -> str:
    section, _ = _schema_at(path[:-1])
    known = list(section.model_fields) if section is not None else []
    key = str(path[-1])
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.7):
        return f"unknown key; did you mean {near[0]}?"
    for place, other in (("settings", Settings), ("settings.mqtt", Mqtt), ("settings.mqtt.tls", Tls), ("a unit", Unit)):
        if other is not section and key in other.model_fields:
            return f"unknown key here; it belongs in {place}"
    return f"unknown key; known here: {', '.join(known)}"


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


def _is_written_number(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,20}(\.\d{1,20})?", value) is not None


def _is_number(value: object, least: float, whole: bool = False) -> bool:
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and value >= least  # type: ignore[operator,arg-type]


def _milliseconds(value: object) -> bool:
    return _is_number(value, 1) and value <= 3_600_000  # type: ignore[operator]


#: Arguments of pyvisa's open_resource() that are met most, what they take, and whether a value is that.
_PYVISA_ARGS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "open_timeout": ("whole milliseconds, 1 to 3600000", lambda value: _milliseconds(value) and isinstance(value, int)),
    "timeout": ("milliseconds, 1 to 3600000", _milliseconds),
    "read_termination": ('text such as "\\n", or null', lambda value: value is None or isinstance(value, str)),
    "write_termination": ('text such as "\\n", or null', lambda value: value is None or isinstance(value, str)),
    "chunk_size": ("whole bytes, from 1", lambda value: _is_number(value, 1, whole=True)),
    "query_delay": ("seconds, from 0", lambda value: _is_number(value, 0)),
    "send_end": ("true or false", lambda value: isinstance(value, bool)),
    "encoding": ("the name of a text encoding, such as ascii", lambda value: isinstance(value, str)),
    "access_mode": ("a whole number, 0 for no lock", lambda value: _is_number(value, 0, whole=True)),
    "baud_rate": ("bits per second, from 1", lambda value: _is_number(value, 1, whole=True)),
    "data_bits": ("5, 6, 7 or 8", lambda value: value in (5, 6, 7, 8)),
}


def _double_quoted(text: str) -> str:
    return '"' + text.replace("\r", "\\r").replace("\n", "\\n") + '"'

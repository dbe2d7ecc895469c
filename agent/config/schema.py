"""The schema of the configuration file: every key, its type, range, default and what it means.

A field's description completes the sentence "give …": it is what a fault tells the user, and what an editor shows.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from agent.config import yamlsource
from agent.instruments import catalogue as models
from agent.instruments import resource

if TYPE_CHECKING:
    from agent.config.loading import Fault

#: Polls per second that an interval of 0 ("as fast as it answers") is taken for when the backlog is sized.
FASTEST_ASSUMED_RATE = 20.0
#: Channels of a unit that has not told yet how many it has, for the same purpose.
CHANNELS_ASSUMED = 4
UNIT_EXAMPLE = "{name: psu1, model: E36313A, uri: 'TCPIP::192.168.50.51::inst0::INSTR'}"

_RESERVED_UNITS = ("all", "agents")
#: A channel's name can stand in a topic where these words have a meaning.
_RESERVED_CHANNELS = ("set", "get", "state", "status", "info", "event", "response", "backlog", "metrics", "config")


def _wrong(message: str) -> PydanticCustomError:
    """A fault of one value; the message goes on where the value ends: ``'x y' is no unit name; give …``."""
    return PydanticCustomError("wrong_value", "{message}", {"message": message})


def as_text(value: object) -> object:
    """A number where text is wanted means its digits as they were written: a serial number, a password."""
    return value.written if isinstance(value, yamlsource.WrittenInt | yamlsource.WrittenFloat) else value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise _wrong("holds control characters; take them out")
    if value != value.strip():
        raise _wrong("begins or ends with a space; take it out")
    if not value:
        raise _wrong("is empty; give it a value or take the key out")
    return value


def _agent_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise _wrong("is no agent name; give up to 64 letters, digits, `_`, `.` or `-`")
    return value


def _unit_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise _wrong("is no unit name; give up to 64 letters, digits, `_` or `-`")
    if value.casefold() in _RESERVED_UNITS:
        raise _wrong("is reserved, it has a meaning in topics; give another name")
    return value


def _channel_name(value: str) -> str:
    if len(value) > 64:
        raise _wrong(f"is {len(value)} characters long; give up to 64")
    if found := next((character for character in "/+#" if character in value), None):
        raise _wrong(f"holds `{found}`, which has a meaning in topics; give a name without `/`, `+` and `#`")
    if value.isdigit():
        raise _wrong("is a number, which could be taken for another channel; give a name with a letter in it")
    if value.casefold() in _RESERVED_CHANNELS:
        raise _wrong("is reserved, it has a meaning in topics; give another name")
    return value


def check_channel_name(value: str) -> str:
    """A channel's name that somebody else gives, by the same rules.

    :raises ValueError: it is none, with the reason
    """
    try:
        return _channel_name(_printable(value))
    except PydanticCustomError as error:
        raise ValueError(error.message()) from None


def _topic(value: str) -> str:
    if len(value.encode()) > 512:
        raise _wrong("is longer than 512 bytes; give a shorter topic")
    if "+" in value or "#" in value:
        raise _wrong("holds a wildcard; give a topic without `+` and `#`")
    if not all(value.split("/")):
        raise _wrong(
            "has an empty level; give levels with one `/` between them and none at either end, such as lab3/psu"
        )
    if value.startswith("$"):
        raise _wrong("begins with `$`, which is the broker's own; give another topic")
    return value


def _host(value: str) -> str:
    if "://" in value:
        raise _wrong("is an address with a scheme; give the host alone, `port` and `tls` are keys of their own")
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    if not re.fullmatch(r"[\w.:%-]{1,253}", value):
        raise _wrong("is no host; give a host name or an IP address, such as localhost or 192.168.50.2")
    if re.fullmatch(r"[^:]*:\d+", value):
        raise _wrong("holds a port; give the host alone and the port as `port`")
    return value


def _uri(value: str, info: ValidationInfo) -> str:
    if info.data.get("model") == models.EXTERNAL:
        return value  # a note for people
    try:
        resource.parse(value)
    except resource.ResourceNameError as error:
        raise _wrong(str(error)) from None
    return value


def _model(value: str) -> str:
    try:
        models.candidates(value)
    except models.UnknownModelError as error:
        raise PydanticCustomError("wrong_value_shown", "{message}", {"message": str(error)}) from None
    return value


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


def _resolved(value: Path, info: ValidationInfo) -> Path:
    """Relative to the folder of the configuration file."""
    if not str(value).isprintable() or not value.name:
        raise _wrong("is no path; give the path of a file")
    try:
        value = value.expanduser()
    except RuntimeError:
        raise _wrong("names a home directory that is not there; give the whole path") from None
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def _readable(value: Path) -> Path:
    try:
        with value.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise _wrong(f"can't be read ({value}: {error.strerror}); give a file that this user may read") from None
    return value


def _seconds(value: object) -> object:
    """A duration: seconds, or a number with s, min, h or d behind it."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|m|h|d)", value)
        if match is None:
            raise _wrong("is no duration; give seconds, or a number with s, min, h or d behind it, such as 1h")
        return float(match[1]) * {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}[match[2]]
    return value


def _flag_or_section(value: object) -> object:
    """`true` stands for the section with its defaults, `false` for none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def _protocol(value: object) -> object:
    written = str(as_text(value))
    return {"5": "5", "5.0": "5", "3.1.1": "3.1.1"}.get(written, value)


def channel_number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value) else value


Text = Annotated[str, BeforeValidator(as_text), AfterValidator(_printable)]
FilePath = Annotated[
    Path,
    BeforeValidator(_path),
    BeforeValidator(as_text),
    AfterValidator(_resolved),
    WithJsonSchema({"type": "string"}),
]
Secret = Annotated[SecretStr, BeforeValidator(as_text), WithJsonSchema({"type": ["string", "number"]})]
Interval = Annotated[float, Field(ge=0, le=86400)]


def _host_name() -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname().partition(".")[0]).strip("-.")
    return name[:64] or "agent"


def _state_dir() -> Path:
    """systemd's StateDirectory=, else the XDG base directory specification's place for state."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path("~/.local/state").expanduser()) / "psu-agent"


class _OrFlag:
    """In the JSON Schema, `true` and `false` beside the section."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "boolean"}, handler(schema)]}


class _Section(BaseModel):
    # Strict: a quoted number, or a 1 for `true`, is more often a slip than meant.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True, validate_default=False
    )


class Tls(_Section):
    """How the connection to the broker is secured. TLS 1.2 or later; the broker's name is verified."""

    ca: Annotated[FilePath, AfterValidator(_readable)] | None = Field(
        default=None,
        description="the PEM file of the CA that signed the broker's certificate; left out: the system's CAs",
    )
    cert: Annotated[FilePath, AfterValidator(_readable)] | None = Field(
        default=None, description="the PEM file of this agent's certificate, where the broker asks for one"
    )
    key: Annotated[FilePath, AfterValidator(_readable)] | None = Field(
        default=None, description="the PEM file of the certificate's private key"
    )
    insecure: bool = Field(
        default=False,
        description="true to accept a broker whose certificate is for another name (for tests alone), or false",
    )


class Mqtt(_Section):
    """The broker, and where on it this agent speaks."""

    host: Annotated[Text, AfterValidator(_host)] = Field(
        default="localhost", description="the broker's host name or IP address", examples=["localhost", "192.168.50.2"]
    )
    tls: Annotated[
        Tls | None,
        BeforeValidator(_flag_or_section),
        _OrFlag(),
    ] = Field(default=None, description="true for TLS with the system's CAs, or {ca, cert, key}")
    port: int = Field(
        default_factory=lambda data: 8883 if data.get("tls") else 1883,
        ge=1,
        le=65535,
        description="the broker's TCP port, 1 to 65535; left out: 1883, with TLS 8883",
        examples=[1883, 8883],
    )
    username: Text | None = Field(default=None, description="the name to log in with")
    password: Secret | None = Field(
        default=None, description="the password to log in with; better: password_file, or ${NAME} of the environment"
    )
    password_file: FilePath | None = Field(
        default=None, description="a file that holds the password", examples=["/run/secrets/mqtt"]
    )
    base_topic: Annotated[Text, AfterValidator(_topic)] = Field(
        default="psu",
        description="the topic that everything stands under, of one or several levels",
        examples=["lab3/psu"],
    )
    protocol: Annotated[
        Literal["5", "3.1.1"], BeforeValidator(_protocol), WithJsonSchema({"enum": [5, "5", "3.1.1"], "default": 5})
    ] = Field(default="5", description="the MQTT version, 5 or 3.1.1")
    client_id: Annotated[Text, Field(max_length=128)] | None = Field(
        default=None,
        description="the MQTT client identifier, up to 128 characters; left out: made from the agent's name",
    )
    keepalive: int = Field(
        default=15,
        ge=2,
        le=65535,
        description="seconds, 2 to 65535: a silent link is noticed after one and a half of them",
    )


class HomeAssistant(_Section):
    """Home Assistant's MQTT discovery."""

    discovery_prefix: Annotated[Text, AfterValidator(_topic)] = Field(
        default="homeassistant", description="the topic that Home Assistant looks for devices under"
    )
    update_interval: Annotated[float, Field(ge=0.1, le=86400)] = Field(
        default=10.0,
        description="the seconds, 0.1 to 86400, between measurements that Home Assistant is told; what moves by more than "
        "noise, and what is switched or set, it is told at once",
    )


class Backlog(_Section):
    """How many samples are kept on disk while the broker is away. When it is full the oldest go."""

    samples: int | None = Field(
        default=None,
        ge=0,
        le=100_000_000,
        description="the most samples to keep, of all channels together; 0 keeps none",
    )
    age: Annotated[
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
    ] = Field(
        default=3600.0,
        ge=0,
        le=31_536_000,
        description="for how long samples are kept: seconds or a number with s, min, h or d behind it, up to 365d",
        examples=["1h", "30min", 7200],
    )


class Settings(_Section):
    """What holds for the agent as a whole."""

    agent: Annotated[Text, AfterValidator(_agent_name)] = Field(
        default_factory=_host_name,
        description="this agent's name, unique on the broker; left out: the host's name",
        examples=["bench3"],
    )
    poll_interval: Interval = Field(
        default=1.0, description="the seconds between polls of a unit, 0 (as fast as it answers) to 86400"
    )
    state_dir: FilePath = Field(
        default_factory=_state_dir,
        description="the directory for what outlives a restart: backlog, energy; left out: the user's state directory",
        examples=["/var/lib/psu-agent"],
    )
    backlog: Backlog = Field(
        default_factory=Backlog, description="what to keep while the broker is away: {samples: N} or {age: 1h}"
    )
    mqtt: Mqtt = Field(default_factory=Mqtt, description="the broker: {host: localhost, port: 1883, …}")
    homeassistant: Annotated[
        HomeAssistant | None,
        BeforeValidator(_flag_or_section),
        _OrFlag(),
    ] = Field(
        default=None,
        description="true or {discovery_prefix: homeassistant} for Home Assistant's discovery; left out: none",
    )
    uvicorn: dict[str, Any] | None = Field(
        default=None, description="PSUDaemon's HTTP server: accepted and not used", deprecated=True
    )


class Channel(_Section):
    """What the laboratory asks of one output."""

    name: Annotated[Text, AfterValidator(_channel_name)] | None = Field(
        default=None, description="a name for the output, unique in its unit", examples=["VDD"]
    )
    voltage_max: float | None = Field(
        default=None,
        gt=0,
        description="the most volts (V) that may be set, above 0; on a negative output its magnitude",
    )
    current_max: float | None = Field(default=None, gt=0, description="the most amperes (A) that may be set, above 0")
    on_broker_loss: Literal["keep", "off"] = Field(
        default="keep", description="keep or off: what to do with the output when the broker has been gone too long"
    )
    broker_loss_after: float = Field(
        default=10.0, ge=0, le=86400, description="the seconds that the broker may be gone, 0 to 86400"
    )
    voltage_limit: float | None = Field(
        default=None,
        description="the volts (V) that `psu-agent save` found set; sent by `psu-agent restore` and by nothing else",
    )
    current_limit: float | None = Field(
        default=None,
        description="the amperes (A) that `psu-agent save` found set; sent by `psu-agent restore` and by nothing else",
    )

    def served(self) -> Channel:
        """As the agent serves it, which makes nothing of what is saved."""
        return self.model_copy(update={"voltage_limit": None, "current_limit": None})


#: What makes a shell do more than split at spaces: outside of quotes, and within double quotes.
_SHELL_SYNTAX = re.compile(
    r"""(?P<single>'[^']*')|(?P<escape>\\.)|(?P<double>"(?:[^"\\`$]|\\.)*")|(?P<syntax>[|&;<>()*`$\n]|(?<!\S)[~#])""",
    re.DOTALL,
)
_PLACEHOLDERS = ("{channel}", "{field}", "{value}", "{unit}")


def _command(value: object, info: ValidationInfo) -> object:
    """A command as the list of its arguments. Text is split at spaces as a shell would, and no shell is started."""
    shell = info.data.get("shell")
    if isinstance(value, list):
        if shell:
            raise _wrong("is a list, which needs no shell; give text, or take `shell: true` out")
        arguments = [argument for item in value if isinstance(argument := as_text(item), str)]
        if len(arguments) < len(value):
            raise _wrong("holds something that is no text; put it in quotes")
        if not arguments or not arguments[0]:
            raise _wrong("names no program; give a list that begins with one")
    elif not isinstance(value, str):
        raise _wrong("is no command; give a list of a program and its arguments")
    elif not value.strip():
        raise _wrong("is empty; give a list of a program and its arguments")
    elif shell:
        arguments = ["/bin/sh", "-c", value]
    else:
        if found := _shell_syntax(value):
            raise _wrong(
                f"holds `{found}`, which a shell would have to read, and none is started unless it is asked for; "
                "write `shell: true` beside it, or give a list"
            )
        try:
            arguments = shlex.split(value)
        except ValueError:
            raise _wrong("holds a quote that is not closed; close it") from None
    if any("\0" in argument for argument in arguments):
        raise _wrong("holds a NUL character; take it out")
    if info.field_name == "set":
        _check_placeholders(arguments)
    return tuple(arguments)


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
        raise _wrong(f"has no {missing[0]}; give {', '.join(_PLACEHOLDERS[:3])} a place among the arguments")
    for found in re.findall(r"\{[a-z_]+\}", text):
        if found not in _PLACEHOLDERS:
            raise _wrong(f"holds {found}, which stands for nothing; known are {', '.join(_PLACEHOLDERS)}")


CommandLine = Annotated[
    tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]


class Commands(_Section):
    """The programs that speak for a unit of model `external`. They run in the folder of the configuration file."""

    shell: bool = Field(
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
        default_factory=dict, description="a mapping of environment variables, added to the agent's own"
    )


class Unit(_Section):
    """One power supply."""

    name: Annotated[Text, AfterValidator(_unit_name)] = Field(
        description="a unique name of letters, digits, `_` and `-`", examples=["psu1"]
    )
    model: Annotated[Text, AfterValidator(_model)] = Field(
        description="the model (`psu-agent models` lists them), its series, or either behind the manufacturer's name",
        examples=["Keysight Technologies,E36313A", "E36313A", "E36300"],
    )
    uri: Annotated[Text, AfterValidator(_uri)] = Field(
        default="",  # of a unit of model `external` alone
        description="the VISA resource name (`psu-agent scan` finds them)",
        examples=["TCPIP::192.168.50.51::inst0::INSTR", "TCPIP::192.168.50.51::5025::SOCKET"],
    )
    pyvisa_args: dict[str, Any] = Field(
        default_factory=dict,
        description="a mapping of arguments for pyvisa's open_resource()",
        examples=[{"open_timeout": 5000, "timeout": 2000}],
    )
    visabackend: Text = Field(default="@py", description="pyvisa's backend: @py, or a library's path before an @")
    poll_interval: Interval | None = Field(
        default=None, description="the seconds between polls of this unit, 0 (as fast as it answers) to 86400"
    )
    commands: Commands | None = Field(
        default=None, description="for model external, its programs: {ping: …, get_channels: …, set: …}"
    )
    serial: Annotated[Text, WithJsonSchema({"type": ["string", "integer"]})] | None = Field(
        default=None,
        description="the serial number: any other unit at this address is refused",
        examples=["MY61004803"],
    )
    channels: dict[Annotated[int, BeforeValidator(channel_number)], Channel] = Field(
        default_factory=dict,
        description="a mapping of channel numbers, as on the front panel, to {name, voltage_max, current_max, …}",
    )

    @property
    def candidates(self) -> tuple[models.Model, ...]:
        """The models that `model` may mean; which one it is the unit's ``*IDN?`` tells."""
        return models.candidates(self.model)

    @property
    def address(self) -> str:
        """Where it is, for people: its VISA resource name, or the program that speaks for it."""
        return self.uri if self.commands is None else f"external:{self.name}:{Path(self.commands.get_channels[0]).name}"

    def served(self) -> Unit:
        """As the agent serves it: equal for two entries that make no difference to it."""
        channels = {index: channel.served() for index, channel in self.channels.items()}
        return self.model_copy(
            update={"channels": {index: channel for index, channel in channels.items() if channel != _DEFAULT_CHANNEL}}
        )

    def channel(self, index: int) -> Channel:
        """The configuration of a channel, the defaults if the file has none."""
        return self.channels.get(index, _DEFAULT_CHANNEL)


_DEFAULT_CHANNEL = Channel()


class Config(_Section):
    """A whole configuration file."""

    settings: Settings = Field(default_factory=Settings, description="what holds for the agent as a whole: a mapping")
    units: list[Unit] = Field(
        description=f"a list of supplies, each such as {UNIT_EXAMPLE}", json_schema_extra={"minItems": 1}
    )

    _path: Path | None = PrivateAttr(default=None)
    _warnings: tuple[Fault, ...] = PrivateAttr(default=())

    @property
    def path(self) -> Path | None:
        """The file it was read from."""
        return self._path

    @property
    def folder(self) -> Path:
        """What relative paths in it are relative to."""
        return self._path.parent if self._path is not None else Path()

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """What is no fault and worth saying."""
        return self._warnings

    def poll_interval(self, unit: Unit) -> float:
        """Seconds between polls of `unit`, 0 for as fast as it answers."""
        return self.settings.poll_interval if unit.poll_interval is None else unit.poll_interval

    def restart_needed(self, newer: Config) -> list[str]:
        """The settings of a newer version of the file that only a restart brings into effect."""
        keys = set(Settings.model_fields) - {"poll_interval", "uvicorn"}
        return sorted(key for key in keys if getattr(self.settings, key) != getattr(newer.settings, key))

    def with_settings_of(self, older: Config) -> Config:
        """This version of the file as far as it can come into effect without a restart."""
        settings = older.settings.model_copy(update={"poll_interval": self.settings.poll_interval})
        return self.model_copy(update={"settings": settings})

    def backlog_capacity(self) -> int:
        """How many samples, of all channels together, the backlog holds at most.

        A poll interval of 0 is counted as `FASTEST_ASSUMED_RATE` polls a second.
        """
        rate = 0.0
        for unit in self.units:
            interval = self.poll_interval(unit)
            polls = min(1 / interval, FASTEST_ASSUMED_RATE) if interval else FASTEST_ASSUMED_RATE
            known = max((len(model.channels) for model in unit.candidates), default=0)
            rate += polls * (known or len(unit.channels) or CHANNELS_ASSUMED)
        by_age = math.ceil(rate * self.settings.backlog.age)
        most = self.settings.backlog.samples
        return (
            by_age
            if most is None
            else most
            if "age" not in self.settings.backlog.model_fields_set
            else min(by_age, most)
        )


class _Schema(GenerateJsonSchema):
    """Numbers and flags may come from the environment as well."""

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

"""`settings:` of the file: the settings of the agent as a whole, and its broker.

A field's description completes the sentence "give …": a fault tells it to the user, and an editor shows it.
"""

from __future__ import annotations

import math
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from agent.config.values import (
    FLAG_OR_SECTION,
    OR_FLAG,
    Duration,
    FilePath,
    Flag,
    Host,
    Interval,
    OrNumber,
    ProtocolVersion,
    ReadableFile,
    Secret,
    Section,
    Text,
    Topic,
    checked_by,
    wrong,
)
from agent.protocol import names
from agent.protocol.numbers import instead

#: s between the last setting of an agent that is cut off and the moment when another one may take its supply over.
TAKEOVER_MARGIN = 10.0
#: s that `settings.takeover_after` may be.
SHORTEST_TAKEOVER, LONGEST_TAKEOVER = 15.0, 3600.0


def _takeover_after(value: float) -> float:
    if not SHORTEST_TAKEOVER <= value <= LONGEST_TAKEOVER:
        raise wrong(
            f"is out of range; give the seconds, {SHORTEST_TAKEOVER:g} to {LONGEST_TAKEOVER:g}, after which this agent takes "
            "over a supply that another agent served"
        )
    return value


def _as_list(value: object) -> object:
    """One path may stand there without a list."""
    return [value] if isinstance(value, str) else value


_TEXT_OR_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _host_name() -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname().partition(".")[0]).strip("-.")
    return name[:64] or "agent"


def _state_dir() -> Path:
    """systemd's StateDirectory=, else the XDG base directory specification's place for state.

    A user without a home, as in a container that runs under any number, has neither: see `homeless_state_dir`.
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    base = os.environ.get("XDG_STATE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "psu-agent"
    home = _home()
    return homeless_state_dir() if home is None else home / ".local/state/psu-agent"


def _home() -> Path | None:
    """The user's home directory; None where there is none, or where it is the root: what containers give to unknown users."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() and home != Path("/") else None


def has_home() -> bool:
    """True if there is a place for state by itself, without ``settings.state_dir``."""
    return bool(os.environ.get("STATE_DIRECTORY") or os.environ.get("XDG_STATE_HOME")) or _home() is not None


def homeless_state_dir() -> Path:
    """``/var/lib/psu-agent`` where this user may write there, else a folder for temporary files that nobody else may."""
    system, number = Path("/var/lib/psu-agent"), os.getuid()
    place = system if system.exists() else system.parent
    if number == 0 or os.access(place, os.W_OK | os.X_OK):
        return system
    try:
        temporary = Path(tempfile.gettempdir()) / f"psu-agent-{number}"
        if not temporary.exists() or (temporary.stat().st_uid == number and not temporary.is_symlink()):
            return temporary
    except OSError:
        pass
    return system


class Tls(Section):
    """How the connection to the broker is secured. TLS 1.2 or later; the broker's name is verified."""

    ca: ReadableFile | None = Field(
        default=None,
        description="the PEM file of the CA that signed the broker's certificate; left out: the system's CAs",
    )
    cert: ReadableFile | None = Field(
        default=None, description="the PEM file of this agent's certificate, where the broker asks for one"
    )
    key: ReadableFile | None = Field(default=None, description="the PEM file of the certificate's private key")
    insecure: Flag = Field(
        default=False,
        description="true to accept a broker whose certificate is for another name (for tests alone), or false",
    )


class Mqtt(Section):
    """The broker, how to log in there, and the topic that everything stands under."""

    host: Host = Field(
        default="localhost", description="the broker's host name or IP address", examples=["localhost", "192.168.50.2"]
    )
    tls: Annotated[Tls | None, FLAG_OR_SECTION, OR_FLAG] = Field(
        default=None, description="true for TLS with the system's CAs, or {ca, cert, key}"
    )
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
    base_topic: Topic = Field(
        default="psu",
        description="the topic that everything stands under, of one or several levels",
        examples=["lab3/psu"],
    )
    protocol: ProtocolVersion = Field(
        default="auto",
        description="the MQTT version, 5 or 3.1.1; auto takes 5, and 3.1.1 where the broker refuses 5",
    )
    client_id: Annotated[Text, Field(max_length=128)] | None = Field(
        default=None,
        description="the MQTT client identifier, up to 128 characters; left out: one that nobody can guess",
    )
    keepalive: int = Field(
        default=15,
        ge=2,
        le=65535,
        description="seconds, 2 to 65535: a broker that answers nothing for so long, 5 at least, is connected to anew; "
        "the broker says that the agent is offline after one and a half of them",
    )


class HomeAssistantSettings(Section, title="HomeAssistant"):
    """Home Assistant's MQTT discovery."""

    discovery_prefix: Topic = Field(
        default="homeassistant", description="the topic that Home Assistant looks for devices under"
    )
    update_interval: Annotated[float, Field(ge=0.1, le=86400)] = Field(
        default=10.0,
        description="the seconds, 0.1 to 86400, between measurements that Home Assistant is told; what moves by more than "
        "noise, and what is switched or set, it is told at once",
    )


class BacklogSettings(Section, title="Backlog"):
    """How many samples are kept on disk while the broker is away. When it is full the oldest go."""

    samples: int | None = Field(
        default=None,
        ge=0,
        le=100_000_000,
        description="the most samples to keep, of all channels together; 0 keeps none",
    )
    age: Duration = Field(
        default=3600.0,
        ge=0,
        le=31_536_000,
        description="for how long samples are kept: seconds or a number with s, min, h or d behind it, up to 365d",
        examples=["1h", "30min", 7200],
    )


def _for_volts_and_amperes(value: object) -> object:
    """One number stands for volts and amperes alike."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < math.inf:
            raise wrong("is out of range; give 0 or more")
        return {"voltage": float(value), "current": float(value)}
    if isinstance(value, str) and instead(value) is not None:
        raise wrong("is not a number; write it with a point before the decimals, and without a unit")
    return value


def _with_changes_only(value: object, info: ValidationInfo) -> object:
    if not info.data.get("changes_only", True):
        raise wrong("has no effect where every state is published; give `changes_only: true`")
    return value


class DeadbandSettings(Section, title="Deadband"):
    """How far a measured quantity has to move, from what was last published of it, for a state to be published."""

    voltage: float | None = Field(
        default=None, ge=0, description="volts (V), 0 or more; left out: one step of the channel's resolution"
    )
    current: float | None = Field(
        default=None, ge=0, description="amperes (A), 0 or more; left out: one step of the channel's resolution"
    )
    power: float | None = Field(
        default=None, ge=0, description="watts (W), 0 or more; left out: power is published with volts and amperes"
    )


class PublishSettings(Section, title="Publish"):
    """Which states are published: all of them, or those that tell a change."""

    changes_only: Flag = Field(
        default=False,
        description="true to publish a state only where it tells a change, or nothing was published for `heartbeat`",
    )
    deadband: Annotated[
        DeadbandSettings,
        AfterValidator(_with_changes_only),
        BeforeValidator(_for_volts_and_amperes),
        OrNumber(),
    ] = Field(
        default_factory=DeadbandSettings,
        description="a number (V and A alike), or {voltage: 0.01, current: 0.001}: what moves by more than that has changed",
        examples=[{"voltage": 0.01, "current": 0.001}, 0.005],
    )
    heartbeat: Annotated[float, Field(ge=0.1, le=3600), AfterValidator(_with_changes_only)] = Field(
        default=60.0,
        description="the seconds, 0.1 to 3600, after which a state is published though nothing has changed",
    )


class Settings(Section):
    """The settings of the agent as a whole."""

    agent: Annotated[Text, checked_by(names.check_agent_name)] = Field(
        default_factory=_host_name,
        description="this agent's name, unique on the broker; left out: the host's name",
        examples=["bench3"],
    )
    poll_interval: Interval = Field(
        default=1.0, description="the seconds between polls of a unit, 0 (as fast as it answers) to 86400"
    )
    publish: PublishSettings = Field(
        default_factory=PublishSettings,
        description="{changes_only: true, deadband: …, heartbeat: 60} to publish fewer states of all units",
    )
    publish_fields: Flag = Field(
        default=False,
        description="true to publish each value of a channel on a topic of its own, too, for tools that read no JSON, or false",
    )
    state_dir: FilePath = Field(
        default_factory=_state_dir,
        description="the directory for what outlives a restart: backlog, energy; left out: the user's state directory",
        examples=["/var/lib/psu-agent"],
    )
    series: Annotated[list[FilePath], BeforeValidator(_as_list), WithJsonSchema(_TEXT_OR_TEXTS)] = Field(
        default_factory=list,
        description="a list of series files of your own, or folders of them, for supplies that the agent does not know",
        examples=[["my-supply.yaml"]],
    )
    takeover_after: Annotated[float, AfterValidator(_takeover_after)] = Field(
        default=30.0,
        json_schema_extra={"minimum": SHORTEST_TAKEOVER, "maximum": LONGEST_TAKEOVER},
        description="the seconds, 15 to 3600, after which this agent takes over a supply that another agent served until it went "
        "away; without a broker it sends settings for 10 s less",
    )
    backlog: BacklogSettings = Field(
        default_factory=BacklogSettings, description="what to keep while the broker is away: {samples: N} or {age: 1h}"
    )
    mqtt: Mqtt = Field(default_factory=Mqtt, description="the broker: {host: localhost, port: 1883, …}")
    homeassistant: Annotated[HomeAssistantSettings | None, FLAG_OR_SECTION, OR_FLAG] = Field(
        default=None,
        description="true or {discovery_prefix: homeassistant} for Home Assistant's discovery; left out: none",
    )
    uvicorn: dict[str, Any] | None = Field(
        default=None, description="PSUDaemon's HTTP server: accepted and not used", deprecated=True
    )

    @property
    def settings_for(self) -> float:
        """s for which this agent sends settings after it has last heard the broker: other agents wait longer."""
        return self.takeover_after - TAKEOVER_MARGIN

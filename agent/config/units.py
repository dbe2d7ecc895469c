"""`units:` of the file: the supplies, and the names, limits and policies of their outputs.

A field's description completes the sentence "give …": a fault tells it to the user, and an editor shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from agent.config.commands import Commands
from agent.config.settings import PublishSettings
from agent.config.values import Flag, Interval, Section, Text, channel_number, checked_by, wrong, wrong_and_shown
from agent.instruments import catalogue, resource
from agent.protocol import names

#: The settings that `psu-agent save` puts into the file, as keys of a channel and as fields of a command.
SAVED = (
    "voltage_limit",
    "current_limit",
    "voltage_protection",
    "current_protection",
    "current_protection_level",
    "voltage_protection_state",
)
#: A channel's keys that hold a saved setting, and those that hold the most that may be set.
SAVED_AND_MOST = {"voltage_limit": "voltage_max", "current_limit": "current_max"}
#: An entry as it is shown to people.
UNIT_EXAMPLE = "{name: psu1, model: E36313A, uri: 'TCPIP::192.168.50.51::inst0::INSTR'}"


def _uri(value: str, info: ValidationInfo) -> str:
    if info.data.get("model") == catalogue.EXTERNAL:
        return value  # a note for people
    try:
        resource.parse(value)
    except resource.ResourceNameError as error:
        raise wrong(str(error)) from None
    return value


def _model(value: str) -> str:
    try:
        catalogue.candidates(value)
    except catalogue.AmbiguousModelError as error:
        raise wrong_and_shown(str(error)) from None
    except catalogue.UnknownModelError as error:
        if catalogue.unusable():
            return value  # it may stand in the file that could not be used: this unit is offline, and the others run
        raise wrong_and_shown(str(error)) from None
    return value


class ChannelSettings(Section, title="Channel"):
    """The name, limits and policy of one output."""

    name: Annotated[Text, checked_by(names.check_channel_name)] | None = Field(
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
    voltage_protection: float | None = Field(
        default=None, description="the over-voltage trip level (V) that `psu-agent save` found; sent by `restore` alone"
    )
    current_protection: Flag | None = Field(
        default=None,
        description="true or false: if `psu-agent save` found over-current protection on; sent by `restore` alone",
    )
    current_protection_level: float | None = Field(
        default=None, description="the over-current trip level (A) that `psu-agent save` found; sent by `restore` alone"
    )
    voltage_protection_state: Flag | None = Field(
        default=None,
        description="true or false: if `psu-agent save` found over-voltage protection on; sent by `restore` alone",
    )

    def saved(self) -> dict[str, float | bool]:
        """The settings that `psu-agent save` has put there, by their names in `agent.protocol.quantities`."""
        return {name: value for name in SAVED if (value := getattr(self, name)) is not None}

    def most(self, field: str) -> float | None:
        """The most (V or A, a magnitude) that a setting may be saved as, by the channel's limits; None without one."""
        limit = SAVED_AND_MOST.get(field)
        return None if limit is None else getattr(self, limit)

    def served(self) -> ChannelSettings:
        """The same without the saved settings, which the agent does not use."""
        return self.model_copy(update=dict.fromkeys(SAVED))


class UnitSettings(Section, title="Unit"):
    """One power supply."""

    name: Annotated[Text, checked_by(names.check_unit_name)] = Field(
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
    address: Annotated[int, Field(ge=0, le=255)] | None = Field(
        default=None,
        description="the number of this unit on a line that it shares with others, as it is set at the unit, 0 to 255",
        examples=[6],
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
    publish: PublishSettings | None = Field(
        default=None,
        description="{changes_only: true, deadband: …, heartbeat: 60} to publish fewer states of this unit",
    )
    publish_fields: Flag | None = Field(
        default=None,
        description="true to publish each value of this unit's channels on a topic of its own, too, or false",
    )
    commands: Commands | None = Field(
        default=None, description="for model external, its programs: {ping: …, get_channels: …, set: …}"
    )
    serial: Annotated[Text, WithJsonSchema({"type": ["string", "integer"]})] | None = Field(
        default=None,
        description="the serial number: any other unit at this address is refused",
        examples=["MY61004803"],
    )
    takeover: Literal["auto", "manual"] = Field(
        default="auto",
        description="auto or manual: if this agent takes the supply over by itself when another agent that served it is gone, or "
        "waits for `psu-agent takeover UNIT`",
    )
    channels: dict[Annotated[int, BeforeValidator(channel_number)], ChannelSettings] = Field(
        default_factory=dict,
        description="a mapping of channel numbers, as on the front panel, to {name, voltage_max, current_max, …}",
    )

    @property
    def candidates(self) -> tuple[catalogue.Model, ...]:
        """The models that `model` may mean, of which the unit tells which one it is.

        None where that is not known: of model `external`, and where a series file could not be used.
        """
        try:
            return catalogue.candidates(self.model)
        except catalogue.UnknownModelError:
            return ()

    @property
    def place(self) -> str:
        """Where the unit is, for people: its VISA resource name and its address there, or the program that reads it."""
        if self.commands is not None:
            return f"external:{self.name}:{Path(self.commands.get_channels[0]).name}"
        return self.uri if self.address is None else f"{self.uri} (address {self.address})"

    @property
    def longest_exchange(self) -> float:
        """s that a message to the unit may be under way before the link is given up."""
        if self.commands is not None:
            return self.commands.timeout
        timeout = self.pyvisa_args.get("timeout")  # ms
        return float(timeout) / 1000 if isinstance(timeout, int | float) else _EXCHANGE

    def served(self) -> UnitSettings:
        """The same without what the unit's thread does not use: equal for two entries whose units go on as they are."""
        channels = {index: channel.served() for index, channel in self.channels.items()}
        return self.model_copy(
            update={
                "channels": {index: channel for index, channel in channels.items() if channel != _DEFAULT_CHANNEL},
                "publish_fields": None,
            }
        )

    def channel(self, index: int) -> ChannelSettings:
        """The configuration of a channel, the defaults if the file has none."""
        return self.channels.get(index, _DEFAULT_CHANNEL)


#: s for an answer where `pyvisa_args` says nothing else, and more than a Modbus unit has in any series file of the package.
_EXCHANGE = 2.0
_DEFAULT_CHANNEL = ChannelSettings()

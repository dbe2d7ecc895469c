"""The schema of a series file: the language of a family of supplies, and the channels of its models."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, model_validator

from agent.instruments.driver import Output, Range
from agent.protocol.quantities import LEVELS, SETTINGS, Setting

AnswerKind = Literal["number", "boolean", "integer"]


def _range(value: object) -> object:
    if isinstance(value, list) and len(value) == 2:
        return Range(*value)
    return value


RangeField = Annotated[Range, BeforeValidator(_range)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChannelModel(_Strict):
    """One output of a model.

    ``voltage`` and ``current`` are the ranges that the unit accepts as setpoints (V, A), ``voltage_rating`` and
    ``current_rating`` what it is sold as (magnitudes), ``voltage_protection`` the range of the over-voltage trip level
    (V), None where there is none. A resolution is the largest difference between a setting that was sent and the one that is
    read back (V, A).
    """

    index: int = 0
    voltage: RangeField
    current: RangeField
    voltage_rating: PositiveFloat
    current_rating: PositiveFloat
    voltage_protection: RangeField | None = None
    voltage_resolution: PositiveFloat
    current_resolution: PositiveFloat

    @property
    def name(self) -> str:
        """The name of the output until the configuration gives it another."""
        return f"CH{self.index}"

    def output(self, settings: frozenset[Setting]) -> Output:
        """The output as drivers describe it; ``settings``: what the series has a command for."""
        ranges = {"voltage_limit": self.voltage, "current_limit": self.current}
        if self.voltage_protection is not None:
            ranges["voltage_protection"] = self.voltage_protection
        return Output(
            index=self.index,
            name=self.name,
            ranges=ranges,
            voltage_rating=self.voltage_rating,
            current_rating=self.current_rating,
            voltage_resolution=self.voltage_resolution,
            current_resolution=self.current_resolution,
            settings=frozenset(setting for setting in settings if setting not in LEVELS or setting in ranges),
        )

    @model_validator(mode="after")
    def _ordered(self) -> ChannelModel:
        for name in ("voltage", "current", "voltage_protection"):
            interval = getattr(self, name)
            if interval is not None and interval.min >= interval.max:
                raise ValueError(f"{name}: {interval.min} is not below {interval.max}")
        return self


class Query(_Strict):
    """One quantity and how it is asked for: ``{list}`` stands for a channel list, ``{channel}`` for a single number."""

    ask: str
    answer: AnswerKind

    @property
    def takes_list(self) -> bool:
        """True if one such question can ask for several channels."""
        return "{list}" in self.ask


class Guard(_Strict):
    """A question about a setting at the unit that changes the effect of a command, asked before such a command is carried out.

    ``ask`` is as in `Query`: with ``{list}`` or ``{channel}`` the unit answers one value for each of ``channels``, which are all
    where none are named; without, it answers one for all. ``settings``: those whose effect it changes. ``models``: those that
    have it; none for all of the series.

    One of three says what the answer means: it must be one of ``expect``; it must not be one of ``refuse``; or it ``tells`` a
    field of `agent.instruments.driver.Conditions`. ``text`` says, for people, what holds where it forbids the command, and
    ``remedy`` what to do about it; ``{channel}`` and ``{answer}`` may stand in both.
    """

    ask: str
    settings: frozenset[Setting] = SETTINGS
    channels: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    tells: Literal["coupled", "rise_delay", "fall_delay", "protection_delay"] | None = None
    text: str
    remedy: str = ""

    @property
    def takes_channels(self) -> bool:
        """True if it is answered for each output by itself."""
        return "{list}" in self.ask or "{channel}" in self.ask

    @model_validator(mode="after")
    def _means_one_thing(self) -> Guard:
        if sum((bool(self.expect), bool(self.refuse), self.tells is not None)) != 1:
            raise ValueError(f"{self.ask}: give one of expect, refuse and tells")
        if self.tells is None and not self.remedy:
            raise ValueError(f"{self.ask}: it forbids commands; say in remedy what to do at the unit")
        return self


class IdentityPattern(_Strict):
    """The first field of ``*IDN?``, as a regular expression."""

    manufacturer: str

    @model_validator(mode="after")
    def _compiles(self) -> IdentityPattern:
        re.compile(self.manufacturer)
        return self


class ModelEntry(_Strict):
    """One model of a series file."""

    channels: dict[int, ChannelModel] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _number_channels(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("channels"), dict):
            channels = {
                index: {**channel, "index": index} if isinstance(channel, dict) else channel
                for index, channel in data["channels"].items()
            }
            return {**data, "channels": channels}
        return data


#: Every quantity that a poll reads, in the order of a channel's state.
QUANTITIES = (
    "voltage",
    "current",
    "voltage_limit",
    "current_limit",
    "state",
    "voltage_protection",
    "voltage_tripped",
    "current_protection",
    "current_tripped",
    "condition",
)


class Series(_Strict):
    """A series file: one set of commands, and the models that take it."""

    series: str
    manufacturer: str
    manual: str
    tested: list[str]
    identity: IdentityPattern
    queries: dict[str, Query]
    condition_bits: dict[Literal["CC", "CV", "OTP"], int] = {}
    commands: dict[Setting, str]
    conditions: tuple[Guard, ...] = ()
    error_query: str
    error_queue: int = Field(gt=0)
    models: dict[str, ModelEntry] = Field(min_length=1)

    @property
    def name(self) -> str:
        """The name of the series."""
        return self.series

    @model_validator(mode="after")
    def _known_quantities(self) -> Series:
        unknown = set(self.queries) - set(QUANTITIES)
        if unknown:
            raise ValueError(f"queries: {', '.join(sorted(unknown))}: known are {', '.join(QUANTITIES)}")
        missing = {"voltage", "current", "voltage_limit", "current_limit", "state"} - set(self.queries)
        if missing:
            raise ValueError(f"queries: {', '.join(sorted(missing))} missing: every supply has to answer these")
        return self

    @model_validator(mode="after")
    def _commands_name_channel_and_value(self) -> Series:
        most = max(len(entry.channels) for entry in self.models.values())
        for setting, template in self.commands.items():
            places = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
            if unknown := places - {"value", "list", "channel"}:
                raise ValueError(f"commands.{setting}: {', '.join(sorted(unknown))} stands for nothing")
            if {"list", "channel"} <= places:
                raise ValueError(f"commands.{setting}: {{list}} and {{channel}} stand there both; give one of them")
            if "value" not in places and setting != "clear_protection":
                raise ValueError(f"commands.{setting}: {{value}} is missing")
            if most > 1 and not places & {"list", "channel"}:
                raise ValueError(f"commands.{setting}: {{list}} or {{channel}} is missing: it names no output")
        return self

"""The shape of a series file: what a family of supplies speaks and what its models can do."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, model_validator

AnswerKind = Literal["number", "boolean", "integer"]
CommandField = Literal[
    "state", "voltage_limit", "current_limit", "voltage_protection", "current_protection", "clear_protection"
]


class Range(NamedTuple):
    """An interval that includes both ends, V or A."""

    min: float
    max: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.min <= value <= self.max


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
    (V), None where there is none. A resolution is how far a setting may stand from what was asked for (V, A).
    ``own_name`` is the unit's own name for the output, where it has one.
    """

    index: int = 0
    own_name: str = ""
    voltage: RangeField | None = None
    current: RangeField | None = None
    voltage_rating: PositiveFloat | None = None
    current_rating: PositiveFloat | None = None
    voltage_protection: RangeField | None = None
    voltage_resolution: PositiveFloat
    current_resolution: PositiveFloat

    @property
    def name(self) -> str:
        """The name a channel has until the configuration gives it another."""
        return self.own_name or f"CH{self.index}"

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
        return "{list}" in self.ask


class Guard(_Strict):
    """A question whose answer must be one of ``expect`` before a setting of these channels is written."""

    ask: str
    expect: list[str] = Field(min_length=1)
    channels: list[int] = Field(min_length=1)
    coupling: str


class Identity(_Strict):
    """What the first field of ``*IDN?`` looks like, as a regular expression."""

    manufacturer: str

    @model_validator(mode="after")
    def _compiles(self) -> Identity:
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

    @model_validator(mode="after")
    def _complete(self) -> ModelEntry:
        for channel in self.channels.values():
            for name in ("voltage", "current", "voltage_rating", "current_rating"):
                if getattr(channel, name) is None:
                    raise ValueError(f"channels.{channel.index}.{name} is missing: the manual has it")
        return self


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
    """A series file: one dialect, and the models that speak it."""

    series: str
    manufacturer: str
    manual: str
    tested: list[str]
    identity: Identity
    queries: dict[str, Query]
    condition_bits: dict[Literal["CC", "CV", "OTP"], int] = {}
    commands: dict[CommandField, str]
    guards: list[Guard] = []
    error_query: str
    error_queue: int = Field(gt=0)
    models: dict[str, ModelEntry] = Field(min_length=1)

    @property
    def name(self) -> str:
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

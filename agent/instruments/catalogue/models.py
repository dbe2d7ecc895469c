"""The models of a series: their outputs, with ranges and ratings from the file, from the model's name, or from the unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from agent.instruments.catalogue.language import Applies, Ask, Regex, Strict
from agent.instruments.driver import Output, Range
from agent.protocol.quantities import LEVELS, Setting

#: The key of `ChannelModel` that holds the range of a level.
RANGE_OF: Mapping[str, str] = {
    "voltage_limit": "voltage",
    "current_limit": "current",
    "voltage_protection": "voltage_protection",
    "current_protection_level": "current_protection_level",
}
#: Fields of the questions of ``ratings``.
RATING_FIELDS = frozenset(
    (
        *(f"{name}_{end}" for name in RANGE_OF.values() for end in ("min", "max")),
        *(f"{name}_{what}" for name in ("voltage", "current") for what in ("rating", "resolution")),
        *("power_max", "channels", "module", "option"),
    )
)


def _range(value: object) -> object:
    if isinstance(value, list) and len(value) == 2:
        return Range(*value)
    return value


RangeField = Annotated[Range, BeforeValidator(_range, json_schema_input_type=tuple[float, float])]


class Box(Strict):
    """One of several ranges of an output: what it can be set to while the unit is in that range (V, A)."""

    voltage: RangeField
    current: RangeField
    voltage_protection: RangeField | None = None
    current_protection_level: RangeField | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        _check_order(self)
        return self


class ChannelModel(Strict):
    """One output of a model.

    ``number`` and ``name``: the output in this language, if they are not its index and ``CH1`` …. ``voltage`` and
    ``current``: the ranges that the unit accepts as setpoints (V, A); none where it can't be set. ``voltage_protection``,
    ``current_protection_level``: the ranges of the trip levels. Ratings are what it is sold as (magnitudes). ``power``: the
    most that voltage and current settings may make together (W). ``ranges``: by their names, where the output has several of
    which one is active. A resolution is the largest difference between a setting that was sent and the one that is read back
    (V, A); trip levels have that of the settings, unless they move in other steps. ``without``: settings of the series that
    this output does not have.
    """

    index: int = 0
    number: int | None = None
    name: str | None = None
    voltage: RangeField | None = None
    current: RangeField | None = None
    voltage_rating: PositiveFloat | None = None
    current_rating: PositiveFloat | None = None
    voltage_protection: RangeField | None = None
    current_protection_level: RangeField | None = None
    power: PositiveFloat | None = None
    ranges: dict[str, Box] = Field(default_factory=dict)
    voltage_resolution: PositiveFloat | None = None
    current_resolution: PositiveFloat | None = None
    voltage_protection_resolution: PositiveFloat | None = None
    current_protection_level_resolution: PositiveFloat | None = None
    without: frozenset[Setting] = frozenset()

    @property
    def label(self) -> str:
        """The name of the output until the configuration gives it another."""
        return self.name or f"CH{self.index}"

    def output(self, settings: frozenset[Setting], unsupported: Mapping[Setting, str]) -> Output:
        """The output as drivers describe it.

        :param settings: those that the series has a command for
        :param unsupported: a sentence for each setting that it is known to have none for
        """
        ranges = {level: found for level, key in RANGE_OF.items() if (found := self._range(key)) is not None}
        levels = {
            "voltage_protection": self.voltage_protection_resolution,
            "current_protection_level": self.current_protection_level_resolution,
        }
        return Output(
            index=self.index,
            name=self.label,
            ranges=ranges,
            voltage_rating=self.voltage_rating,
            current_rating=self.current_rating,
            voltage_resolution=self.voltage_resolution or 0.001,
            current_resolution=self.current_resolution or 0.001,
            settings=frozenset(
                setting for setting in settings - self.without if setting not in LEVELS or setting in ranges
            ),
            power_max=self.power,
            unsupported={str(setting): text for setting, text in unsupported.items()},
            resolutions={level: step for level, step in levels.items() if step is not None},
        )

    def _range(self, key: str) -> Range | None:
        own: Range | None = getattr(self, key)
        boxes = [found for box in self.ranges.values() if (found := getattr(box, key)) is not None]
        if own is not None or not boxes:
            return own
        return Range(min(box.min for box in boxes), max(box.max for box in boxes))

    @model_validator(mode="after")
    def _ordered(self) -> ChannelModel:
        _check_order(self)
        return self


def _check_order(entry: Box | ChannelModel | FamilyChannel) -> None:
    for name in RANGE_OF.values():
        interval = getattr(entry, name)
        if interval is not None and not (isfinite(interval.min) and isfinite(interval.max)):
            raise ValueError(f"{name}: its ends should be numbers")
        if interval is not None and interval.min >= interval.max:
            raise ValueError(f"{name}: {interval.min:g} is not below {interval.max:g}")


class ModelEntry(Strict):
    """One model of a series file.

    ``identity``: a regular expression for the model as the unit tells it; without it, the model's name. ``aka``: names under
    which it is sold too.
    """

    channels: dict[int, ChannelModel] = Field(default_factory=dict)
    identity: Regex | None = None
    aka: tuple[str, ...] = ()

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


class FamilyChannel(Strict):
    """The one output of a family, whose ranges are parts of the ratings in the model's name.

    ``voltage``, ``current``, ``voltage_protection``, ``current_protection_level``: the lower and the upper end as parts of
    the rating; a list of two numbers. ``by_voltage``: for the trip level, V for each rated voltage, where it is no fixed
    part; a rated voltage that is not listed has none. Resolutions are parts of the rating, too. ``power``: W, or null.
    """

    voltage: RangeField
    current: RangeField
    voltage_protection: RangeField | None = None
    by_voltage: dict[float, RangeField] = Field(default_factory=dict)
    current_protection_level: RangeField | None = None
    voltage_resolution: PositiveFloat
    current_resolution: PositiveFloat
    power: PositiveFloat | None = None

    @model_validator(mode="after")
    def _ordered(self) -> FamilyChannel:
        _check_order(self)
        return self


class Family(Strict):
    """Models whose names tell their ratings.

    ``pattern``: a regular expression for the model's name with the groups ``volts`` and ``amps``. ``known``: names of models
    that are sold, for the list of models; others that fit are taken as well. ``channel``: its output.
    """

    pattern: Regex
    known: tuple[str, ...] = Field(min_length=1)
    channel: FamilyChannel

    def model(self, name: str) -> ModelEntry | None:
        """The model of that name, None if it does not fit."""
        match = re.fullmatch(self.pattern, name, re.IGNORECASE)
        if match is None:
            return None
        try:
            volts, amps = float(match["volts"]), float(match["amps"])
        except (TypeError, ValueError):  # a group that holds no number, or nothing
            return None
        if not (volts > 0 and amps > 0):
            return None
        one = self.channel
        protection = one.by_voltage.get(volts) or _part(one.voltage_protection, volts)
        return ModelEntry(
            channels={
                1: ChannelModel(
                    index=1,
                    voltage=_part(one.voltage, volts),
                    current=_part(one.current, amps),
                    voltage_rating=volts,
                    current_rating=amps,
                    voltage_protection=protection,
                    current_protection_level=_part(one.current_protection_level, amps),
                    voltage_resolution=one.voltage_resolution * volts,
                    current_resolution=one.current_resolution * amps,
                    power=one.power,
                )
            }
        )

    @model_validator(mode="after")
    def _fits(self) -> Family:
        groups = re.compile(self.pattern).groupindex
        if not {"volts", "amps"} <= set(groups):
            raise ValueError("pattern: the groups (?P<volts>…) and (?P<amps>…) are missing")
        if strangers := [name for name in self.known if self.model(name) is None]:
            raise ValueError(f"known: {', '.join(strangers)}: does not fit the pattern")
        return self


def _part(interval: Range | None, rating: float) -> Range | None:
    return None if interval is None else Range(round(interval.min * rating, 9), round(interval.max * rating, 9))


class RatingQuestion(Ask):
    """A question at each connection, whose answer replaces what the file says of a range.

    Its fields are ``voltage_min``, ``voltage_max`` and so on (V, A), ``voltage_rating``, ``current_rating``,
    ``voltage_resolution``, ``current_resolution``, ``power_max`` (W); ``channels``, the number of outputs; ``module``, a key
    of ``modules``; ``option``, a text with names of options. ``optional``: a unit that does not answer it comes online
    nevertheless.
    """

    optional: bool = False


class Option(Applies):
    """An option that makes a model another one: ``holds`` is a regular expression for a part of the answer to ``option``."""

    holds: Regex
    becomes: str

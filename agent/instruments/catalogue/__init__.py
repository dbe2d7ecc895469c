"""The supported supplies: one YAML file a series, read once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import yaml

from agent.instruments.catalogue.schema import ChannelModel, CommandField, Guard, Identity, Range, Series
from agent.instruments.scpi.dialect import Batching, Inspection, MalformedAnswerError, PollPlan, Reading

__all__ = [
    "EXTERNAL",
    "Batching",
    "ChannelModel",
    "Guard",
    "Identification",
    "IdentityError",
    "Inspection",
    "MalformedAnswerError",
    "Model",
    "PollPlan",
    "Range",
    "Reading",
    "Series",
    "UnknownModelError",
    "all_models",
    "candidates",
    "external_model",
    "identify",
    "parse_identification",
]


class UnknownModelError(ValueError):
    """No series file has this model."""


class IdentityError(ValueError):
    """The unit at the address is not the one that the configuration expects."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A supply that can be bought: its name, its channels, and the series whose dialect it speaks."""

    name: str
    series: Series
    channels: tuple[ChannelModel, ...]

    @property
    def manufacturer(self) -> str:
        return self.series.manufacturer

    def channel(self, index: int) -> ChannelModel:
        return next(channel for channel in self.channels if channel.index == index)


@dataclass(frozen=True, slots=True)
class Identification:
    """The four fields of ``*IDN?`` (IEEE 488.2, 10.14)."""

    manufacturer: str
    model: str
    serial: str
    firmware: str


#: The model of a unit that programs of the user speak for; what it has only they tell.
EXTERNAL = "external"


def external_model(
    name: str = EXTERNAL,
    *,
    manufacturer: str = EXTERNAL,
    commands: Mapping[CommandField, str] | None = None,
    channels: tuple[ChannelModel, ...] = (),
) -> Model:
    """A model that stands in no series file: what commands it takes, what channels it has."""
    series = Series.model_construct(
        series=EXTERNAL,
        manufacturer=manufacturer,
        manual="",
        tested=[],
        identity=Identity(manufacturer=""),
        queries={},
        condition_bits={},
        commands=dict(commands or {}),
        error_query="",
        error_queue=0,
        models={},
    )
    return Model(name, series, channels)


_EXTERNAL_UNSEEN = external_model()


@lru_cache
def all_models() -> tuple[Model, ...]:
    """Every supported model, by series file and then in the file's order."""
    models: list[Model] = []
    for path in sorted(files(__package__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".yaml"):
            series = Series.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
            models += [Model(name, series, tuple(entry.channels.values())) for name, entry in series.models.items()]
    return tuple(models)


def candidates(text: str) -> tuple[Model, ...]:
    """The models that a configured ``model`` may mean.

    It is a model (``E36313A``), a series (``E36300``), or either behind its manufacturer
    (``Keysight Technologies,E36313A``); case does not matter. ``external`` means one that has no channels yet.

    :raises UnknownModelError: it means none
    """
    if text == EXTERNAL:
        return (_EXTERNAL_UNSEEN,)
    manufacturer, _, name = text.rpartition(",")
    wanted = name.strip().casefold()
    found = tuple(
        model
        for model in all_models()
        if wanted in (model.name.casefold(), model.series.name.casefold())
        and (
            not manufacturer
            or manufacturer.strip().casefold() == model.manufacturer.casefold()
            or re.fullmatch(model.series.identity.manufacturer, manufacturer.strip(), re.IGNORECASE)
        )
    )
    if not found:
        known = [model.name for model in all_models()]
        near = difflib.get_close_matches(name.strip().upper(), known, n=3, cutoff=0.5)
        raise UnknownModelError(
            f"{text!r} is not a supported model; "
            + (f"nearest: {', '.join(near)}" if near else f"supported: {', '.join(known)}")
            + " (`psu-agent models` lists them)"
        )
    return found


def parse_identification(answer: str) -> Identification:
    """Take an answer to ``*IDN?`` apart.

    :raises IdentityError: it has not four fields of printable characters
    """
    fields = [field.strip() for field in answer.split(",", 3)]
    if len(fields) != 4 or not all(fields[:2]) or not answer.isprintable() or len(answer) > 200:
        raise IdentityError(f"{ascii(answer)[:120]} is no answer to *IDN?")
    return Identification(*fields)


def identify(identification: Identification) -> Model | None:
    """The model that this is, None if it is not a supported one."""
    for model in all_models():
        if model.name.casefold() == identification.model.casefold() and re.fullmatch(
            model.series.identity.manufacturer, identification.manufacturer, re.IGNORECASE
        ):
            return model
    return None

"""The supported supplies, from one YAML file for each series, read once."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

import yaml

from agent.instruments.catalogue.schema import ChannelModel, Guard, Series
from agent.instruments.driver import Identity, Output

__all__ = [
    "EXTERNAL",
    "ChannelModel",
    "Guard",
    "Model",
    "Series",
    "UnknownModelError",
    "all_models",
    "candidates",
    "identify",
]

#: The configured model of a unit that programs of the user control. Only they tell its channels.
EXTERNAL = "external"


class UnknownModelError(ValueError):
    """No series file has this model; the text says which models are near."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model of a supply: its name, its channels, and the series whose commands it takes.

    ``outputs``: the channels as drivers describe them, the same objects for all units of the model.
    """

    name: str
    series: Series
    channels: tuple[ChannelModel, ...]
    outputs: tuple[Output, ...] = field(init=False)

    def __post_init__(self) -> None:
        settings = frozenset(self.series.commands)
        object.__setattr__(self, "outputs", tuple(channel.output(settings) for channel in self.channels))

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The questions about settings at the unit that this model may answer."""
        return tuple(guard for guard in self.series.conditions if not guard.models or self.name in guard.models)

    @property
    def manufacturer(self) -> str:
        """The manufacturer's present name."""
        return self.series.manufacturer


def models_of(series: Series) -> tuple[Model, ...]:
    """The models of a series, in its order."""
    return tuple(Model(name, series, tuple(entry.channels.values())) for name, entry in series.models.items())


@lru_cache
def all_models() -> tuple[Model, ...]:
    """Every supported model, by series file and then in the file's order."""
    models: list[Model] = []
    for path in sorted(files(__package__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".yaml"):
            models += models_of(Series.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return tuple(models)


def candidates(text: str) -> tuple[Model, ...]:
    """The models that a configured ``model`` may mean; none for `EXTERNAL`, whose channels its programs tell.

    It is a model (``E36313A``), a series (``E36300``), or either behind its manufacturer
    (``Keysight Technologies,E36313A``); case does not matter.

    :raises UnknownModelError: it means no supported model
    """
    if text == EXTERNAL:
        return ()
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


def identify(identity: Identity) -> Model | None:
    """The model of an instrument, None if it is not a supported one."""
    for model in all_models():
        if model.name.casefold() == identity.model.casefold() and re.fullmatch(
            model.series.identity.manufacturer, identity.manufacturer, re.IGNORECASE
        ):
            return model
    return None

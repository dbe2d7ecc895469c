"""The supported supplies, from one YAML file for each series: those that the agent brings, and those of the user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from agent.instruments.catalogue.language import Guard, Selection, SettingEntry
from agent.instruments.catalogue.loading import SeriesFileError, Shipped, read, series_files, shipped
from agent.instruments.catalogue.modbus import RegisterSetting
from agent.instruments.catalogue.models import ChannelModel, ModelEntry
from agent.instruments.catalogue.schema import Series
from agent.instruments.driver import Identity, Output
from agent.protocol.quantities import Setting

__all__ = [
    "EXTERNAL",
    "AmbiguousModelError",
    "ChannelModel",
    "Guard",
    "Model",
    "Series",
    "SeriesFileError",
    "UnknownModelError",
    "all_models",
    "all_series",
    "candidates",
    "expected",
    "identify",
    "models_of",
    "read",
    "unusable",
    "use",
]

#: The configured model of a unit that programs of the user control. Only they tell its channels.
EXTERNAL = "external"


class UnknownModelError(ValueError):
    """No series file has this model; the text says which models are near."""


class AmbiguousModelError(UnknownModelError):
    """Several series have this model; the text names them, and how to choose."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model of a supply: its name, its channels, and the series whose language it speaks.

    ``outputs``: the channels as drivers describe them, the same objects for all units of the model; none where only the unit can
    tell them.
    """

    name: str
    series: Series
    entry: ModelEntry
    channels: tuple[ChannelModel, ...] = field(init=False)
    outputs: tuple[Output, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.entry.channels.values()))
        object.__setattr__(self, "outputs", tuple(map(self.output, self.channels)))

    def output(self, channel: ChannelModel) -> Output:
        """A channel as drivers describe it."""
        entries: dict[Setting, SettingEntry | RegisterSetting | None] = (
            {setting: self.entry_for(setting, channel.index) for setting in self.series.settings}
            if self.series.modbus is None
            else {setting: self.register_for(setting) for setting in self.series.modbus.settings}
        )
        settings = frozenset(setting for setting, one in entries.items() if one is not None and one.unsupported is None)
        unsupported = {
            setting: one.unsupported for setting, one in entries.items() if one is not None and one.unsupported
        }
        return channel.output(settings, unsupported)

    def entry_for(self, setting: Setting, channel: int) -> SettingEntry | None:
        """How a setting of a channel is sent; None where it has none."""
        for entry in self.series.entries(setting):
            if entry.is_for(self.name) and (not entry.channels or channel in entry.channels):
                return entry
        return None

    def register_for(self, setting: Setting) -> RegisterSetting | None:
        """The register of a setting, of a model that speaks Modbus; None where it has none."""
        entry = self.series.modbus_setting(setting)
        return entry if entry is not None and entry.is_for(self.name) else None

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The questions about settings at the unit that this model may answer."""
        return tuple(guard for guard in self.series.conditions if guard.is_for(self.name))

    @property
    def select(self) -> Selection | None:
        """How an output is selected; None where the series needs no selection, or the model has but one output."""
        return self.series.select if len(self.channels) > 1 else None

    @property
    def manufacturer(self) -> str:
        """The manufacturer's present name."""
        return self.series.manufacturer

    def is_told_as(self, text: str) -> bool:
        """True if a unit of this model tells that text as its model."""
        if self.entry.identity is not None:
            return re.fullmatch(self.entry.identity, text, re.IGNORECASE) is not None
        if text.casefold() in (name.casefold() for name in (self.name, *self.entry.aka)):
            return True
        # Options stand behind the name of a family's model: GEN40-38-LAN is a GEN40-38.
        told = [entry for family in self.series.families if (entry := family.model(text)) is not None]
        return any(entry.channels == self.entry.channels for entry in told)


def models_of(series: Series) -> tuple[Model, ...]:
    """The models of a series, in its order; of a family those that are sold."""
    named = {**series.models}
    for family in series.families:
        named |= {name: entry for name in family.known if (entry := family.model(name)) is not None}
    return tuple(Model(name, series, entry) for name, entry in named.items())


_own: tuple[Series, ...] = ()
_models: dict[str, tuple[Model, ...]] = {}  # of the series that were asked for, by their names
_faults: tuple[str, ...] = ()  # of the user's files
_broken: frozenset[str] = frozenset()  # names of the series of those with faults


def use(paths: Iterable[Path], earlier: Iterable[str] = ()) -> list[str]:
    """Take these series files and folders besides those that the agent brings, instead of the ones that were used before.

    A series that has the name of one of the agent's takes its place; so does one whose file has a fault, and nobody has it
    then: the user has a reason not to have the agent's. The faults of the files that could not be used, a line each.

    :param earlier: faults of files that are not among these
    """
    global _own, _faults, _broken
    found: dict[str, Series] = {}
    faults = list(earlier)
    own: list[Path] = []
    broken: set[str] = set()
    for path in paths:
        try:
            own += series_files([path])
        except SeriesFileError as error:
            faults += error.faults
    for path in own:
        try:
            series = read(path)
        except SeriesFileError as error:
            faults += error.faults
            broken |= {error.series} if error.series else set()
            continue
        if series.name in found:
            faults.append(
                f"{path}:1: series: {series.name} stands in another file of the user, too; give one of them another name"
            )
            broken.add(series.name)
        found[series.name] = series
    found = {name: series for name, series in found.items() if name not in broken}
    _faults = tuple(faults)
    if (_own, set(_broken)) != (tuple(found.values()), broken):  # else plans and models stay those that drivers have
        _own, _broken = tuple(found.values()), frozenset(broken)
        _models.clear()
        all_models.cache_clear()
    return faults


def unusable() -> tuple[str, ...]:
    """The faults of the user's series files that could not be used, a line each."""
    return _faults


def all_series() -> Iterator[Series]:
    """Every series: the user's, then the agent's."""
    return _series_with("")


def _series_with(name: str) -> Iterator[Series]:
    """The series that may have a model of that name: those in whose files it stands, and those of families."""
    yield from _own
    names = {*(series.name for series in _own), *_broken}
    for file in _shipped():
        if (name.casefold() in file.text or "\nfamilies:" in file.text) and file.series.name not in names:
            yield file.series


@lru_cache
def _shipped() -> tuple[Shipped, ...]:
    return tuple(shipped())


@lru_cache
def all_models() -> tuple[Model, ...]:
    """Every supported model that has a name, by series."""
    return tuple(model for series in all_series() for model in _models_of(series))


def _models_of(series: Series) -> tuple[Model, ...]:
    """The models of a series: the same objects each time, as what is made for a model is kept with it."""
    if series.name not in _models:
        _models[series.name] = models_of(series)
    return _models[series.name]


def candidates(text: str) -> tuple[Model, ...]:
    """The models that a configured ``model`` may mean; none for `EXTERNAL`, whose channels its programs tell.

    It is a model (``E36313A``), a series (``E36300``), or either behind its manufacturer or its series
    (``Keysight Technologies,E36313A``); case does not matter.

    :raises AmbiguousModelError: models of several series have this name
    :raises UnknownModelError: it means no supported model
    """
    if text == EXTERNAL:
        return ()
    before, _, name = text.rpartition(",")
    wanted, before = name.strip(), before.strip()
    found: list[Model] = []
    for series in _series_with(wanted):
        if _is_from(series, before):
            named = [model for model in _models_of(series) if _is_named(model, wanted)]
            fitting = [entry for family in series.families if (entry := family.model(wanted)) is not None]
            found += named or [Model(wanted, series, entry) for entry in fitting]
    if not found:
        raise _unknown(text, wanted)
    names = {model.series.name for model in found}
    if len(names) > 1:
        ways = " or ".join(repr(f"{series},{wanted}") for series in sorted(names))
        raise AmbiguousModelError(
            f"{text!r} is a model of several series; write {ways}, by the language that the unit's interface speaks"
        )
    return tuple(found)


def _is_named(model: Model, wanted: str) -> bool:
    names = (model.name, model.series.name, *model.entry.aka)
    return wanted.casefold() in (name.casefold() for name in names)


def _is_from(series: Series, before: str) -> bool:
    if not before or before.casefold() in (series.manufacturer.casefold(), series.name.casefold()):
        return True
    return _is_maker(series, before)


def _unknown(text: str, wanted: str) -> UnknownModelError:
    known = [model.name for model in all_models()]
    near = difflib.get_close_matches(wanted.upper(), known, n=30, cutoff=0.5)
    # The beginning of a name tells the series.
    near = sorted(near, key=lambda name: (-_common(name.upper(), wanted.upper()), abs(len(name) - len(wanted))))[:3]
    return UnknownModelError(
        f"{text!r} is not a supported model; "
        + (f"nearest: {', '.join(near)}" if near else f"{len(known)} are supported")
        + " (`psu-agent models` lists them)"
        + (f"; a series file could not be used: {_faults[0]}" if _faults else "")
    )


def _common(one: str, other: str) -> int:
    """The number of characters that two texts have in common at their beginning."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def identify(identity: Identity, among: Iterable[Model] | None = None) -> Model | None:
    """The model of an instrument, None if it is not one of these, or of all where none are given."""
    models = all_models() if among is None else tuple(among)
    told = [model for model in models if _told_by(model.series, identity) and model.is_told_as(identity.model)]
    if told:
        # The exact name first: of a family, models of the same ratings have several names.
        return next((model for model in told if model.name.casefold() == identity.model.casefold()), told[0])
    for series in {model.series.name: model.series for model in models}.values():
        # A model that the list of a family does not have, where any model of the series may be there.
        known = {model.name for model in models if model.series is series}
        for family in series.families:
            if set(family.known) <= known and _told_by(series, identity):
                entry = family.model(identity.model)
                if entry is not None:
                    return Model(identity.model, series, entry)
    return None


def expected(identity: Identity, among: Sequence[Model]) -> str:
    """The instruments that would be one of these models, in words, for somebody who has another.

    Of a model whose name is right, the manufacturer that its series file has.
    """
    for model in among:
        if model.is_told_as(identity.model) and not _told_by(model.series, identity):
            maker = model.series.identify.manufacturer or model.series.manufacturer
            return f"{model.name} by {maker} (manufacturer of `identify` in the file of {model.series.name})"
    names = " or ".join(model.name for model in among[:4])
    return names + (f" or another of {among[0].series.name}" if len(among) > 4 else "")


def _told_by(series: Series, identity: Identity) -> bool:
    return _is_maker(series, identity.manufacturer)


def _is_maker(series: Series, name: str) -> bool:
    """True if a name is that of the series' maker, with more words behind it or not: Chroma ATE, Rigol Technologies Inc."""
    pattern = series.identify.manufacturer or re.escape(series.manufacturer)
    return re.fullmatch(rf"(?:{pattern})(?:[ ,.].*)?", name, re.IGNORECASE) is not None

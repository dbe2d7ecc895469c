"""Series files: finding them, reading them, and telling what is wrong with one by file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml
from pydantic import ValidationError

from agent.instruments.catalogue.faults import place, repeated_keys, unreadable_value, validation_faults
from agent.instruments.catalogue.schema import Series


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Takes nothing but true and false for booleans, as YAML 1.2 does: ON, OFF, YES and NO are words of instruments."""


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|false)$"), list("tf"))

#: The line with the name of a series, also in a text that is no YAML.
_NAME = re.compile(r"^series\s*:\s*(?P<name>[^#\n]+)", re.MULTILINE)


class SeriesFileError(ValueError):
    """A series file has faults.

    ``faults``: a line for each, ``FILE:LINE: KEY.PATH: sentence``. ``series``: the name of the series, None if it tells none.
    """

    def __init__(self, faults: list[str], series: str | None = None) -> None:
        # A key or a value may hold a line end or a control character: a fault is one line for a terminal all the same.
        self.faults = [
            re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda odd: ascii(odd[0])[1:-1], fault)
            for fault in faults
        ]
        self.series = series
        super().__init__("\n".join(self.faults))


class Shipped:
    """The file of a series that the agent brings. It is read when it is needed: all of them take half a second.

    ``text``: of the file, without capitals.
    """

    def __init__(self, path: Traversable) -> None:
        self._bytes = path.read_bytes()
        self.text = self._bytes.decode().casefold()

    @cached_property
    def series(self) -> Series:
        """The series. The tests check these files whole."""
        return Series.model_validate(yaml.load(self._bytes, Loader=_Loader))  # noqa: S506 - it is a safe loader


def shipped() -> Iterator[Shipped]:
    """The file of every series that the agent brings, by maker and file."""
    folder = files(__package__) / "series"
    for maker in sorted(folder.iterdir(), key=lambda path: path.name):
        if maker.is_dir():
            for path in sorted(maker.iterdir(), key=lambda path: path.name):
                if path.name.endswith(".yaml"):
                    yield Shipped(path)


def series_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among these, and those in the folders among them.

    :raises SeriesFileError: a path is neither, or a folder has none
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        try:
            found = sorted(one for one in path.iterdir() if one.suffix in (".yaml", ".yml"))
        except OSError as error:
            raise SeriesFileError([f"{path}: can't be read: {error.strerror}"]) from None
        if not found:
            raise SeriesFileError([f"{path}: the folder holds no series file (.yaml)"])
        yield from found


def read(path: Path) -> Series:
    """The series of a file.

    :raises SeriesFileError: it can't be read, or has faults; all are told
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SeriesFileError([f"{path}: can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SeriesFileError([f"{path}: is no text in UTF-8"]) from None
    try:
        return _checked(path, text)
    except SeriesFileError as error:
        named = _NAME.search(text)
        raise SeriesFileError(error.faults, named and named["name"].strip("'\" ")) from None


def _checked(path: Path, text: str) -> Series:
    node, data = _parsed(path, text)
    repeated = list(repeated_keys(node))
    if repeated:
        raise SeriesFileError([f"{path}:{line}: {sentence}" for line, sentence in repeated])
    if not isinstance(data, dict):
        raise SeriesFileError([f"{path}:1: is no series file; it begins with series: and manufacturer:"])
    try:
        series = Series.model_validate(data)
    except ValidationError as error:
        found = validation_faults(error, data)
    else:
        found = series.faults()
        if not found:
            return series
    faults = []
    for key, sentence in found:
        line, shown = place(node, key)
        faults.append(f"{path}:{line}: {shown}: {sentence}")
    raise SeriesFileError(faults)


def _parsed(path: Path, text: str) -> tuple[yaml.Node | None, object]:
    """The nodes of a YAML text, for their lines, and its data."""
    node: yaml.Node | None = None
    try:
        node = yaml.compose(text, Loader=_Loader)
        return node, yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SeriesFileError([f"{path}:{line}: is no YAML: {error.problem}"]) from None
    except yaml.YAMLError as error:
        raise SeriesFileError([f"{path}:1: is no YAML: {' '.join(str(error).split())[:200]}"]) from None
    except ValueError:
        line, value = unreadable_value(node)
        raise SeriesFileError([f"{path}:{line}: {value}: is no value that YAML can read; put it in quotes"]) from None
    except RecursionError:
        raise SeriesFileError([f"{path}:1: is nested too deeply for a series file"]) from None

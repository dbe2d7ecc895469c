"""Present settings and names into the configuration file (`psu-agent save`), and from there back to the units (`restore`)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import config
from agent.client import request
from agent.client.address import Address
from agent.client.connection import Client, NobodyAnsweredError
from agent.client.fleet import Fleet
from agent.client.request import CommandOutcome, Target
from agent.config import Config, editing, source
from agent.config.scalars import plain
from agent.config.units import SAVED, SAVED_AND_MOST
from agent.protocol.messages import ChannelInfo, ChannelState

#: Fields of a unit that has not told which ones it takes.
_ANYWAY = ("voltage_limit", "current_limit")
#: V and A: of a value out of its range.
_NEARLY = 1e-6
#: V and A: settings are written with as many digits as the unit is sent.
_DIGITS = 6


class SaveError(Exception):
    """Nothing was written. One sentence that says why."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One value of the file, before and after."""

    unit: str
    channel: int
    field: str
    old: str | float | bool | None
    new: str | float | bool

    def __str__(self) -> str:
        was = "" if self.old is None else f" (was {_in_file(self.old)})"
        return f"{self.unit}/{self.channel} {self.field}: {_in_file(self.new)}{was}"


class ConfigFile:
    """A configuration file that is to be changed."""

    def __init__(self, path: Path) -> None:
        """Read it.

        :raises ConfigError: it has faults, which have to be mended first
        """
        self.config = config.load(path)
        # A symbolic link stays one: the file that it points to is changed.
        self.path = path.resolve()
        self._given = path
        self._content = path.read_bytes()  # by the path that was given: its folders may be closed to this user
        self._data = plain(source.read(self._content).data)

    def changes(self, states: Iterable[tuple[ChannelState, ChannelInfo | None]]) -> list[FileChange]:
        """The changes to be written: settings that differ from the file's, and names where the file has none.

        :param states: the state of each channel, and what it takes, None where the unit has not told that
        """
        found = []
        for state, info in states:
            if state.psu not in self.units or not state.online:
                continue
            settings = self.config.units[self.units.index(state.psu)].channel(state.index)
            for field, value in _settings(state, info):
                old = getattr(settings, field)
                if (old is None or value != old) and not _is_above(settings.most(field), value):
                    found.append(FileChange(state.psu, state.index, field, old, value))
            if settings.name is None and state.name != f"CH{state.index}":
                found.append(FileChange(state.psu, state.index, "name", None, state.name))
        return found

    def above_limits(self, states: Iterable[tuple[ChannelState, ChannelInfo | None]]) -> dict[str, str]:
        """The settings that `changes` leaves out, as the file's limits refuse them, each with the reason.

        :param states: as for `changes`
        """
        found = {}
        for state, info in states:
            if state.psu not in self.units or not state.online:
                continue
            settings = self.config.units[self.units.index(state.psu)].channel(state.index)
            for field, value in _settings(state, info):
                most = settings.most(field)
                if most is not None and _is_above(most, value):
                    limit = SAVED_AND_MOST[field]
                    found[f"{state.psu}/{state.index} {field}"] = (
                        f"{value:g} is more than the {limit} of {most:g}; set less at the unit, or raise {limit}"
                    )
        return found

    def __str__(self) -> str:
        return str(self._given)

    @property
    def units(self) -> list[str]:
        """The names of the file's units, in its order."""
        return [unit.name for unit in self.config.units]

    def renamed(self, target: Target, name: str) -> FileChange:
        """The change that gives a channel, by its number or name in the file, a name.

        :raises SaveError: the file has no such unit or channel
        """
        unit, channel = target.unit, target.channel or ""
        if unit not in self.units:
            raise SaveError(f"{self._given} has no unit {unit}; it has {', '.join(self.units)}")
        configured = self.config.units[self.units.index(unit)]
        found = [i for i, settings in configured.channels.items() if settings.name == channel]
        if not found and not channel.isdigit():
            raise SaveError(f"{self._given} has no channel {channel} of {unit}; give its number")
        index = found[0] if found else int(channel)
        return FileChange(unit, index, "name", configured.channel(index).name, name)

    def write(self, changes: Iterable[FileChange]) -> Path:
        """Put all changes into the file, or none. Returns the copy of the file as it was before, ``….bak`` beside it.

        :raises SaveError: nothing was written
        :raises ConfigError: the file would have faults then; nothing was written
        """
        values: dict[source.KeyPath, str | float | bool] = {}
        for change in changes:
            number = self.units.index(change.unit)
            entry = self._data["units"][number]
            key = "channel_data" if "channel_data" in entry else "channels"
            values["units", number, key, change.channel, change.field] = change.new
        try:
            text = editing.set_values(self._content.decode("utf-8-sig"), values)
        except editing.EditError as error:
            raise SaveError(f"{self._given}: {error}; nothing was written") from None
        content = (b"\xef\xbb\xbf" if self._content.startswith(b"\xef\xbb\xbf") else b"") + text.encode()
        config.parse(content, self._given)
        return self._replace(content)

    def _replace(self, content: bytes) -> Path:
        backup = self.path.with_name(f"{self.path.name}.bak")
        try:
            status = self.path.stat()
            with _beside(self.path) as new:
                new.write_bytes(content)
                _make_like(new, status)
                with _beside(self.path) as copy:
                    shutil.copyfile(self.path, copy)
                    _make_like(copy, status)
                    if copy.read_bytes() != self._content:
                        raise SaveError(f"{self._given} was changed by somebody else meanwhile; try again")
                    copy.replace(backup)
                new.replace(self.path)
        except OSError as error:
            raise SaveError(f"{self._given} can't be written: {error.strerror}; nothing was changed") from None
        return backup


def _settings(state: ChannelState, info: ChannelInfo | None) -> Iterator[tuple[str, float | bool]]:
    """The settings of a channel that can be restored: those that it tells and that a command can set."""
    fields = _ANYWAY if info is None else info.fields
    for field in SAVED:
        value = getattr(state, field)
        if value is None or field not in fields:
            continue
        # Of a protection that is switched off at the unit alone, the level could not be sent again.
        is_without_effect = field == "voltage_protection" and state.voltage_protection_state is False
        if is_without_effect and "voltage_protection_state" not in fields:
            continue
        if field in _ANYWAY or _is_in_range(value, field, info):
            yield field, value if isinstance(value, bool) else round(value, _DIGITS)


def _is_above(most: float | None, value: float | bool) -> bool:
    return most is not None and not isinstance(value, bool) and abs(value) > most


def _is_in_range(value: float | bool, field: str, info: ChannelInfo | None) -> bool:
    """True if a command may set this value. Some units tell 0 V for no protection, which none takes."""
    interval = None if info is None or isinstance(value, bool) else info.range_of(field)
    return interval is None or interval[0] - _NEARLY <= value <= interval[1] + _NEARLY


def _in_file(value: str | float | bool) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new empty file in the same folder. It is removed at the end, unless it was renamed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    file = Path(name)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _make_like(file: Path, status: os.stat_result) -> None:
    """Give a file the owner and rights of another, and wait until it is on disk."""
    with contextlib.suppress(PermissionError):
        os.chown(file, status.st_uid, status.st_gid)
    file.chmod(status.st_mode & 0o7777)
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def present(
    file: ConfigFile, address: Address, target: Target | None = None
) -> tuple[list[FileChange], dict[str, str]]:
    """The changes to be written, and what can't be saved with the reason: units that are absent, settings above a limit.

    :param target: the unit or channel that is to be saved; None for all units of the file
    :raises SaveError: the file has no such unit
    :raises BrokerError: the broker can't be reached
    """
    if target is not None and target.unit not in file.units:
        raise SaveError(f"{file} has no unit {target.unit}; it has {', '.join(file.units)}")
    units = file.units if target is None else [target.unit]
    with Client(address) as client:
        fleet = Fleet(client.topics)
        for message in client.retained(Fleet.filters(client.topics, None if target is None else target.unit)):
            fleet.update(message.topic, message.payload)
    changes: list[FileChange] = []
    absent: dict[str, str] = {}
    for unit in units:
        states = fleet.channels(unit, None if target is None else target.channel)
        info = fleet.units[unit].info if states else None
        takes = {} if info is None else {channel.index: channel for channel in info.channels}
        told = [(state, takes.get(state.index)) for state in states]
        changes += file.changes(told)
        absent |= file.above_limits(told)
        if (why := fleet.why_absent(unit)) is not None:
            absent[unit] = why
        elif not states:
            absent[str(target or unit)] = "no agent has published its state"
    return changes, absent


def send(
    address: Address, commands: dict[Target, dict[str, float | bool]], *, lease: str | None = None
) -> Iterator[tuple[Target, CommandOutcome, float]]:
    """Send settings, one channel after the other. Yields each channel's outcome, and the time limit of its response (s).

    :param lease: the holder in whose name they are sent
    :raises BrokerError: the broker can't be reached
    """
    with Client(address) as client:
        for target, fields in commands.items():
            command = request.command(target, dict(fields), command_id=uuid.uuid4().hex, lease=lease)
            patience = request.patience(command)
            try:
                outcome = request.send(client, target, command, expiry=patience, patience=patience)
            except NobodyAnsweredError:
                outcome = CommandOutcome()
            yield target, outcome, patience


def saved(configuration: Config, target: Target | None = None) -> dict[Target, dict[str, float | bool]]:
    """The settings that the file holds, by channel, as the fields of a command.

    The agent sends the settings of one command in an order in which no value in between trips, or is above both the old and the
    new one; so all settings of a channel go into one command.
    """
    found = {}
    for unit in configuration.units:
        for index, channel in sorted(unit.channels.items()):
            fields = channel.saved()
            if fields.get("voltage_protection_state") is False:
                fields.pop("voltage_protection", None)  # it has no effect, and the agent refuses such a level
            wanted = target is None or (target.unit == unit.name and target.channel in (None, str(index), channel.name))
            if fields and wanted:
                found[Target(unit.name, str(index))] = fields
    return found

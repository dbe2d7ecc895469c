"""``model: external``: a unit that programs of the user control.

``get_channels`` prints the channels as JSON, ``ping`` tells by its exit status whether the unit is there, ``set`` is given a
channel, a field and a value. Limits and the order of settings are the worker's, as with any unit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agent.instruments.driver import (
    Driver,
    GiveWay,
    Identity,
    IdentityError,
    LinkError,
    MalformedAnswerError,
    Output,
    Profile,
    Range,
    Reading,
    Write,
)
from agent.instruments.external.answers import Answer, ChannelAnswer, read_answer
from agent.instruments.external.programs import Outcome, ProgramError, Runner
from agent.instruments.external.several import run_in_turn, run_side_by_side
from agent.protocol.quantities import LEVELS, Setting


class ProgramSettings(Protocol):
    """The programs of a unit and their limits, as the configuration has them. A program is a list of its arguments."""

    @property
    def ping(self) -> Sequence[str] | None:
        """It exits with 0 if the unit is there. None: ``get_channels`` tells that."""

    @property
    def get_channels(self) -> Sequence[str]:
        """It prints the channels."""

    @property
    def set(self) -> Sequence[str] | None:
        """It sets something: ``{channel}``, ``{field}``, ``{value}`` and ``{unit}`` stand for that. None: nothing can be set."""

    @property
    def timeout(self) -> float:
        """s that each may take."""

    @property
    def output_limit(self) -> int:
        """The most bytes that each may print, to stdout and stderr each."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for them, beside PATH, HOME and LANG of the agent."""


class ConfiguredChannel(Protocol):
    """The configuration of a channel."""

    @property
    def name(self) -> str | None:
        """Its name, None for the one that ``get_channels`` prints."""

    @property
    def voltage_max(self) -> float | None:
        """The most volts that may be set, as a magnitude."""

    @property
    def current_max(self) -> float | None:
        """The most amperes that may be set."""


class ExternalDriver(Driver):
    """A unit behind programs. It tells its outputs when it is connected.

    :param name: the unit's name
    :param folder: where the programs run
    :param serial: the serial number that it must have, None for any
    :param channels: the configuration of the channels, by their numbers; the unit must have all of them
    :param secrets: texts that no message may show
    """

    def __init__(
        self,
        commands: ProgramSettings,
        *,
        name: str,
        folder: Path,
        serial: str | None = None,
        channels: Mapping[int, ConfiguredChannel] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self.address = f"external:{name}:{Path(commands.get_channels[0]).name}"
        self._commands = commands
        self._name = name
        self._serial = serial
        self._channels = dict(channels or {})
        self._runner = Runner(
            folder,
            timeout=commands.timeout,
            output_limit=commands.output_limit,
            environment=commands.environment,
            secrets=secrets,
        )
        self._is_open = False
        self._identity: Identity | None = None
        self._indices: frozenset[int] = frozenset()
        self._complaints: list[str] = []

    @property
    def expected(self) -> Profile:
        """No outputs: only the unit can tell them."""
        return Profile("external", ())

    def connect(self) -> Profile:
        """Run the programs of a poll, and take over the outputs that they tell."""
        self._is_open = True
        self._complaints = []
        try:
            self._ping()
            answer = self._get_channels()
            self._check(answer)
            self._identity = _identity(answer)
            self.admit(self._identity)
        except BaseException:
            self._is_open = False
            raise
        self._indices = frozenset(channel.index for channel in answer.channels)
        settings = self._settings(answer)
        return Profile(
            answer.model,
            tuple(self._output(channel, settings) for channel in answer.channels),
            self._identity,
            "one program" if self._commands.ping is None else "two programs",
        )

    def poll(self, give_way: GiveWay) -> dict[int, Reading] | None:
        """Run ``ping``, if there is one, and ``get_channels``."""
        try:
            self._ping()
            if self._commands.ping is not None and give_way():
                return None
            answer = self._get_channels()
            now = _identity(answer)
            if self._identity is None or replace(now, firmware=self._identity.firmware) != self._identity:
                raise IdentityError(
                    f"get_channels tells of {now.model} {now.serial!r} now, and told of another unit before; it gets no commands",
                    now,
                )
            found = {channel.index: channel.reading() for channel in answer.channels}
            if found.keys() != self._indices:
                raise MalformedAnswerError(
                    f"get_channels printed channels {_listed(found)}, before {_listed(self._indices)}"
                )
        except BaseException:
            self._is_open = False
            raise
        return found

    def write(self, write: Write) -> None:
        """Run ``set`` once for each channel, also for those behind one that fails; an off also beside one that hangs."""
        if not self._is_open or self._commands.set is None:
            raise LinkError("not sent: the unit is not connected, or has no `set` command")
        programs = [self._filled_in(self._commands.set, write, channel) for channel in write.channels]
        is_off = write.setting == "state" and not write.value
        ends = run_side_by_side(self._runner, programs) if is_off else run_in_turn(self._runner, programs)
        failure: ProgramError | None = None
        for channel, end in zip(write.channels, ends, strict=True):
            if isinstance(end, ProgramError):
                failure = failure or end
            elif end.status != 0:
                self._complaints.append(f"set failed for channel {channel} ({end.complaint})")
        if failure is not None:
            self._is_open = False
            raise LinkError(str(failure)) from failure

    def _filled_in(self, program: Sequence[str], write: Write, channel: int) -> list[str]:
        values = {"{unit}": self._name, "{channel}": str(channel), "{field}": write.setting, "{value}": write.text}
        return [re.sub(r"\{(?:unit|channel|field|value)\}", lambda match: values[match[0]], text) for text in program]

    def close(self) -> None:
        """Nothing runs between two calls, so there is nothing to end."""
        self._is_open = False

    def complaints(self) -> list[str]:
        """The settings that ``set`` refused since the last call: its exit status and the last line on its stderr."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def hurry(self, seconds: float) -> None:
        """Have programs killed after that time (s): the one that runs, and later ones."""
        self._runner.hurry(seconds)

    # Running.

    def _ping(self) -> None:
        if self._commands.ping is not None:
            outcome = self._run(self._commands.ping)
            if outcome.status != 0:
                raise LinkError(f"ping says that it is not there ({outcome.complaint})")

    def _get_channels(self) -> Answer:
        outcome = self._run(self._commands.get_channels)
        if outcome.status != 0:
            raise LinkError(f"get_channels failed ({outcome.complaint})")
        try:
            printed = outcome.stdout.decode()
        except UnicodeDecodeError as error:
            shown = self._runner.conceal(outcome.stdout.decode("utf-8", "surrogateescape"))
            start = shown.encode("utf-8", "surrogateescape")[:40]
            raise LinkError(f"get_channels printed bytes that are not UTF-8: {start!a}") from error
        try:
            return read_answer(printed)
        except MalformedAnswerError:
            if self._runner.conceal(printed) == printed:
                raise
            raise MalformedAnswerError(
                "get_channels printed something else than channels, with a secret in it"
            ) from None

    def _run(self, command: Sequence[str]) -> Outcome:
        if not self._is_open:
            raise LinkError("the unit is not connected")
        try:
            return self._runner.run(command)
        except ProgramError as error:
            raise LinkError(str(error)) from error

    # The answer of ``get_channels``.

    def _check(self, answer: Answer) -> None:
        """Compare the unit with the configuration.

        :raises IdentityError: it is another unit, lacks a configured channel, or two channels would have one name
        """
        identity = _identity(answer)
        if self._serial is not None and answer.serial != self._serial:
            raise IdentityError(
                f"get_channels tells the serial number {answer.serial!r}, not {self._serial!r}", identity
            )
        indices = frozenset(channel.index for channel in answer.channels)
        if missing := self._channels.keys() - indices:
            raise IdentityError(
                f"get_channels printed channels {_listed(indices)}; the configuration has {_listed(missing)} besides",
                identity,
            )
        names = []
        for channel in answer.channels:
            configured = self._channels.get(channel.index)
            names.append((configured.name if configured else None) or _name(channel))
        if len(set(names)) < len(names):
            raise IdentityError(
                f"two channels would have the same name: {', '.join(sorted(names))}; name them differently", identity
            )

    def _settings(self, answer: Answer) -> frozenset[Setting]:
        """The settings that ``set`` is given: not a switch that no channel tells, as it could not be read back."""
        if self._commands.set is None:
            return frozenset()
        settings: set[Setting] = {"state", *LEVELS}
        switches: tuple[Setting, ...] = ("current_protection", "voltage_protection_state")
        for switch in switches:
            if any(getattr(channel, switch) is not None for channel in answer.channels):
                settings.add(switch)
        if any("tripped" in channel.model_fields_set for channel in answer.channels):
            settings.add("clear_protection")
        return frozenset(settings)

    def _output(self, channel: ChannelAnswer, settings: frozenset[Setting]) -> Output:
        """A channel with the settings that it reads back.

        A setting without a known range stays among them without one: the configuration can give it a range.
        """
        configured = self._channels.get(channel.index)
        reading = channel.reading()
        own = settings - {setting for setting in LEVELS if getattr(reading, setting) is None}
        ranges = {
            "voltage_limit": _settable(channel.voltage_range, configured.voltage_max if configured else None),
            "current_limit": _settable(channel.current_range, configured.current_max if configured else None),
            "voltage_protection": channel.voltage_protection_range,
            "current_protection_level": channel.current_protection_level_range,
        }
        return Output(
            index=channel.index,
            name=_name(channel),
            ranges={setting: known for setting, known in ranges.items() if setting in own and known is not None},
            voltage_rating=_magnitude(channel.voltage_range),
            current_rating=_magnitude(channel.current_range),
            voltage_resolution=channel.voltage_resolution,
            current_resolution=channel.current_resolution,
            settings=own,
        )


def _identity(answer: Answer) -> Identity:
    return Identity(answer.manufacturer, answer.model, answer.serial, answer.firmware)


def _name(channel: ChannelAnswer) -> str:
    return channel.name or f"CH{channel.index}"


def _settable(interval: Range | None, most: float | None) -> Range | None:
    """The range of a setting: the channel's own, or as far as the configuration allows; None where neither is known."""
    if interval is not None:
        return interval
    return Range(0.0, most) if most is not None else None


def _magnitude(interval: Range | None) -> float | None:
    return None if interval is None else max(abs(interval.min), abs(interval.max))


def _listed(indices: Collection[int]) -> str:
    return ", ".join(map(str, sorted(indices)))

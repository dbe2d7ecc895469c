"""A channel: the ranges of its output, and the narrower limits of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.instruments.driver import Output, Profile, Range, Reading
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import BY_NAME, COMMANDED, LEVELS

#: V or A by which a value may be past an end: the rounding of binary fractions.
_ROUNDING = 1e-9
#: By how much a measured voltage may be wrong: a part of it, and V. Bench supplies are more accurate than that.
_ACCURACY, _OFFSET = 0.002, 0.01


class ChannelSettings(Protocol):
    """The configuration of one channel. V, A, s."""

    @property
    def name(self) -> str | None:
        """The configured name; None for the output's own."""

    @property
    def voltage_max(self) -> float | None:
        """The magnitude that ``voltage_limit`` may have at most (V)."""

    @property
    def current_max(self) -> float | None:
        """The magnitude that ``current_limit`` may have at most (A)."""

    @property
    def on_broker_loss(self) -> Literal["keep", "off"]:
        """``off``: the output is turned off when the broker has been gone for `broker_loss_after`."""

    @property
    def broker_loss_after(self) -> float:
        """The time without a broker (s) after which the output is turned off."""


@dataclass(frozen=True, slots=True)
class DefaultSettings:
    """The `ChannelSettings` of a channel that the configuration does not mention."""

    name: str | None = None
    voltage_max: float | None = None
    current_max: float | None = None
    on_broker_loss: Literal["keep", "off"] = "keep"
    broker_loss_after: float = 10.0


DEFAULTS = DefaultSettings()


@dataclass(frozen=True, slots=True)
class Channel:
    """One output of a unit with its name, its ranges and its limits (V, A)."""

    unit: str
    name: str
    output: Output
    settings: ChannelSettings = DEFAULTS

    @property
    def index(self) -> int:
        """Its number, as on the front panel."""
        return self.output.index

    def __str__(self) -> str:
        own = "" if self.name == self.output.name else f" ({self.name})"
        return f"channel {self.index}{own} of {self.unit}"

    def range(self, setting: str) -> Range | None:
        """The values that the output takes for a setting; None where it has no such setting."""
        return self.output.range(setting)

    def limit(self, setting: str) -> float | None:
        """The magnitude that the configuration limits a setting to; None where it does not."""
        match setting:
            case "voltage_limit":
                return self.settings.voltage_max
            case "current_limit":
                return self.settings.current_max
        return None

    def allowed(self, setting: str) -> Range | None:
        """The part of `range` that the configuration allows."""
        interval, limit = self.range(setting), self.limit(setting)
        if interval is None or limit is None:
            return interval
        return Range(max(interval.min, -limit), min(interval.max, limit))

    def tolerance(self, setting: str) -> float:
        """How far a setting that is read back may be from the one that was sent."""
        return self.output.current_resolution if BY_NAME[setting].unit == "A" else self.output.voltage_resolution

    def check(self, setting: str, value: float, doing: str = "") -> None:
        """Refuse a value that the configuration or the output does not allow. ``doing`` stands in front of the message.

        :raises Refusal: ``limit_exceeded`` or ``out_of_range``
        """
        unit = BY_NAME[setting].unit
        limit = self.limit(setting)
        if limit is not None and not abs(value) <= limit + _ROUNDING:
            raise Refusal(
                "limit_exceeded",
                f"{doing}{setting} {plain(value)} {unit} is above the {plain(limit)} {unit} that {self} is limited to",
            )
        interval = self.range(setting)
        if interval is not None and value not in Range(interval.min - _ROUNDING, interval.max + _ROUNDING):
            raise Refusal(
                "out_of_range",
                f"{doing}{setting} {plain(value)} {unit} is outside the {plain(interval.min)} to "
                f"{plain(interval.max)} {unit} of {self}",
            )

    def check_settings(self, reading: Reading) -> None:
        """Refuse to turn an output on while the unit has settings for it that are above the limits of the configuration.

        :raises Refusal: ``limit_exceeded``
        """
        # The unit's own rounding must not make a setting at the limit one above it.
        for setting, value in (("voltage_limit", reading.voltage_limit), ("current_limit", reading.current_limit)):
            limit = self.limit(setting)
            if limit is None:
                continue
            if value is None:
                raise Refusal(
                    "limit_exceeded",
                    f"not turned on: the unit does not tell the {setting} of {self}, so that nobody knows whether it keeps "
                    f"the {plain(limit)} {BY_NAME[setting].unit} that it is limited to",
                )
            if not abs(value) <= limit + self.tolerance(setting):
                self.check(setting, value, "not turned on: in the unit, ")


def channels_of(unit: str, profile: Profile, settings: Mapping[int, ChannelSettings]) -> dict[int, Channel]:
    """The channels of a unit by their numbers, named and limited as the configuration says."""
    channels = {}
    for output in profile.outputs:
        own = settings.get(output.index, DEFAULTS)
        channels[output.index] = Channel(unit, own.name or output.name, output, own)
    return channels


def supported(channel: Channel) -> list[str]:
    """The fields of a command that this channel takes, in the order of the contract's table."""
    fields: set[str] = {
        setting for setting in channel.output.settings if setting not in LEVELS or channel.range(setting) is not None
    }
    if "state" in fields:
        fields.add("cycle")
    if "voltage_limit" in fields:
        fields.add("ramp")
    return [field for field in COMMANDED if field in fields]


def check(command: Command, channels: Iterable[Channel]) -> None:
    """Check all of a command that can be checked without asking the unit.

    :raises Refusal: ``unsupported``, ``limit_exceeded`` or ``out_of_range``; nothing of it is to be carried out then
    """
    fields = command.fields
    for channel in channels:
        known = supported(channel)
        for field, value in fields.items():
            if field not in known:
                raise Refusal("unsupported", f"{channel} has no {field}{_remedy(field, channel)}")
            if field in LEVELS:
                channel.check(field, float(value))


def admit_off(command: Command, channels: Iterable[Channel]) -> tuple[Command, tuple[Channel, ...]]:
    """As much of an off as can be done: all of it, or its off alone; and those of the channels that can be turned off.

    :raises Refusal: ``unsupported``; none of them can
    """
    fault: Refusal | None = None
    able: list[Channel] = []
    for channel in channels:
        try:
            check(Command(state=False), (channel,))
            able.append(channel)
        except Refusal as refusal:
            fault = fault or refusal
    if fault is not None and not able:
        raise fault
    try:
        check(command, able)
    except Refusal as refusal:
        fault = fault or refusal
    return command if fault is None else command.only_off(fault), tuple(able)


def judge(command: Command, channel: Channel, before: Reading, *, to_go_on: bool = False) -> None:
    """Refuse a command that the present state of its output forbids, or that would have the voltage above the trip level.

    Over-current protection is not judged: its trip depends on the load, and is what ``current_protection`` asks for.

    :param to_go_on: another command is about to turn the output on
    :raises Refusal: ``instrument_error``, ``limit_exceeded`` or ``out_of_range``
    """
    turns_on = bool(command.state) or command.cycle is not None
    volts = before.voltage_limit if command.voltage_limit is None else command.voltage_limit
    if before.tripped and (turns_on or command.ramp is not None) and not command.clear_protection:
        raise Refusal("instrument_error", f"{channel} has tripped ({before.tripped}); send clear_protection first")
    if turns_on:
        amperes = before.current_limit if command.current_limit is None else command.current_limit
        channel.check_settings(before._replace(voltage_limit=volts, current_limit=amperes))
    if command.ramp is not None and (before.state or not turns_on):
        # Its steps lead from the voltage that the unit has.
        if before.voltage_limit is None:
            raise Refusal(
                "readback_mismatch", f"the unit does not tell the voltage_limit of {channel}, where a ramp begins"
            )
        limit = channel.limit("voltage_limit")
        if limit is not None and abs(before.voltage_limit) > limit + channel.tolerance("voltage_limit"):
            channel.check("voltage_limit", before.voltage_limit, "no ramp from where the unit is: ")
    sets_voltage = command.voltage_limit is not None or command.voltage_protection is not None
    if turns_on or (sets_voltage and (before.state or to_go_on) and command.state is None):
        _judge_voltage(command, channel, before, volts)


def _judge_voltage(command: Command, channel: Channel, before: Reading, volts: float | None) -> None:
    level = before.voltage_protection if command.voltage_protection is None else command.voltage_protection
    if not level:
        return
    present = before.voltage_limit
    # It has not tripped at a higher voltage (the unit's protection may be switched off): going down is no reason for it.
    goes_down = before.state and command.voltage_protection is None and abs(volts or 0.0) < abs(present or 0.0)
    if volts is not None and abs(volts) > level + _ROUNDING and not goes_down:
        raise Refusal(
            "out_of_range",
            f"{channel} would trip (OVP): voltage_limit {plain(volts)} V is above its voltage_protection of {plain(level)} V; "
            "raise voltage_protection, or set both in one command",
        )
    stays = command.voltage_limit is None and before.state and command.cycle is None
    if command.voltage_protection is not None and stays and measures_above(before, level):
        raise Refusal(
            "out_of_range",
            f"{channel} would trip (OVP): it measures {plain(before.voltage or 0.0)} V, which is above voltage_protection "
            f"{plain(level)} V",
        )


def measures_above(reading: Reading, level: float) -> bool:
    """True if the measured voltage is above a level (V) by more than it may be wrong by."""
    return reading.voltage is not None and abs(reading.voltage) > level * (1 + _ACCURACY) + _OFFSET


def _remedy(field: str, channel: Channel) -> str:
    """The end of a refusal: how the configuration can give the channel the field that it lacks."""
    if not channel.output.settings:
        return ", it can only be watched"
    limits = {"voltage_limit": "voltage_max", "ramp": "voltage_max", "current_limit": "current_max"}
    setting = "voltage_limit" if field == "ramp" else field
    if field in limits and setting in channel.output.settings and channel.limit(setting) is None:
        return f" whose range is known; give it a {limits[field]} in the configuration"
    return ""


def plain(value: float) -> str:
    """A number for a message to a person: up to ten digits, without zeros at the end."""
    return f"{value:.10g}"

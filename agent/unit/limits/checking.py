"""The check of a command without asking the unit: does the channel take its fields, and are their values allowed."""

from __future__ import annotations

from collections.abc import Iterable

from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import COMMANDED, LEVELS
from agent.unit.limits.channel import Channel

#: The setting that a field needs, where it is another one.
_SETTING_OF = {"cycle": "state", "ramp": "voltage_limit"}


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
    fields, channels = command.fields, tuple(channels)
    for channel in channels:
        known = supported(channel)
        for field, value in fields.items():
            if field not in known:
                if why := channel.output.unsupported.get(_SETTING_OF.get(field, field)):
                    raise Refusal("unsupported", f"{channel} takes no {field}: {why}")
                raise Refusal("unsupported", f"{channel} has no {field}{_remedy(field, channel)}")
            if field in LEVELS:
                channel.check(field, float(value))
    if command.state or command.cycle is not None:
        check_reach(channels)


def check_reach(channels: Iterable[Channel]) -> None:
    """Refuse to turn on outputs whose switch would turn on others too.

    :raises Refusal: ``unsupported``
    """
    named = tuple(channels)
    indices = {channel.index for channel in named}
    for channel in named:
        if others := sorted(channel.together - indices):
            raise Refusal(
                "unsupported",
                f"{channel} has one switch with {_listed(others)}, which would be turned on too; turn the whole unit on with a "
                f"command to {channel.unit}",
            )


def _listed(indices: list[int]) -> str:
    return f"channel{'s' if len(indices) > 1 else ''} {' and '.join(map(str, indices))}"


def takers(command: Command, channels: Iterable[Channel]) -> tuple[Channel, ...]:
    """Those of a unit's channels that take all fields of a command to the whole unit; all of them if none does.

    An output without a switch, such as a fixed one of 5 V, does not keep the others from being turned on.
    """
    known = tuple(channels)
    able = tuple(channel for channel in known if command.fields.keys() <= set(supported(channel)))
    return able or known


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


def _remedy(field: str, channel: Channel) -> str:
    """The end of a refusal: how the configuration can give the channel the field that it lacks."""
    if not channel.output.settings:
        return ", it can only be watched"
    limits = {"voltage_limit": "voltage_max", "ramp": "voltage_max", "current_limit": "current_max"}
    setting = _SETTING_OF.get(field, field)
    if field in limits and setting in channel.output.settings and channel.limit(setting) is None:
        return f" whose range is known; give it a {limits[field]} in the configuration"
    return ""

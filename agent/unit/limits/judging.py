"""The judgement of a command by the present state of its outputs, before its first write."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agent.instruments.driver import Range, Reading
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import LEVELS
from agent.unit.limits.channel import ROUNDING, Channel, plain
from agent.unit.limits.readings import is_on, may_be_on, measures_above, measures_more_current

_NONE: Mapping[str, Range] = MappingProxyType({})


def judge(
    command: Command,
    channel: Channel,
    before: Reading,
    *,
    to_go_on: bool = False,
    present: Mapping[str, Range] = _NONE,
) -> None:
    """Refuse a command that the present state of its output forbids, or that would have it trip at once.

    A trip that depends on the load is not judged: it is what ``current_protection`` asks for.

    :param to_go_on: another command is about to turn the output on
    :param present: the present ranges of settings (V, A), where the output has several
    :raises Refusal: ``instrument_error``, ``unsupported``, ``limit_exceeded`` or ``out_of_range``
    """
    turns_on = bool(command.state) or command.cycle is not None
    volts = before.voltage_limit if command.voltage_limit is None else command.voltage_limit
    amperes = before.current_limit if command.current_limit is None else command.current_limit
    _judge_trip(command, channel, before, turns_on=turns_on)
    _judge_range(command, channel, present)
    if turns_on:
        channel.check_settings(before._replace(voltage_limit=volts, current_limit=amperes))
    if command.ramp is not None and (is_on(before) or not turns_on):
        # Its steps lead from the voltage that the unit has.
        if before.voltage_limit is None:
            raise Refusal(
                "readback_mismatch", f"the unit does not tell the voltage_limit of {channel}, where a ramp begins"
            )
        limit = channel.limit("voltage_limit")
        if limit is not None and abs(before.voltage_limit) > limit + channel.tolerance("voltage_limit"):
            channel.check("voltage_limit", before.voltage_limit, "no ramp from where the unit is: ")
    if command.voltage_limit is not None or command.current_limit is not None:
        held = (before.voltage_limit, before.current_limit)
        channel.check_power(volts, amperes, held)
        if command.ramp is not None:  # the current is set before the voltage moves
            channel.check_power(before.voltage_limit, amperes, held)
    _judge_switch(command, channel, before)
    sets_voltage = command.voltage_limit is not None or command.voltage_protection is not None
    protects = sets_voltage or bool(command.voltage_protection_state)
    if turns_on or (protects and (may_be_on(before) or to_go_on) and command.state is None):
        _judge_voltage(command, channel, before, volts)
    if command.current_protection_level is not None and may_be_on(before):
        _judge_current(command, channel, before, command.current_protection_level)


def level_to_be(command: Command, before: Reading) -> float | None:
    """The over-voltage trip level that a command sets or makes effective, as a magnitude (V); None if it does neither."""
    level = command.voltage_protection
    if level is None and command.voltage_protection_state:
        level = before.voltage_protection
    return None if level is None else abs(level)


def _judge_trip(command: Command, channel: Channel, before: Reading, *, turns_on: bool) -> None:
    if not before.tripped or command.clear_protection:
        return
    is_clearable = "clear_protection" in channel.output.settings
    # Where no command clears a trip, turning the output on does, or nothing: the look behind it tells.
    if command.ramp is not None or (turns_on and is_clearable):
        remedy = "send clear_protection first" if is_clearable else "end the trip first"
        raise Refusal("instrument_error", f"{channel} has tripped ({before.tripped}); {remedy}")


def _judge_range(command: Command, channel: Channel, present: Mapping[str, Range]) -> None:
    for level in LEVELS:
        value, interval = getattr(command, level), present.get(level)
        if value is not None and interval is not None:
            channel.check_present(level, value, interval)


def _judge_switch(command: Command, channel: Channel, before: Reading) -> None:
    """Refuse a trip level that has no effect, as its protection is switched off."""
    switch = before.voltage_protection_state
    if command.voltage_protection_state is not None:
        switch = command.voltage_protection_state
    if command.voltage_protection is None or switch is not False:
        return
    if "voltage_protection_state" in channel.output.settings:
        remedy = "send voltage_protection_state true in the same command"
    else:
        remedy = "switch it on at the unit"
    raise Refusal(
        "unsupported",
        f"the over-voltage protection of {channel} is switched off, so its level has no effect; {remedy}",
    )


def _judge_voltage(command: Command, channel: Channel, before: Reading, volts: float | None) -> None:
    switch, level = before.voltage_protection_state, before.voltage_protection
    if command.voltage_protection_state is not None:
        switch = command.voltage_protection_state
    if command.voltage_protection is not None:
        level = command.voltage_protection
    if not level or switch is False:
        return
    level, to_be = abs(level), level_to_be(command, before)
    present = before.voltage_limit
    # It has not tripped at a higher voltage (the unit's protection may be switched off): going down is no reason for it.
    goes_down = may_be_on(before) and to_be is None and abs(volts or 0.0) < abs(present or 0.0)
    if volts is not None and abs(volts) > level + ROUNDING and not goes_down:
        raise Refusal(
            "out_of_range",
            f"{channel} would trip (OVP): voltage_limit {plain(volts)} V is above its voltage_protection of {plain(level)} V; "
            "raise voltage_protection, or set both in one command",
        )
    stays = command.voltage_limit is None and may_be_on(before) and command.cycle is None
    if to_be is not None and stays and measures_above(before, level):
        raise Refusal(
            "out_of_range",
            f"{channel} would trip (OVP): it measures {plain(before.voltage or 0.0)} V, which is above voltage_protection "
            f"{plain(level)} V",
        )


def _judge_current(command: Command, channel: Channel, before: Reading, level: float) -> None:
    switch = before.current_protection if command.current_protection is None else command.current_protection
    stays = command.state is not False and command.cycle is None
    if stays and switch is not False and measures_more_current(before, level, channel.output.current_resolution):
        raise Refusal(
            "out_of_range",
            f"{channel} would trip (OCP): it measures {plain(before.current or 0.0)} A, which is above current_protection_level "
            f"{plain(level)} A; lower current_limit first",
        )

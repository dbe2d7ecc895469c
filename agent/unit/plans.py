"""From a checked command to the steps that carry it out.

A plan is a generator. It yields its next step: `LOOK`, a tuple of writes, `SETTLE` or a `Pause`, and is sent the readings that
a look found. During a pause the unit's worker is free for polls and for other commands. A plan touches nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from agent.instruments.driver import Reading, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import BY_NAME, LEVELS, Setting
from agent.timing import system_clock
from agent.unit.gate import Readings
from agent.unit.limits import Channel, plain

#: s between two steps of a ramp, where the unit's resolution does not ask for more.
RAMP_INTERVAL = 0.1
#: s. A ramp that would take longer gets nowhere, and its sender would never get a response.
LONGEST_RAMP = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Look:
    """Poll the unit, publish the readings and ask if it took the last write; the plan is sent the readings."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Ask the unit if it took the last write, and go on when it has answered."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until this moment of `agent.timing.system_clock` (s)."""

    until: float


Step = Look | Settle | Pause | tuple[Write, ...]
Plan = Generator[Step, Readings, None]

#: The newest reading of a channel and its moment of `agent.timing.system_clock`; None where there is none.
Newest = Callable[[int], tuple[Reading, float] | None]

LOOK = Look()
SETTLE = Settle()


def off(channels: tuple[Channel, ...]) -> Plan:
    """Turn outputs off at once, without a question before, and then check that they are off."""
    yield (Write("state", _indices(channels), False),)
    after = yield LOOK
    for channel in channels:
        _verify(channel, after[channel.index], Command(state=False))


def apply(command: Command, channels: tuple[Channel, ...], newest: Newest) -> Plan:
    """Carry a command out in the safe order: off first when turning off, settings before on when turning on.

    :param newest: the newest reading of a channel; a ramp ends if it shows a change at the unit
    :raises Refusal: the unit does not do what was asked, or its settings forbid to turn it on
    """
    indices = _indices(channels)
    if command.state is False:
        yield (Write("state", indices, False),)
    before = yield LOOK
    _refuse_endless(command, channels, before)
    turning_on = bool(command.state) or command.cycle is not None
    if turning_on:
        _refuse_tripped(channels, before)
    cleared = _to_be_cleared(command, indices, before)
    if command.cycle is not None:
        yield (Write("state", indices, False),)
    elif cleared and command.state is None:
        # Some supplies turn their output on again when a trip is cleared: it has to be off before.
        yield (Write("state", cleared, False),)
    off_since = system_clock()
    if cleared:
        yield (Write("clear_protection", cleared, True),)
    yield from _set(command, channels, before, newest)
    if command.cycle is not None:
        yield from _see(channels, command.model_copy(update={"state": False}))
        yield Pause(off_since + command.cycle)
    if turning_on and command.ramp is None:
        if len(command.fields) > 1 or command.cycle is not None:
            # Check the settings in the unit, which may have been changed since, before the output is turned on.
            yield from _see(channels, command.model_copy(update={"state": None}))
        yield (Write("state", indices, True),)
    after = yield LOOK
    for channel in channels:
        wanted = True if command.cycle is not None else False if channel.index in cleared else command.state
        _verify(channel, after[channel.index], command.model_copy(update={"state": wanted}))


def _refuse_endless(command: Command, channels: tuple[Channel, ...], before: Readings) -> None:
    if command.ramp is None or command.voltage_limit is None:
        return
    for channel in channels:
        start = before[channel.index].voltage_limit or 0.0
        volts = channel.range("voltage_limit")
        if command.state and not before[channel.index].state and volts is not None:
            start = min((volts.min, volts.max), key=abs)  # a soft start
        if abs(command.voltage_limit - start) / command.ramp > LONGEST_RAMP:
            raise Refusal(
                "out_of_range",
                f"ramp {plain(command.ramp)} V/s would take more than {LONGEST_RAMP / 3600:g} hours from {plain(start)} V to "
                f"{plain(command.voltage_limit)} V; give a higher rate",
            )


def _refuse_tripped(channels: tuple[Channel, ...], before: Readings) -> None:
    for channel in channels:
        tripped = before[channel.index].tripped
        if tripped:
            raise Refusal("instrument_error", f"{channel} has tripped ({tripped}); send clear_protection first")


def _to_be_cleared(command: Command, indices: tuple[int, ...], before: Readings) -> tuple[int, ...]:
    """The outputs that ``clear_protection`` acts on. One that is on has no trip, and is not turned off for it."""
    if not command.clear_protection:
        return ()
    return tuple(index for index in indices if before[index].tripped or not before[index].state)


def _set(command: Command, channels: tuple[Channel, ...], before: Readings, newest: Newest) -> Plan:
    """The settings of each channel, then its ramp."""
    for channel in channels:
        writes = _settings(command, channel, before[channel.index])
        if writes:
            yield writes
        if command.ramp is not None:
            yield from _ramp(command, channel, before[channel.index], newest)


def _see(channels: tuple[Channel, ...], command: Command) -> Plan:
    """Read the unit, and compare each channel with the command."""
    seen = yield LOOK
    for channel in channels:
        _verify(channel, seen[channel.index], command)


def _settings(command: Command, channel: Channel, before: Reading) -> tuple[Write, ...]:
    """The settings of a command, in an order in which no value in between is above both the old and the new one."""
    lowering: list[Write] = []
    raising: list[Write] = []
    one = (channel.index,)
    levels: tuple[tuple[Setting, float | None, float | None], ...] = (
        ("voltage_limit", command.voltage_limit if command.ramp is None else None, before.voltage_limit),
        ("current_limit", command.current_limit, before.current_limit),
    )
    for setting, value, present in levels:
        if value is not None:
            is_lower = present is not None and abs(value) < abs(present)
            (lowering if is_lower else raising).append(Write(setting, one, value))
    if command.voltage_protection is not None:
        write = Write("voltage_protection", one, command.voltage_protection)
        present_level = before.voltage_protection
        if present_level is not None and command.voltage_protection < present_level:
            lowering.append(write)  # after the voltage has come down, or it trips
        else:
            raising.insert(0, write)  # before the voltage goes up
    protection: list[Write] = []
    if command.current_protection is not None:
        protection.append(Write("current_protection", one, command.current_protection))
    return (*lowering, *raising, *protection)


def _ramp(command: Command, channel: Channel, before: Reading, newest: Newest) -> Plan:
    """Move ``voltage_limit`` to its target, never faster than asked for, also after a hold-up.

    With ``state: true`` on an output that is off it starts at the least voltage of the range: a soft start.
    """
    assert command.ramp is not None
    assert command.voltage_limit is not None
    one = (channel.index,)
    target, rate = command.voltage_limit, command.ramp
    value = before.voltage_limit
    if command.state and not before.state:
        volts = channel.range("voltage_limit")
        assert volts is not None  # or it would have no voltage_limit to go to
        value = min((volts.min, volts.max), key=abs)
        yield (Write("voltage_limit", one, value),)
        seen = yield LOOK
        _verify(channel, seen[channel.index], Command(voltage_limit=value))
        yield (Write("state", one, True),)
        seen = yield LOOK
        _verify(channel, seen[channel.index], Command(state=True, voltage_limit=value))
    if value is None:
        raise Refusal(
            "readback_mismatch", f"the unit does not tell the voltage_limit of {channel}, where a ramp begins"
        )
    running = bool(command.state) or before.state
    interval = max(RAMP_INTERVAL, channel.output.voltage_resolution / rate)
    wrote = system_clock()
    while value != target:
        yield Pause(wrote + interval)
        known = newest(channel.index)
        if known is not None and known[1] > wrote:
            _undisturbed(channel, known[0], value, running)
        now = system_clock()
        reach = rate * min(now - wrote, 2 * interval)
        distance = target - value
        value = target if abs(distance) <= reach else value + (reach if distance > 0 else -reach)
        yield (Write("voltage_limit", one, value),)
        yield SETTLE
        wrote = system_clock()


def _undisturbed(channel: Channel, reading: Reading, value: float, running: bool) -> None:
    if reading.tripped or reading.state is not running:
        what = f"tripped ({reading.tripped})" if reading.tripped else f"was turned {'on' if reading.state else 'off'}"
        raise Refusal("readback_mismatch", f"ramp ended at {plain(value)} V: {channel} {what}")
    if reading.voltage_limit is None or abs(reading.voltage_limit - value) > channel.tolerance("voltage_limit"):
        raise Refusal(
            "superseded",
            f"ramp ended: voltage_limit of {channel} was changed at the unit to {_shown(reading.voltage_limit)}",
        )


def _verify(channel: Channel, reading: Reading, command: Command) -> None:
    """Compare what was asked for with what the unit says it has.

    :raises Refusal: ``readback_mismatch``
    """
    if command.state is not None and reading.state is not command.state:
        tripped = f"; it has tripped ({reading.tripped})" if reading.tripped else ""
        raise Refusal(
            "readback_mismatch",
            f"{channel} is still {'on' if reading.state else 'off'} although it was turned "
            f"{'on' if command.state else 'off'}{tripped}",
        )
    if command.state and reading.tripped:
        raise Refusal("readback_mismatch", f"{channel} has tripped ({reading.tripped}) on being turned on")
    for field in LEVELS:
        unit = BY_NAME[field].unit
        wanted, found = getattr(command, field), getattr(reading, field)
        if wanted is not None and (found is None or abs(found - wanted) > channel.tolerance(field) * 1.000001):
            shown = "nothing" if found is None else f"{plain(found)} {unit}"
            raise Refusal("readback_mismatch", f"{field} of {channel} reads back {shown}, not {plain(wanted)} {unit}")
    if command.current_protection is not None and reading.current_protection is not command.current_protection:
        raise Refusal("readback_mismatch", f"current_protection of {channel} did not change")
    if command.clear_protection and reading.tripped:
        raise Refusal("readback_mismatch", f"{channel} is still tripped ({reading.tripped}): its cause is still there")


def _indices(channels: tuple[Channel, ...]) -> tuple[int, ...]:
    return tuple(channel.index for channel in channels)


def _shown(volts: float | None) -> str:
    return "nothing" if volts is None else f"{plain(volts)} V"

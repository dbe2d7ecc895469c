"""From a checked command to the steps that carry it out.

A plan is a generator. It yields its next step: a look, a tuple of writes, a `Checked` write or a `Pause`, and is sent what a
look has `Seen`. During a pause the unit's worker is free for polls and for other commands. A plan touches nothing itself. It
judges the command with what its first look has seen before it yields a write that turns on or sets anything.
"""

from __future__ import annotations

from collections.abc import Collection, Generator

from agent.instruments.driver import Reading, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import LEVELS
from agent.timing import system_clock
from agent.unit.gate import Readings
from agent.unit.limits.channel import Channel, plain
from agent.unit.limits.judging import level_to_be
from agent.unit.limits.readings import is_live, is_on, may_be_on
from agent.unit.steps import LOOK, LOOK_AT_ALL, Checked, Look, Newest, Pause, Plan, Seen, Step
from agent.unit.steps.checks import indices_of, judge_whole, see, shown, verify, verify_still_on
from agent.unit.steps.waiting import come_down, go_off, go_on, has_to_come_down, settled, stay_off, take_back

#: s between two steps of a ramp, where the unit's resolution does not ask for more.
RAMP_INTERVAL = 0.1
#: s after which a ramp asks again, before its next step, if a setting at the unit has changed the effect of that.
RAMP_WATCH = 0.5
LOOK_AT_VOLTAGE = Look(is_whole=True, settings=frozenset(("voltage_limit",)))
#: s. A ramp that would take longer gets nowhere, and its sender would never get a response.
LONGEST_RAMP = 24 * 3600.0


def off(channels: tuple[Channel, ...]) -> Plan:
    """Turn outputs off at once, without a question before, and then check that they are off. What is still on is told once more.

    A unit that had left remote mode is in it again then, and one that was busy is not any more.
    """
    yield (Write("state", indices_of(channels), False),)
    after = (yield LOOK).readings
    if left := tuple(index for index in indices_of(channels) if after[index].state):
        yield (Write("state", left, False),)
        after = (yield LOOK).readings
    told = system_clock()  # its answer shows that the unit has the off, whose delay it counts from there
    for channel in channels:
        verify(channel, after[channel.index], Command(state=False))
    if any(is_live(after[channel.index]) for channel in channels):
        yield from go_off(channels, told, (yield LOOK_AT_ALL))


def apply(
    command: Command, channels: tuple[Channel, ...], newest: Newest, to_go_on: frozenset[int] = frozenset()
) -> Plan:
    """Carry a command out in the safe order: off first when turning off, settings before on when turning on.

    :param newest: the newest reading of a channel; a ramp ends if it shows a change at the unit
    :param to_go_on: outputs that are off, and that a cycle under way is to turn on again
    :raises Refusal: the unit does not do what was asked, or its settings forbid to turn it on
    """
    indices = indices_of(channels)
    if command.state is False:
        yield (Write("state", indices, False),)
    seen = yield LOOK
    off_since = system_clock()  # as in `off`
    before = seen.readings
    turning_on = bool(command.state) or command.cycle is not None
    cleared = _to_be_cleared(command, indices, before)
    judge_whole(command, channels, cleared, seen, to_go_on)
    _refuse_endless(command, channels, before)
    if command.cycle is not None:
        yield (Write("state", indices, False),)
        off_since = system_clock()
    elif cleared and command.state is None:
        # Some supplies turn their output on again when a trip is cleared: it has to be off before.
        yield (Write("state", cleared, False),)
    if cleared:
        yield (Write("clear_protection", cleared, True),)
        yield from stay_off(tuple(channel for channel in channels if channel.index in cleared), before)
    verified = command
    for channel in channels:
        running = may_be_on(before[channel.index]) and not (command.cycle is not None or command.state is False)
        if command.ramp is None:
            yield from _set(command, channel, before[channel.index], running)
        else:
            verified = yield from _ramp(command, channel, before[channel.index], newest)
    if command.cycle is not None:
        yield from see(channels, command.model_copy(update={"state": False}))
        fall = max(seen.conditions.fall_delay.get(index, 0.0) for index in indices)
        yield Pause(off_since + fall + command.cycle)
    if turning_on and command.ramp is None:
        if len(command.fields) > 1 or command.cycle is not None:
            # Check the unit again, whose settings may have been changed since, before the output is turned on.
            seen = yield from see(channels, command.model_copy(update={"state": None}), LOOK_AT_ALL)
            # Its levels are the unit's own by now.
            judge_whole(command.model_copy(update=dict.fromkeys(LEVELS)), channels, cleared, seen)
        yield (Write("state", indices, True),)
        yield from go_on(channels, seen.conditions)
    after = yield from settled(channels, before, seen.conditions)
    if command.voltage_limit is not None and any(
        after[index].voltage_limit != before[index].voltage_limit for index in after if index not in indices
    ):
        yield LOOK_AT_VOLTAGE  # it is refused if the outputs follow each other since the first look
    expected = {
        channel.index: True if turning_on else False if channel.index in cleared else command.state
        for channel in channels
    }
    if turning_on:
        yield from take_back(channels, seen.readings, after)
    for channel in channels:
        state = expected[channel.index]
        if state is None and may_be_on(before[channel.index]) and not before[channel.index].tripped:
            verify_still_on(channel, after[channel.index])
        verify(channel, after[channel.index], verified.model_copy(update={"state": state}))
    if command.state is False and any(is_live(after[index]) for index in indices):
        yield from go_off(channels, off_since, (yield LOOK_AT_ALL))


def _refuse_endless(command: Command, channels: tuple[Channel, ...], before: Readings) -> None:
    if command.ramp is None or command.voltage_limit is None:
        return
    for channel in channels:
        start = before[channel.index].voltage_limit or 0.0
        volts = channel.range("voltage_limit")
        if command.state and not is_on(before[channel.index]) and volts is not None:
            start = min((volts.min, volts.max), key=abs)  # a soft start
        if abs(command.voltage_limit - start) / command.ramp > LONGEST_RAMP:
            raise Refusal(
                "out_of_range",
                f"ramp {plain(command.ramp)} V/s would take more than {LONGEST_RAMP / 3600:g} hours from {plain(start)} V to "
                f"{plain(command.voltage_limit)} V; give a higher rate",
            )


def _to_be_cleared(command: Command, indices: tuple[int, ...], before: Readings) -> tuple[int, ...]:
    """The outputs that ``clear_protection`` acts on. One that is on without a trip is not turned off for it."""
    if not command.clear_protection:
        return ()
    return tuple(index for index in indices if before[index].tripped or not is_on(before[index]))


def _set(command: Command, channel: Channel, before: Reading, running: bool) -> Plan:
    """The settings of a channel, in an order in which no value in between is above both the old and the new one, or trips.

    With a ramp, all but its ``voltage_limit`` and an over-voltage protection that it has to come down for first.
    """
    one = (channel.index,)
    lowering: list[Write] = []
    raising: list[Write] = []
    if command.current_protection is False:
        lowering.append(Write("current_protection", one, False))
    for setting, value, present in (
        ("voltage_limit", command.voltage_limit if command.ramp is None else None, before.voltage_limit),
        ("current_limit", command.current_limit, before.current_limit),
    ):
        if value is not None:
            is_lower = present is not None and abs(value) < abs(present)
            (lowering if is_lower else raising).append(Write(setting, one, value))  # type: ignore[arg-type]
    if running and before.current_protection:
        raising.reverse()  # the current first: the higher voltage might need it
    # A trip level goes up before what it is for goes up, and comes down behind it.
    level = command.current_protection_level
    if level is not None:
        write = Write("current_protection_level", one, level)
        if _is_raised(level, before.current_protection_level):
            raising.insert(0, write)
        else:
            lowering.append(write)
    protection = _voltage_protection(command, one)
    if not has_to_come_down(command, before, running):
        raised = command.voltage_protection is None or _is_raised(command.voltage_protection, before.voltage_protection)
        if raised or command.voltage_protection_state is not None:
            raising[:0] = protection
        else:
            lowering[:0] = protection
    elif command.ramp is None:
        if lowering:
            yield tuple(lowering)
            lowering = []
        yield from come_down(channel, level_to_be(command, before) or 0.0)
        yield protection
    if command.current_protection:
        raising.append(Write("current_protection", one, True))
    if lowering or raising:
        yield (*lowering, *raising)


def _voltage_protection(command: Command, one: tuple[int, ...]) -> tuple[Write, ...]:
    """The level of over-voltage protection, and then its switch."""
    writes: list[Write] = []
    if command.voltage_protection is not None:
        writes.append(Write("voltage_protection", one, command.voltage_protection))
    if command.voltage_protection_state is not None:
        writes.append(Write("voltage_protection_state", one, command.voltage_protection_state))
    return tuple(writes)


def _is_raised(level: float, present: float | None) -> bool:
    return present is None or abs(level) >= abs(present)


def _ramp(command: Command, channel: Channel, before: Reading, newest: Newest) -> Generator[Step, Seen, Command]:
    """Set all but ``voltage_limit``, and move that to its target, never faster than asked for, also after a hold-up.

    With ``state: true`` on an output that is off it starts at the least voltage of the range: a soft start. It returns the
    settings that are left to be verified: other commands may change the others meanwhile.
    """
    assert command.ramp is not None
    assert command.voltage_limit is not None
    was_running = may_be_on(before)
    yield from _set(command, channel, before, was_running)
    comes_down = has_to_come_down(command, before, was_running)
    of_protection = ("voltage_protection", "voltage_protection_state") if comes_down else ()
    done = dict.fromkeys(("state", "voltage_limit", *of_protection))
    if command.fields.keys() - {"ramp", "state", "voltage_limit"}:
        yield from see((channel,), command.model_copy(update=done))
    value = before.voltage_limit
    if command.state and not is_on(before):
        value = yield from _start_softly(channel)
    assert value is not None  # the judgement has seen to it
    running = bool(command.state) or was_running
    holds = {"voltage_limit", "cycle", *of_protection}
    yield from _move(command, channel, value, newest, frozenset(holds if running else holds | {"state"}))
    left: dict[str, float | bool] = {"voltage_limit": command.voltage_limit}
    if comes_down:
        yield from come_down(channel, level_to_be(command, before) or 0.0)
        protection = _voltage_protection(command, (channel.index,))
        left |= {write.setting: write.value for write in protection}
        yield protection
    return Command.model_validate(left)


def _start_softly(channel: Channel) -> Generator[Step, Seen, float]:
    """Turn an output on at the least voltage of its range, which is returned (V)."""
    volts = channel.range("voltage_limit")
    assert volts is not None  # or it would have no voltage_limit to go to
    value = min((volts.min, volts.max), key=abs)
    yield (Write("voltage_limit", (channel.index,), value),)
    seen = yield from see((channel,), Command(voltage_limit=value), LOOK_AT_ALL)
    judge_whole(Command(state=True), (channel,), (), seen)
    yield (Write("state", (channel.index,), True),)
    yield from go_on((channel,), seen.conditions)
    after = (yield LOOK).readings
    yield from take_back((channel,), seen.readings, after)
    verify(channel, after[channel.index], Command(state=True, voltage_limit=value))
    return value


def _move(command: Command, channel: Channel, value: float, newest: Newest, holds: Collection[str]) -> Plan:
    """The steps of a ramp, from this voltage (V) on."""
    assert command.ramp is not None
    assert command.voltage_limit is not None
    target, rate = command.voltage_limit, command.ramp
    running = "state" not in holds
    interval = max(RAMP_INTERVAL, channel.output.voltage_resolution / rate)
    wrote = looked = system_clock()
    while value != target:
        # The last step may be smaller than the unit's resolution: it waits no longer than the rate asks for.
        yield Pause(wrote + min(interval, max(RAMP_INTERVAL, abs(target - value) / rate)), frozenset(holds))
        if system_clock() - looked >= RAMP_WATCH:
            yield LOOK_AT_VOLTAGE
            looked = system_clock()
        known = newest(channel.index)
        if known is not None and known[1] > wrote:
            _undisturbed(channel, known[0], value, target, running)
        now = system_clock()
        reach = rate * min(now - wrote, 2 * interval)
        distance = target - value
        value = target if abs(distance) <= reach else value + (reach if distance > 0 else -reach)
        yield Checked(Write("voltage_limit", (channel.index,), value))
        wrote = system_clock()


def _undisturbed(channel: Channel, reading: Reading, value: float, target: float, running: bool) -> None:
    if reading.tripped or reading.state is (not running):
        what = f"tripped ({reading.tripped})" if reading.tripped else f"was turned {'on' if reading.state else 'off'}"
        raise Refusal("readback_mismatch", f"ramp ended at {plain(value)} V: {channel} {what}")
    if reading.voltage_limit is None or abs(reading.voltage_limit - value) > channel.tolerance("voltage_limit"):
        raise Refusal(
            "superseded",
            f"ramp ended: voltage_limit of {channel} was changed at the unit to {shown(reading.voltage_limit)}",
        )
    level = reading.voltage_protection
    is_effective = reading.voltage_protection_state is not False
    if running and level and is_effective and abs(target) > abs(level) and abs(target) > abs(value):
        raise Refusal(
            "superseded",
            f"ramp ended at {plain(value)} V: voltage_protection of {channel} is {plain(level)} V now, and it would trip",
        )

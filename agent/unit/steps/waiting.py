"""Parts of plans that wait for an output: until it is on or off, has settled, or has come down to a lower trip level."""

from __future__ import annotations

from collections.abc import Generator

from agent.instruments.driver import Conditions, Reading, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.timing import system_clock
from agent.unit.gate import Readings
from agent.unit.limits.channel import Channel, plain
from agent.unit.limits.judging import level_to_be
from agent.unit.limits.readings import delivers, may_be_on, measures_above
from agent.unit.steps import LOOK, LOOK_AT_ALL, Pause, Plan, Seen, Step
from agent.unit.steps.checks import LONGEST_DELAY, indices_of, listed, shown, verify

#: s between two looks at an output that has not settled, and how many there are at most.
SETTLING_INTERVAL, MOST_LOOKS = 0.02, 10
#: s that an output may take to come down to a lower trip level.
LONGEST_DESCENT = 2.0
#: s for which an output whose state can't be read may still deliver after it was turned off: some meters are slow.
LONGEST_AFTERGLOW = 2.0


def go_off(channels: tuple[Channel, ...], told: float, seen: Seen) -> Plan:
    """Wait until the off delay of outputs, set at the unit, is over, and check that they are off.

    :raises Refusal: ``instrument_error``: it takes too long; ``readback_mismatch``: they are not off, or still deliver
    """
    delays = seen.conditions.fall_delay
    slow = [channel for channel in channels if delays.get(channel.index, 0.0) > LONGEST_DELAY]
    if slow:
        raise Refusal(
            "instrument_error",
            f"{slow[0]} was turned off, but has an off delay of {plain(delays[slow[0].index])} s, set at the unit, and delivers "
            "until then; set the delay to 0 at the unit, or disconnect the output",
        )
    delay = max((delays.get(channel.index, 0.0) for channel in channels), default=0.0)
    if delay > 0:
        yield Pause(told + delay, frozenset(("state",)))
        after = (yield LOOK).readings
        for channel in channels:
            verify(channel, after[channel.index], Command(state=False))
    if any(seen.readings[channel.index].state is None for channel in channels):
        yield from _go_out(channels)


def _go_out(channels: tuple[Channel, ...]) -> Plan:
    """Wait until outputs whose state can't be read deliver nothing any more.

    :raises Refusal: ``readback_mismatch``: they do not stop
    """
    until = system_clock() + LONGEST_AFTERGLOW
    while True:
        after = (yield LOOK).readings
        left = [channel for channel in channels if _still_delivers(channel, after[channel.index])]
        if not left:
            return
        if system_clock() >= until:
            volts, amperes = after[left[0].index][:2]
            raise Refusal(
                "readback_mismatch",
                f"{left[0]} was turned off, and still measures {plain(volts or 0.0)} V and {plain(amperes or 0.0)} A",
            )
        yield Pause(system_clock() + SETTLING_INTERVAL, frozenset(("state",)))


def _still_delivers(channel: Channel, reading: Reading) -> bool:
    return reading.state is None and delivers(reading, channel.output.current_resolution)


def stay_off(channels: tuple[Channel, ...], before: Readings) -> Plan:
    """Look at once if a clearing of trips has turned an output on, and turn that off again.

    :param channels: those that were cleared, whose outputs were turned off before
    :param before: the readings before the command
    :raises Refusal: ``readback_mismatch``: it has
    """
    cleared = indices_of(channels)
    unread = tuple(index for index in cleared if before[index].state is None)
    if unread:  # nobody would see it go on
        yield (Write("state", unread, False),)
    after = (yield LOOK).readings
    woken = _woken(cleared, before, after)
    woken += tuple(channel.index for channel in channels if _still_delivers(channel, after[channel.index]))
    if not woken:
        return
    yield (Write("state", woken, False),)
    after = (yield LOOK).readings
    left = _woken(cleared, before, after)
    raise Refusal(
        "readback_mismatch",
        f"clearing the trip turned output {listed(woken)} of {channels[0].unit} on; "
        + (f"output {listed(left)} is still on: turn it off at the unit" if left else "it was turned off again"),
    )


def _woken(cleared: tuple[int, ...], before: Readings, after: Readings) -> tuple[int, ...]:
    """The outputs that are on, and were off before, or turned off."""
    return tuple(i for i, reading in after.items() if reading.state and (i in cleared or before[i].state is False))


def go_on(channels: tuple[Channel, ...], conditions: Conditions) -> Plan:
    """Wait until the on delay of outputs, set at the unit, is over."""
    delay = max(conditions.rise_delay.get(channel.index, 0.0) for channel in channels)
    if delay > 0:
        yield LOOK  # its answer shows that the unit counts the delay
        yield Pause(system_clock() + delay)


def take_back(channels: tuple[Channel, ...], before: Readings, after: Readings) -> Plan:
    """Turn off again what did not go on: a signal may hold it off, and it would go on when that ends. So, too, what took others
    along: they were coupled at the unit between the look and the switch.

    :raises Refusal: ``readback_mismatch``: others went on, and were turned off again
    """
    indices = indices_of(channels)
    others = {i for i, reading in after.items() if reading.state and before[i].state is False} - set(indices)
    if others:
        others &= (yield LOOK_AT_ALL).conditions.coupled
    if others:
        yield (Write("state", (*indices, *sorted(others)), False),)
        yield LOOK
        raise Refusal(
            "readback_mismatch",
            f"turned off again: {listed(others)} went on too, as the outputs were coupled at the unit meanwhile; end the "
            "coupling at the unit",
        )
    missing = tuple(index for index in indices if after[index].state is False and not after[index].tripped)
    if missing:
        yield (Write("state", missing, False),)


def settled(channels: tuple[Channel, ...], before: Readings, conditions: Conditions) -> Generator[Step, Seen, Readings]:
    """Look until the outputs have settled: each regulates, or has tripped if it was about to."""
    wrote = system_clock()
    after = (yield LOOK).readings
    for _ in range(MOST_LOOKS):
        # A mode that the unit does not tell is None, and is not waited for.
        if not any(may_be_on(after[c.index]) and after[c.index].mode == "UR" != before[c.index].mode for c in channels):
            break
        yield Pause(system_clock() + SETTLING_INTERVAL)
        after = (yield LOOK).readings
    limiting = [
        delay
        for channel in channels
        if after[channel.index].current_protection
        and _may_limit(after[channel.index], delay := conditions.protection_delay.get(channel.index, 0.0))
    ]
    if limiting:
        yield Pause(wrote + min(max(limiting), LONGEST_DELAY) + SETTLING_INTERVAL)
        after = (yield LOOK).readings
    return after


def _may_limit(reading: Reading, delay: float) -> bool:
    """True if an output may be about to trip, ``delay`` (s) after its current began to be limited."""
    return reading.mode == "CC" or (delay > 0 and reading.mode is None and may_be_on(reading))


def has_to_come_down(command: Command, before: Reading, running: bool) -> bool:
    """True if the trip level that a command sets, or makes effective, is below the voltage that the output still has."""
    level = level_to_be(command, before)
    return running and level is not None and (_is_set_above(before, level) or measures_above(before, level))


def come_down(channel: Channel, level: float) -> Plan:
    """Wait until the output has come down to a trip level (V).

    :raises Refusal: ``readback_mismatch``: it does not
    """
    until = system_clock() + LONGEST_DESCENT
    while True:
        reading = (yield LOOK).readings[channel.index]
        is_set_above = _is_set_above(reading, level)
        if reading.state is False or not (is_set_above or measures_above(reading, level)):
            return
        if is_set_above or system_clock() >= until:
            found = reading.voltage_limit if is_set_above else reading.voltage
            raise Refusal(
                "readback_mismatch",
                f"voltage_protection was not lowered: {channel} still has {shown(found)}, and would trip at {plain(level)} V",
            )
        yield Pause(system_clock() + SETTLING_INTERVAL)


def _is_set_above(reading: Reading, level: float) -> bool:
    return reading.voltage_limit is not None and abs(reading.voltage_limit) > abs(level)

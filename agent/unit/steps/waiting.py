"""Parts of plans that wait for an output: until it is on or off, has settled, or has come down to a lower trip level."""

from __future__ import annotations

from collections.abc import Generator

from agent.instruments.driver import Conditions, Reading, Write
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.timing import system_clock
from agent.unit.gate import Readings
from agent.unit.limits import Channel, measures_above, plain
from agent.unit.steps import LOOK, LOOK_AT_ALL, Pause, Plan, Seen, Step
from agent.unit.steps.checks import LONGEST_DELAY, indices_of, listed, shown, verify

#: s between two looks at an output that has not settled, and how many there are at most.
SETTLING_INTERVAL, MOST_LOOKS = 0.02, 10
#: s that an output may take to come down to a lower trip level.
LONGEST_DESCENT = 2.0
#: The part of its setting above which the voltage of an output that is off means that it may still be on.
_LIVE = 0.1


def is_live(reading: Reading) -> bool:
    """True if an output that was turned off has so much voltage that it may still be on; or it has not discharged yet."""
    volts = reading.voltage_limit
    return volts is not None and reading.voltage is not None and abs(reading.voltage) > max(0.1, _LIVE * abs(volts))


def go_off(channels: tuple[Channel, ...], told: float, seen: Seen) -> Plan:
    """Wait until the off delay of outputs, set at the unit, is over, and check that they are off.

    :raises Refusal: ``instrument_error``: it takes too long
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
    others = {i for i, reading in after.items() if reading.state and not before[i].state} - set(indices)
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
    missing = tuple(index for index in indices if not after[index].state and not after[index].tripped)
    if missing:
        yield (Write("state", missing, False),)


def settled(channels: tuple[Channel, ...], before: Readings, conditions: Conditions) -> Generator[Step, Seen, Readings]:
    """Look until the outputs have settled: each regulates, or has tripped if it was about to."""
    wrote = system_clock()
    after = (yield LOOK).readings
    for _ in range(MOST_LOOKS):
        if not any(after[c.index].state and after[c.index].mode == "UR" != before[c.index].mode for c in channels):
            break
        yield Pause(system_clock() + SETTLING_INTERVAL)
        after = (yield LOOK).readings
    limiting = [
        conditions.protection_delay.get(channel.index, 0.0)
        for channel in channels
        if after[channel.index].current_protection and after[channel.index].mode == "CC"
    ]
    if limiting:
        yield Pause(wrote + min(max(limiting), LONGEST_DELAY) + SETTLING_INTERVAL)
        after = (yield LOOK).readings
    return after


def has_to_come_down(command: Command, before: Reading, running: bool) -> bool:
    """True if the new trip level is below the voltage that the output still has."""
    level = command.voltage_protection
    return running and level is not None and (_is_set_above(before, level) or measures_above(before, level))


def come_down(channel: Channel, level: float) -> Plan:
    """Wait until the output has come down to a trip level (V).

    :raises Refusal: ``readback_mismatch``: it does not
    """
    until = system_clock() + LONGEST_DESCENT
    while True:
        reading = (yield LOOK).readings[channel.index]
        is_set_above = _is_set_above(reading, level)
        if not reading.state or not (is_set_above or measures_above(reading, level)):
            return
        if is_set_above or system_clock() >= until:
            found = reading.voltage_limit if is_set_above else reading.voltage
            raise Refusal(
                "readback_mismatch",
                f"voltage_protection was not lowered: {channel} still has {shown(found)}, and would trip at {plain(level)} V",
            )
        yield Pause(system_clock() + SETTLING_INTERVAL)


def _is_set_above(reading: Reading, level: float) -> bool:
    return reading.voltage_limit is not None and abs(reading.voltage_limit) > level

"""The checks of a plan: before its first write, if the unit lets it be carried out whole; after its writes, if it was."""

from __future__ import annotations

from collections.abc import Collection

from agent.instruments.driver import Reading
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.protocol.quantities import BY_NAME, LEVELS, SWITCHES
from agent.unit.gate import Readings
from agent.unit.limits.channel import Channel, plain
from agent.unit.limits.checking import check_reach
from agent.unit.limits.judging import judge
from agent.unit.limits.readings import may_be_on
from agent.unit.steps import LOOK, Finding, Look, Seen

#: s. An output that goes on or off later than that after it was told to is not turned on.
LONGEST_DELAY = 10.0


def judge_whole(
    command: Command,
    channels: tuple[Channel, ...],
    cleared: tuple[int, ...],
    seen: Seen,
    to_go_on: frozenset[int] = frozenset(),
) -> None:
    """Refuse a command that can't be carried out whole, or would do more than it says, by what the unit says of itself.

    :param to_go_on: outputs that another command is about to turn on
    :raises Refusal: for the first reason
    """
    readings, conditions = seen
    indices = frozenset(indices_of(channels))
    turning_on = bool(command.state) or command.cycle is not None
    switched = indices if turning_on else frozenset(cleared)
    if turning_on:
        check_reach(channels)
    else:
        _check_clearing(channels, switched, readings)
    if switched & conditions.coupled:
        also = conditions.coupled - switched
        if not turning_on:
            also = frozenset(index for index in also if may_be_on(readings[index]))
        if also:
            raise Refusal(
                "unsupported",
                f"at {channels[0].unit} outputs {listed(conditions.coupled)} are coupled, so {listed(also)} would be turned "
                f"{'on' if command.state else 'off'} too; end the coupling at the unit"
                + (", or turn the whole unit on" if command.state else ""),
            )
    for channel in channels:
        if turning_on:
            for word, delays in (("on", conditions.rise_delay), ("off", conditions.fall_delay)):
                if (delay := delays.get(channel.index, 0.0)) > LONGEST_DELAY:
                    raise Refusal(
                        "unsupported",
                        f"{channel} has an {word} delay of {plain(delay)} s, set at the unit; it is not turned on with more than "
                        f"{plain(LONGEST_DELAY)} s: shorten the delay at the unit",
                    )
        judge(
            command,
            channel,
            readings[channel.index],
            to_go_on=channel.index in to_go_on,
            present=conditions.ranges.get(channel.index, {}),
        )


def _check_clearing(channels: tuple[Channel, ...], cleared: frozenset[int], readings: Readings) -> None:
    """Refuse to clear a trip where the off before it would turn off others, which run.

    :raises Refusal: ``unsupported``
    """
    for channel in channels:
        others = channel.together - cleared if channel.index in cleared else frozenset()
        if running := [index for index in others if index in readings and may_be_on(readings[index])]:
            raise Refusal(
                "unsupported",
                f"{channel} is turned off before its trip is cleared, and has one switch with {listed(running)}, which would be "
                "turned off too; turn the whole unit off first",
            )


def see(channels: tuple[Channel, ...], command: Command, look: Look = LOOK) -> Finding:
    """Read the unit, and compare each channel with the command."""
    seen = yield look
    for channel in channels:
        verify(channel, seen.readings[channel.index], command)
    return seen


def verify_still_on(channel: Channel, reading: Reading) -> None:
    """Refuse to call a command done whose output was on before it, and is not any more.

    :raises Refusal: ``readback_mismatch``
    """
    if reading.state is False or reading.tripped:
        how = f"tripped ({reading.tripped})" if reading.tripped else "went off"
        raise Refusal("readback_mismatch", f"{channel} {how} while it was set")


def verify(channel: Channel, reading: Reading, command: Command) -> None:
    """Compare what was asked for with what the unit says it has. A state that can't be read is no mismatch.

    :raises Refusal: ``readback_mismatch``
    """
    if command.state is not None and reading.state is (not command.state):
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
    for field in SWITCHES:
        wanted, found = getattr(command, field), getattr(reading, field)
        if wanted is not None and found is not wanted:
            how = "can't be read back" if found is None else "did not change"
            raise Refusal("readback_mismatch", f"{field} of {channel} {how}")
    if command.clear_protection and reading.tripped:
        raise Refusal("readback_mismatch", f"{channel} is still tripped ({reading.tripped}): its cause is still there")


def indices_of(channels: tuple[Channel, ...]) -> tuple[int, ...]:
    """The numbers of channels."""
    return tuple(channel.index for channel in channels)


def listed(indices: Collection[int]) -> str:
    """Numbers for people: ``1, 3``."""
    return ", ".join(map(str, sorted(indices)))


def shown(volts: float | None) -> str:
    """A voltage for people."""
    return "nothing" if volts is None else f"{plain(volts)} V"

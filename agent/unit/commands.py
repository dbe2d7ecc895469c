"""From a checked command to the steps that carry it out, and the one door that every write to an output passes.

A plan is a generator. It yields what is to be done next, `Look`, `Write`s, `Settle` or `Pause`, and is sent what a `Look` found.
During a `Pause` the unit's worker is free for polls and for other commands.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.instruments.catalogue import ChannelModel, Range, Reading, Series
from agent.instruments.scpi.dialect import channel_list, format_value
from agent.protocol.commands import Command
from agent.protocol.errors import Refusal
from agent.timing import system_clock

Field = Literal[
    "state", "voltage_limit", "current_limit", "voltage_protection", "current_protection", "clear_protection"
]
_UNITS = {"voltage_limit": "V", "current_limit": "A", "voltage_protection": "V"}

#: s between two steps of a ramp, where the unit's resolution does not ask for more.
RAMP_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """Poll the unit and publish what it says, also of what was written last; the plan is sent the `Readings`."""


@dataclass(frozen=True, slots=True)
class Write:
    """One setting of some channels. The worker takes it through the `Door`."""

    field: Field
    channels: tuple[int, ...]
    value: float | bool


@dataclass(frozen=True, slots=True)
class Settle:
    """Ask the unit whether it took what was written last, and go on when it has answered."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing before this moment of `agent.clock.system_clock` (s)."""

    until: float


Readings = Mapping[int, Reading]
Step = Look | Settle | Pause | tuple[Write, ...]
Plan = Generator[Step, Readings, None]

#: The newest reading of a channel and its moment of `agent.clock.system_clock`; None where there is none.
Latest = Callable[[int], tuple[Reading, float] | None]

LOOK = Look()
SETTLE = Settle()


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as its commands see it: what the model can do, and the narrower limits of the configuration (V, A)."""

    unit: str
    name: str
    model: ChannelModel
    voltage_max: float | None = None
    current_max: float | None = None

    @property
    def index(self) -> int:
        return self.model.index

    def __str__(self) -> str:
        own = "" if self.name == self.model.name else f" ({self.name})"
        return f"channel {self.index}{own} of {self.unit}"

    def range(self, field: str) -> Range | None:
        """What the model takes for a setting; None where it has no such setting."""
        match field:
            case "voltage_limit":
                return self.model.voltage
            case "current_limit":
                return self.model.current
            case "voltage_protection":
                return self.model.voltage_protection
        return None

    def limit(self, field: str) -> float | None:
        """The magnitude that the configuration limits a setting to."""
        return {"voltage_limit": self.voltage_max, "current_limit": self.current_max}.get(field)

    def allowed(self, field: str) -> Range | None:
        """The part of the model's range that the configuration allows."""
        interval, limit = self.range(field), self.limit(field)
        if interval is None or limit is None:
            return interval
        return Range(max(interval.min, -limit), min(interval.max, limit))

    def tolerance(self, field: str) -> float:
        """How far a setting that is read back may be from the one that was sent."""
        return self.model.current_resolution if field == "current_limit" else self.model.voltage_resolution

    def check(self, field: str, value: float, doing: str = "") -> None:
        """Refuse a setting that the configuration or the model does not allow.

        :raises Refusal: ``limit_exceeded`` or ``out_of_range``
        """
        unit = _UNITS[field]
        limit = self.limit(field)
        if limit is not None and abs(value) > limit + 1e-9:
            raise Refusal(
                "limit_exceeded",
                f"{doing}{field} {_plain(value)} {unit} is above the {_plain(limit)} {unit} that {self} is limited to",
            )
        interval = self.range(field)
        if interval is not None and value not in Range(interval.min - 1e-9, interval.max + 1e-9):
            raise Refusal(
                "out_of_range",
                f"{doing}{field} {_plain(value)} {unit} is outside the {_plain(interval.min)} to "
                f"{_plain(interval.max)} {unit} of {self}",
            )

    def check_settings(self, reading: Reading) -> None:
        """Refuse to turn an output on whose settings, as the unit has them, somebody put above the limits.

        :raises Refusal: ``limit_exceeded``
        """
        # The unit's own rounding must not make a setting at the limit one above it.
        for field, value in (("voltage_limit", reading.voltage_limit), ("current_limit", reading.current_limit)):
            limit = self.limit(field)
            if limit is None:
                continue
            if value is None:
                raise Refusal(
                    "limit_exceeded",
                    f"not turned on: the unit does not tell the {field} of {self}, so that nobody knows whether it keeps "
                    f"the {_plain(limit)} {_UNITS[field]} that it is limited to",
                )
            if abs(value) > limit + self.tolerance(field):
                self.check(field, value, "not turned on: in the unit, ")


def supported(channel: Channel, series: Series) -> list[str]:
    """The fields of a command that this channel takes."""
    fields = [field for field in series.commands if field not in _UNITS or channel.range(field) is not None]
    return [
        *(["state"] if "state" in fields else []),
        *(field for field in fields if field != "state"),
        *(["cycle"] if "state" in fields else []),
        *(["ramp"] if "voltage_limit" in fields else []),
    ]


def check(command: Command, channels: Iterable[Channel], series: Series) -> None:
    """Check all of a command that needs no unit to be asked.

    :raises Refusal: ``unsupported``, ``limit_exceeded`` or ``out_of_range``; nothing of it is to be carried out then
    """
    fields = command.fields
    for channel in channels:
        known = supported(channel, series)
        for field, value in fields.items():
            if field not in known:
                raise Refusal("unsupported", f"{channel} has no {field}{_remedy(field, channel, series)}")
            if field in _UNITS:
                channel.check(field, float(value))


def _remedy(field: str, channel: Channel, series: Series) -> str:
    """What would give a channel the field that it lacks, where something would."""
    if not series.commands:
        return ", it can only be watched"
    limits = {"voltage_limit": "voltage_max", "ramp": "voltage_max", "current_limit": "current_max"}
    setting = "voltage_limit" if field == "ramp" else field
    if field in limits and setting in series.commands and channel.limit(setting) is None:
        return f" whose range is known; give it a {limits[field]} in the configuration"
    return ""


class Door:
    """The one place where a write to an output becomes a message to the unit. It knows the rating and the limits.

    It refuses a setting beyond them, and turning on unless the settings that the unit had when it was last looked at,
    which must have been since the last write, are within them too.
    """

    def __init__(self, series: Series, channels: Mapping[int, Channel]) -> None:
        self._series = series
        self._channels = channels
        self._seen: Readings | None = None

    def saw(self, readings: Readings) -> None:
        """The unit was looked at."""
        self._seen = readings

    def passes(self, writes: tuple[Write, ...]) -> list[str]:
        """The messages, one a write, that may go to the unit.

        :raises Refusal: one of them may not; then none may
        """
        for write in writes:
            self._admit(write)
        self._seen = None
        return [
            self._series.commands[write.field].format(
                value=format_value(write.value), list=channel_list(write.channels), channel=write.channels[0]
            )
            for write in writes
        ]

    def _admit(self, write: Write) -> None:
        if write.field not in self._series.commands:
            raise Refusal("unsupported", f"the unit has no {write.field}")
        for index in write.channels:
            channel = self._channels[index]
            if write.field in _UNITS:
                channel.check(write.field, float(write.value))
            if write.field == "state" and write.value:
                if self._seen is None:
                    raise Refusal("uncertain", f"not turned on: the settings of {channel} were not read before")
                channel.check_settings(self._seen[index])


def off(channels: tuple[Channel, ...]) -> Plan:
    """Turn outputs off: at once, whatever the unit says, and then see whether they are."""
    yield (Write("state", _indices(channels), False),)
    after = yield LOOK
    for channel in channels:
        _verify(channel, after[channel.index], Command(state=False))


def apply(command: Command, channels: tuple[Channel, ...], latest: Latest) -> Plan:
    """Carry a command out in the safe order: off first when turning off, settings before on when turning on.

    ``latest`` tells the newest reading of a channel and when it was taken, as a ramp wants to know.

    :raises Refusal: the unit does not do what was asked, or its settings forbid to turn it on
    """
    indices = _indices(channels)
    if command.state is False:
        yield (Write("state", indices, False),)
    before = yield LOOK
    turning_on = bool(command.state) or command.cycle is not None
    if turning_on:
        for channel in channels:
            tripped = before[channel.index].tripped
            if tripped:
                raise Refusal("instrument_error", f"{channel} has tripped ({tripped}); send clear_protection first")
    cleared: tuple[int, ...] = ()
    if command.clear_protection:
        # What runs has nothing to be cleared, and is not turned off for it.
        cleared = tuple(index for index in indices if before[index].tripped or not before[index].state)
    if command.cycle is not None:
        yield (Write("state", indices, False),)
    elif cleared and command.state is None:
        # A cleared trip gives some supplies their output back: it has to be off before.
        yield (Write("state", cleared, False),)
    off_since = system_clock()
    if cleared:
        yield (Write("clear_protection", cleared, True),)
    for channel in channels:
        writes = _settings(command, channel, before[channel.index])
        if writes:
            yield writes
        if command.ramp is not None:
            yield from _ramp(command, channel, before[channel.index], latest)
    if command.cycle is not None:
        seen = yield LOOK
        for channel in channels:
            _verify(channel, seen[channel.index], command.model_copy(update={"state": False}))
        yield Pause(off_since + command.cycle)
    if turning_on and command.ramp is None:
        if len(command.fields) > 1 or command.cycle is not None:
            # What was just set, or may have been turned since, is seen in the unit before the output goes on.
            seen = yield LOOK
            for channel in channels:
                _verify(channel, seen[channel.index], command.model_copy(update={"state": None}))
        yield (Write("state", indices, True),)
    after = yield LOOK
    for channel in channels:
        wanted = True if command.cycle is not None else False if channel.index in cleared else command.state
        _verify(channel, after[channel.index], command.model_copy(update={"state": wanted}))


def _settings(command: Command, channel: Channel, before: Reading) -> tuple[Write, ...]:
    """The settings of a command in an order that never passes through more than either end asks for."""
    lowering: list[Write] = []
    raising: list[Write] = []
    one = (channel.index,)
    for field, present in (("voltage_limit", before.voltage_limit), ("current_limit", before.current_limit)):
        value = getattr(command, field)
        if value is None or (field == "voltage_limit" and command.ramp is not None):
            continue
        (lowering if present is not None and abs(value) < abs(present) else raising).append(Write(field, one, value))  # type: ignore[arg-type]
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


def _ramp(command: Command, channel: Channel, before: Reading, latest: Latest) -> Plan:
    """Walk ``voltage_limit`` to its target, never faster than asked for, also after a hold-up.

    With ``state: true`` on an output that is off it starts at the least voltage of the range: a soft start.
    """
    assert command.ramp is not None
    assert command.voltage_limit is not None
    one = (channel.index,)
    target, rate = command.voltage_limit, command.ramp
    value = before.voltage_limit
    if command.state and not before.state:
        assert channel.model.voltage is not None  # or it would have no voltage_limit to go to
        value = min((channel.model.voltage.min, channel.model.voltage.max), key=abs)
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
    interval = max(RAMP_INTERVAL, channel.model.voltage_resolution / rate)
    wrote = system_clock()
    while value != target:
        yield Pause(wrote + interval)
        known = latest(channel.index)
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
        raise Refusal("readback_mismatch", f"ramp ended at {_plain(value)} V: {channel} {what}")
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
    for field, unit in _UNITS.items():
        wanted, found = getattr(command, field), getattr(reading, field)
        if wanted is not None and (found is None or abs(found - wanted) > channel.tolerance(field) * 1.000001):
            shown = "nothing" if found is None else f"{_plain(found)} {unit}"
            raise Refusal("readback_mismatch", f"{field} of {channel} reads back {shown}, not {_plain(wanted)} {unit}")
    if command.current_protection is not None and reading.current_protection is not command.current_protection:
        raise Refusal("readback_mismatch", f"current_protection of {channel} did not change")
    if command.clear_protection and reading.tripped:
        raise Refusal("readback_mismatch", f"{channel} is still tripped ({reading.tripped}): its cause is still there")


def _indices(channels: tuple[Channel, ...]) -> tuple[int, ...]:
    return tuple(channel.index for channel in channels)


def _plain(value: float) -> str:
    return f"{value:.10g}"


def _shown(volts: float | None) -> str:
    return "nothing" if volts is None else f"{_plain(volts)} V"
